"""The sweep's page: trials as lines, the front, what matters, the best trials' drawings."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from idgen import __version__
from idgen.benchmark.report import draw_subject
from idgen.pages.parallel import Line, draw_parallel
from idgen.pages.rendering import render_page
from idgen.pages.scatter import ScatterPoint, draw_scatter
from idgen.pages.scores import score_name
from idgen.sweep.config import SweepConfig
from idgen.sweep.trial import Trial, front, ranked

_MOST_LABELS = 12


def render_sweep(
    config: SweepConfig, trials: Sequence[Trial], importances: Mapping[str, float], command: str
) -> bytes:
    """Writes the page, UTF-8, pictures and all.

    Args:
        config: The sweep's.
        trials: All.
        importances: Of the parameters; empty where they are not known.
        command: What was run.
    """
    order = ranked(trials, config.objectives)
    ahead = {trial.number for trial in front(trials, config.objectives)}
    counts = {
        status: sum(trial.status == status for trial in trials)
        for status in ("done", "stopped", "failed")
    }
    return render_page(
        "sweep.html",
        name=config.folder.name,
        counts=counts,
        planned=config.count,
        objectives=[score_name(name) for name in config.objectives],
        keys=list(config.space),
        rows=[_row(config, trial, trial.number in ahead) for trial in order],
        failed=[trial for trial in trials if trial.status == "failed" and trial.same_as is None],
        parallel=_parallel(config, order),
        scatter=_scatter(config, order),
        importances=sorted(importances.items(), key=lambda item: -item[1]),
        drawn=_drawn(config, order[: config.shown_trials]),
        facts={"idgen": __version__, "sampler": config.sampler, "seed": config.seed},
        command=command,
    )


def _row(config: SweepConfig, trial: Trial, ahead: bool) -> dict[str, Any]:
    return {
        "name": trial.name,
        "ahead": ahead,
        "values": [_shown(trial.values[key]) for key in config.space],
        "scores": [trial.scores[name] for name in config.objectives],
    }


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _parallel(config: SweepConfig, order: Sequence[Trial]) -> Markup | None:
    """A line a trial over an axis a parameter and an objective, the best on top."""
    if len(order) < 2:
        return None
    axes = [*config.space, *(score_name(name).label for name in config.objectives)]
    logs = [config.space[key].log for key in config.space] + [False] * len(config.objectives)
    lines = [
        Line(
            trial.name,
            [*trial.values.values(), *(trial.scores[name] for name in config.objectives)],
        )
        for trial in order
    ]
    (first, way), *_ = config.objectives.items()
    goodness = [trial.scores[first] * (1 if way == "max" else -1) for trial in order]
    return Markup(draw_parallel(axes, logs, lines, goodness))


def _scatter(config: SweepConfig, order: Sequence[Trial]) -> Markup | None:
    """The first two objectives against each other, the better always to the right and up."""
    if len(config.objectives) < 2 or not order:
        return None
    (up, up_way), (across, across_way), *_ = config.objectives.items()

    def place(trial: Trial, name: str, way: str) -> float:
        return trial.scores[name] if way == "max" else -trial.scores[name]

    points = [
        ScatterPoint(
            trial.name if at < _MOST_LABELS else "",
            place(trial, across, across_way),
            place(trial, up, up_way),
        )
        for at, trial in enumerate(order)
    ]
    labels = [
        f"{score_name(name).label}{'' if way == 'max' else ', less is better: negated'}"
        for name, way in ((across, across_way), (up, up_way))
    ]
    return Markup(draw_scatter(points, *labels))


def _drawn(config: SweepConfig, best: Sequence[Trial]) -> list[dict[str, Any]]:
    """The best trials' drawings of each subject, side by side."""
    cells = [cell for trial in best for cell in trial.cells]
    subjects = {cell.subject.name: cell.subject for cell in cells}
    results = [result for trial in best for result in trial.results]
    return [
        draw_subject(results, subject, config.shown_prompts)
        for subject in subjects.values()
        if Path(subject.photos).exists()
    ]
