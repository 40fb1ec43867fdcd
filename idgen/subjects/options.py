"""The options of `idgen fit` that are about runs of several subjects, and no keys of a run."""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import NoReturn

from idgen.errors import UserError

OPTIONS_SAID = (
    "Where data.subject.photos holds a folder of photos for each of several subjects, each gets a "
    "run and a test of its own, in a folder of its own. For these alone: --jobs N, --test false "
    "(train only), --engine local|ray, and Ray's --address, --cpus_per_trial, --gpus_per_trial."
)


@dataclass(frozen=True)
class SubjectOptions:
    """How runs of several subjects are run.

    Attributes:
        engine: `local` is this machine, `ray` a Ray cluster, or Ray here.
        jobs: Runs at a time on this machine; None for one for each GPU, without any one for each
            core, 4 at most.
        test: Whether each run is tested once it is trained.
        address: Of the Ray cluster.
        cpus_per_trial: Cores of a run, with Ray.
        gpus_per_trial: GPUs of a run, with Ray.
        given: The options that were given, by name.
    """

    engine: str = "local"
    jobs: int | None = None
    test: bool = True
    address: str | None = None
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0
    given: tuple[str, ...] = ()


class _Options(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UserError(message)


def take_options(options: Sequence[str]) -> tuple[SubjectOptions, list[str]]:
    """Takes these options out of a command line.

    Args:
        options: Of `idgen fit`.

    Returns:
        What was set, and the other options.

    Raises:
        UserError: If a value is none of the option's.
    """
    parser = _Options(add_help=False, allow_abbrev=False, argument_default=argparse.SUPPRESS)
    parser.add_argument("--engine", choices=("local", "ray"))
    parser.add_argument("--jobs", type=int)
    parser.add_argument("--test", choices=("true", "false"))
    parser.add_argument("--address")
    parser.add_argument("--cpus_per_trial", type=float)
    parser.add_argument("--gpus_per_trial", type=float)
    found, rest = parser.parse_known_args(list(options))
    values = vars(found)
    if "test" in values:
        values["test"] = values["test"] == "true"
    if values.get("jobs", 1) < 1:
        raise UserError(f"--jobs must be 1 or more, not {values['jobs']}")
    names = [field.name for field in fields(SubjectOptions)]
    given = tuple(f"--{name}" for name in names if name in values)
    return SubjectOptions(**values, given=given), rest
