"""One command of idgen by the clock, with the most memory that it held.

``python -m tools.bench.timed --output FILE.json -- fit --config=configs/base.yaml ...`` runs it and
prints a line. Memory is what torch had allotted on a GPU, or what the process had on a CPU.
"""

import argparse
import json
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import torch

from idgen.files import atomic_write
from tools.command import run, run_module


class MostMemory(L.Callback):
    """Writes the most memory that a command of the trainer held."""

    def __init__(self, result: str) -> None:
        """Names the file.

        Args:
            result: JSON with bytes, and the device.
        """
        self._result = Path(result)

    def teardown(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Writes it."""
        on_gpu = trainer.strategy.root_device.type == "cuda"
        resident = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        found = {
            "device": torch.cuda.get_device_name() if on_gpu else "cpu",
            "peak_bytes": torch.cuda.max_memory_allocated() if on_gpu else resident,
            "reserved_bytes": torch.cuda.max_memory_reserved() if on_gpu else None,
        }
        atomic_write(self._result, json.dumps(found).encode())


def measure(options: Sequence[str], result: Path) -> dict[str, Any]:
    """Runs a command.

    Args:
        options: Its name and options.
        result: Where its figures go.

    Raises:
        UserError: If it fails.
    """
    command = ["idgen", *options]
    command += ["--trainer.callbacks+=tools.bench.timed.MostMemory"]
    command += [f"--trainer.callbacks.result={result}"]
    began = time.monotonic()
    ended = run_module(*command)
    seconds = time.monotonic() - began
    found = {"seconds": seconds, **json.loads(result.read_text()), "options": list(options)}
    found["said"] = [line for line in ended.stderr.splitlines() if line.startswith("compile:")]
    atomic_write(result, json.dumps(found, indent=1).encode())
    return found


def main() -> None:
    """Runs it and prints a line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="a JSON file")
    parser.add_argument("options", nargs="+", help="after --, the command and its options")
    args = parser.parse_args()
    args.output.parent.mkdir(parents=True, exist_ok=True)
    found = measure(args.options, args.output.absolute())
    memory = found["peak_bytes"] / 2**20
    print(f"idgen {args.options[0]}: {found['seconds']:.0f} s, {memory:.0f} MiB, {found['device']}")
    for line in found["said"]:
        print(line)


if __name__ == "__main__":
    run(main)
