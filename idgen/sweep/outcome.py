"""What a sweep leaves: sweep.json, trials.csv, table.md, best.yaml, report.html."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from idgen import __version__
from idgen.files import atomic_write
from idgen.pages.scores import find_scores, score_name
from idgen.runs.freezing import ConfigReader
from idgen.runs.stored import as_yaml
from idgen.sweep.checking import STATE
from idgen.sweep.config import SweepConfig
from idgen.sweep.page import render_sweep
from idgen.sweep.trial import Trial, front, ranked


def write_state(config: SweepConfig, trials: Sequence[Trial]) -> None:
    """Writes what the sweep is, its trials so far, and a table of them; whole files each."""
    config.folder.mkdir(parents=True, exist_ok=True)
    state = {
        "idgen_version": __version__,
        "sweep": config.decisive,
        "trials": [_as_json(trial) for trial in trials],
    }
    text = json.dumps(state, indent=1, ensure_ascii=False)
    atomic_write(config.folder / STATE, text.encode() + b"\n")
    atomic_write(config.folder / "trials.csv", _as_csv(config, trials).encode())


def write_outcome(
    config: SweepConfig, trials: Sequence[Trial], importances: Mapping[str, float], command: str
) -> Trial | None:
    """Writes the table, the page, and the best trials as configs.

    Args:
        config: The sweep's.
        trials: All.
        importances: Of the parameters.
        command: What was run.

    Returns:
        The best trial, by the first objective among those of the front; None if none was finished.
    """
    order = ranked(trials, config.objectives)
    atomic_write(config.folder / "table.md", table(config, order).encode())
    page = render_sweep(config, trials, importances, command)
    atomic_write(config.folder / "report.html", page)
    if not order:
        return None
    atomic_write(config.folder / "best.yaml", best_config(config, order[0]).encode())
    if len(config.objectives) > 1:
        folder = config.folder / "front"
        folder.mkdir(exist_ok=True)
        ahead = {folder / f"trial-{t.number}.yaml": t for t in front(trials, config.objectives)}
        for path, trial in ahead.items():
            atomic_write(path, best_config(config, trial).encode())
        for path in set(folder.glob("trial-*.yaml")) - ahead.keys():
            path.unlink()  # of the front no longer
    return order[0]


def best_config(config: SweepConfig, trial: Trial) -> str:
    """A trial's whole config, which `idgen fit --config` takes as it is."""
    reader, method = ConfigReader(), config.method(trial.values)
    steps = {} if config.steps is None else {"trainer.max_steps": config.steps}
    settings = {**config.shared, **steps, **method.settings}
    settings["trainer.default_root_dir"] = f"runs/{config.folder.name}-best"
    frozen = reader.frozen(reader.read([*config.configs, *method.configs], settings))
    said = ", ".join(f"{name} {trial.scores[name]:.4f}" for name in config.objectives)
    return f"# {trial.name} of {config.folder.name}: {said}\n{as_yaml(frozen)}"


def table(config: SweepConfig, trials: Sequence[Trial]) -> str:
    """Trials as a Markdown table, in the order that is given."""
    labels = [score_name(name).label for name in config.objectives]
    rows = [["trial", *config.space, *labels], ["---"] * (1 + len(config.space) + len(labels))]
    for trial in trials:
        values = [shown(trial.values[key]) for key in config.space]
        scores = [f"{trial.scores[name]:.4f}" for name in config.objectives]
        rows.append([str(trial.number), *values, *scores])
    return "".join(f"| {' | '.join(row)} |\n" for row in rows)


def shown(value: Any) -> str:
    """A value as tables show it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _as_json(trial: Trial) -> dict[str, Any]:
    return {
        "number": trial.number,
        "status": trial.status,
        "values": trial.values,
        "scores": trial.scores,
        "reason": trial.reason,
        "same_as": trial.same_as,
    }


def _as_csv(config: SweepConfig, trials: Sequence[Trial]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    scores = find_scores([trial.scores for trial in trials])
    writer.writerow(["trial", "status", "same_as", *config.space, *scores, "reason"])
    for trial in trials:
        same = "" if trial.same_as is None else trial.same_as
        values = [trial.values[key] for key in config.space]
        found = [trial.scores.get(name, "") for name in scores]
        writer.writerow([trial.number, trial.status, same, *values, *found, trial.reason])
    return buffer.getvalue()
