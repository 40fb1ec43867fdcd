"""How few steps of the solver leave the scores where they are.

``python -m tools.bench.solver_steps --output DIR RUN [RUN ...]`` tests each run's last weights with
several numbers of steps, with fresh noise at each step and without it, by ``idgen test``. Its table
has means over the runs, which should be of different subjects, and differences to `--own` steps
with noise, with a bootstrap interval of 95 %. Weights that have been tested are not tested again.
Start it where the runs were trained: their configs name prepared subjects by paths from there.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich.console import Console
from rich.progress import track
from rich.table import Table

from idgen.benchmark.bootstrap import Pair, paired_difference
from idgen.errors import UserError
from idgen.fingerprint import file_digest
from tools.command import run, run_module

SCORES = ("dino", "clip_t", "identity_accuracy", "background_accuracy", "all_right", "kid_dino")
_SAMPLER = "--model.sampler.init_args"


Found = Mapping[Pair, Mapping[str, float | None]]
"""The scores of each run."""


class Setting(NamedTuple):
    """How is drawn.

    Attributes:
        steps: Of the solver.
        noisy: Whether fresh noise is added at each.
    """

    steps: int
    noisy: bool

    @property
    def options(self) -> list[str]:
        """For `idgen test`."""
        noisy = str(self.noisy).lower()
        return [f"{_SAMPLER}.steps={self.steps}", f"{_SAMPLER}.stochastic={noisy}"]


def scores(trained: Path, setting: Setting, output: Path) -> Mapping[str, float | None]:
    """What a run's drawings score with a setting.

    Args:
        trained: The run's folder.
        setting: How is drawn.
        output: A folder for the drawings; made, unless it holds them already.

    Raises:
        UserError: If they cannot be made.
    """
    if not (found := _metrics(output)):
        weights = trained / "checkpoints" / "last.ckpt"
        folder = f"--trainer.default_root_dir={output}"
        command = ["idgen", "test", f"--ckpt_path={weights}", folder, "--data.test_images=1"]
        run_module(*command, *setting.options)
        found = _metrics(output)
    read: dict[str, float | None] = json.loads(found[0].read_text())
    return read


def _metrics(output: Path) -> list[Path]:
    # A test that was cut short leaves `test/`, and the next one goes beside it.
    return sorted(output.glob("test*/metrics.json"))


def table(found: Mapping[Setting, Found], own: Setting) -> Table:
    """A line a setting.

    Args:
        found: All scores of each run.
        own: What the others are compared with.
    """
    drawn = Table("steps", "noise", *SCORES)
    for setting, of_runs in found.items():
        cells = [_cell(of_runs, found[own], score, setting == own) for score in SCORES]
        drawn.add_row(str(setting.steps), "yes" if setting.noisy else "no", *cells)
    return drawn


def _cell(of_runs: Found, of_own: Found, score: str, is_own: bool) -> str:
    here, there = _values(of_runs, score), _values(of_own, score)
    if not here:
        return ""
    mean = f"{sum(here.values()) / len(here):.3f}"
    difference = None if is_own else paired_difference(here, there)
    if difference is None or difference.interval.ends is None:
        return mean
    low, high = difference.interval.ends
    return f"{mean} ({difference.interval.mean:+.3f} [{low:+.3f}, {high:+.3f}])"


def _values(of_runs: Found, score: str) -> dict[Pair, float]:
    both = ((pair, of_run.get(score)) for pair, of_run in of_runs.items())
    return {pair: value for pair, value in both if value is not None}


def compared(
    runs: Sequence[Path], settings: Sequence[Setting], output: Path
) -> dict[Setting, dict[Pair, Mapping[str, float | None]]]:
    """All scores of all runs.

    Args:
        runs: Folders.
        settings: How is drawn.
        output: A folder for what is drawn.

    Raises:
        UserError: If a run has no weights, is given twice, or cannot be drawn with.
    """
    folders: dict[str, Path] = {}
    for trained in runs:
        weights = trained / "checkpoints" / "last.ckpt"
        if not weights.is_file():
            raise UserError(f"{trained}: there is no checkpoints/last.ckpt; name a run's folder")
        # Of what is tested: under a name alone, another run's scores would be taken for this one's.
        first = folders.setdefault(file_digest(weights)[:16], trained)
        if first is not trained:
            raise UserError(f"{trained}: its weights are those of {first}; name each run once")
    found: dict[Setting, dict[Pair, Mapping[str, float | None]]] = {one: {} for one in settings}
    # Run by run, so that those that are through have all settings.
    shown = track(folders.items(), "runs", console=Console(stderr=True), total=len(folders))
    for weights_digest, trained in shown:
        for setting in settings:
            name = f"{setting.steps}-{'noisy' if setting.noisy else 'plain'}"
            folder = output / weights_digest / name
            found[setting][str(trained), 0] = scores(trained, setting, folder)
    return found


def _count(said: str) -> int:
    if not said.isdecimal() or int(said) < 1:
        raise argparse.ArgumentTypeError(f"steps are a whole number above 0, not {said!r}")
    return int(said)


def main() -> None:
    """Tests all and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="a folder for the drawings")
    parser.add_argument("--steps", type=_count, nargs="+", default=[6, 8, 10, 14, 20, 40])
    parser.add_argument("--own", type=_count, default=20, help="steps to compare others to")
    parser.add_argument("runs", type=Path, nargs="+", help="folders of `idgen fit`'s runs")
    args = parser.parse_args()
    own = Setting(args.own, True)
    every = [Setting(steps, noisy) for noisy in (True, False) for steps in args.steps]
    found = compared(args.runs, list(dict.fromkeys([own, *every])), args.output)
    Console(width=200).print(table(found, own))


if __name__ == "__main__":
    run(main)
