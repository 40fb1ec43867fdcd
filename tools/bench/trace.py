"""What a training step has the device do: operations, launches, waits, bytes from the host.

``python -m tools.bench.trace --output DIR`` runs ``idgen fit`` for each config, validation off,
traces one step of idgen, of the bare passes and of a naive loop (see ``tools.bench.step``) by
torch's profiler, and prints tables: what was counted, and the operators that take the most time
themselves. DIR gets the counts as JSON, and each step's trace for chrome://tracing. Launches, waits
and bytes are of a CUDA device, and 0 without one.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from tools.bench.step import METHODS, measure
from tools.command import run

KINDS = ("bare", "idgen", "naive")
_COUNTS = ("operations", "launches", "waits", "reads", "bytes_to_device", "bytes_to_host")


def rows(method: str, found: Mapping[str, Any]) -> list[list[str]]:
    """A method's lines of the table of counts."""
    return [[method, kind, *(str(found[kind][count]) for count in _COUNTS)] for kind in KINDS]


def operators(found: Mapping[str, Any]) -> Table:
    """The operators of idgen's step that take the most time themselves."""
    table = Table("operator", "calls", "ms on the CPU", "ms on the device")
    for name, calls, cpu, device in found["idgen"]["operators"]:
        table.add_row(name, str(calls), f"{cpu:.2f}", f"{device:.2f}")
    return table


def main() -> None:
    """Trace all and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="a folder for the results")
    parser.add_argument("--methods", nargs="+", choices=sorted(METHODS), default=list(METHODS))
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--compiled", action="store_true", help="compile the denoiser, for all")
    parser.add_argument("options", nargs="*", help="after --, for idgen fit: --config=FILE ...")
    args = parser.parse_args()
    args.output.mkdir(parents=True, exist_ok=True)
    console = Console(width=150)
    table = Table("method", "step", *(count.replace("_", " ") for count in _COUNTS))
    for method in args.methods:
        found = measure(
            method, args.batch, args.options, args.output, 2, args.compiled, "traced.Traced"
        )
        for line in rows(method, found):
            table.add_row(*line)
        console.print(f"{method}: what idgen's step spends the most time on")
        console.print(operators(found))
    console.print(table)


if __name__ == "__main__":
    run(main)
