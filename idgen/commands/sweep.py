"""`idgen sweep`: a search over settings, then a page and best.yaml."""

import shlex
from collections.abc import Sequence

from rich.console import Console

from idgen.benchmark.running import alone, check_engine, executing
from idgen.commands.terminating import terminating
from idgen.runs.building import note_parts
from idgen.runs.parser import OneLineParser, keys_in_errors, one_line_errors
from idgen.runs.quiet import quieten
from idgen.sweep.checking import check_same, check_space
from idgen.sweep.config import SweepConfig
from idgen.sweep.outcome import table, write_outcome, write_state
from idgen.sweep.running import run_trials
from idgen.sweep.search import make_search
from idgen.sweep.trial import Trial, ranked

_DESCRIPTION = (
    "Searches settings: each trial is an `idgen fit` and an `idgen test` for each subject and "
    "seed, in processes of their own, and its scores are means over them. It ends with "
    "trials.csv, table.md, report.html and best.yaml, which `idgen fit --config` takes as it is."
)
_EPILOG = (
    "Start with: idgen sweep --config configs/sweep/lr_rank.yaml. It may be stopped or killed at "
    "any moment: the same command goes on, and no finished cell is run twice. A trial that fails "
    "is written down and the sweep goes on; where the first five all fail it ends with the first "
    "one's error. The same seed gives the same trials on any machine."
)


def run_sweep(options: Sequence[str]) -> int:
    """Runs what is missing of a sweep, and reports all of it.

    Returns:
        0, or 1 if no trial was finished.

    Raises:
        UserError: For anything the user can mend before work starts, or where trials all fail.
    """
    quieten()
    config = _parse(options)
    config.check()
    check_engine(config)
    check_same(config)
    search = make_search(config)
    check_space(config)
    trials: list[Trial] = []

    def told(known: Sequence[Trial]) -> None:
        trials[:] = known
        write_state(config, known)

    with alone(config.folder, "sweep"):
        best = None
        try:
            with terminating(), executing(config, config.jobs, config.folder) as executor:
                run_trials(config, search, executor, told)
        finally:
            # A sweep that was refused leaves what an earlier one wrote.
            if trials:
                command = shlex.join(["idgen", "sweep", *options])
                best = write_outcome(config, trials, search.importances(), command)
    print(table(config, ranked(trials, config.objectives)), end="")
    print(f"look at {config.folder / 'report.html'}")
    if best is None:
        return 1
    Console(soft_wrap=True).print(f"the best is {best.name}: {config.folder / 'best.yaml'}")
    return 0


def _parse(options: Sequence[str]) -> SweepConfig:
    parser = OneLineParser(
        prog="idgen sweep",
        description=_DESCRIPTION,
        usage="idgen sweep --config FILE [--output DIR] [--trials N] [--jobs N] [--KEY VALUE ...]",
        epilog=_EPILOG,
    )
    parser.add_argument("--config", action="config", help="Such as configs/sweep/lr_rank.yaml.")
    parser.add_class_arguments(SweepConfig)
    given = parser.parse_args(list(options))
    given.pop("config", None)
    note_parts(parser)
    with keys_in_errors(lambda: given), one_line_errors():
        return SweepConfig(**vars(parser.instantiate_classes(given)))
