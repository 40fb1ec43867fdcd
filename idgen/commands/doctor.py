"""`idgen doctor`: looks at a set-up before it runs, and says what would fail."""

import sys
from collections.abc import Sequence

from rich.console import Console

from idgen.commands.terminating import terminating
from idgen.errors import UserError
from idgen.runs.reading import options_with_values
from idgen.shipped import config_file

_WIDTH_OF_A_FILE = 140
_HELP = """usage: idgen doctor [--config FILE ...] [--KEY VALUE ...] [--no-trial]

Looks at a set-up before it runs: versions, devices, memory, models, photos, the prepared subject;
then trains 10 steps on made-up data. The config is configs/base.yaml unless one is given; keys are
those of idgen fit. The exit code is 2 where something would fail.

  --config FILE   as for idgen fit; later ones win
  --KEY VALUE     as for idgen fit
  --no-trial      trains nothing
"""


def run_doctor(options: Sequence[str]) -> int:
    """Looks, prints the page, and returns the exit code: 2 where something would fail.

    Raises:
        UserError: If the options cannot be read.
    """
    if {"-h", "--help"} & set(options):
        print(_HELP, end="")
        return 0
    given = [option for option in options if option != "--no-trial"]
    configs, settings = _read(given)
    from idgen.doctor.examination import examine
    from idgen.doctor.page import page
    from idgen.runs.quiet import quieten

    quieten()
    with terminating():
        findings = examine(configs, settings, trial=len(given) == len(options))
    console = Console(width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE)
    console.print(page(findings))
    failed = findings.failed
    if not failed:
        console.print("\nnothing would fail")
        return 0
    count = "1 thing" if len(failed) == 1 else f"{len(failed)} things"
    console.print(f"\n{count} would fail: mend it, then run idgen doctor again")
    return 2


def _read(options: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Configs and keys of a command line.

    Raises:
        UserError: If a word is no option, or an option has no value.
    """
    configs, settings, taken = [], {}, 0
    for option, value in options_with_values(options):
        taken += 1 if f"{option}={value}" in options else 2
        if option in ("--config", "-c"):
            configs.append(value)
        else:
            settings[option.removeprefix("--")] = value
    if taken != len(options):
        raise UserError("give options as --KEY VALUE or --KEY=VALUE; see idgen doctor --help")
    return configs or [config_file("configs/base.yaml")], settings
