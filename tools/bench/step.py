"""idgen's training step against the bare passes, and against what most scripts do.

``python -m tools.bench.step --output DIR`` runs ``idgen fit`` for each config and batch size,
validation off, with `Interleaved` in it, and prints and writes a table: medians, and the medians
and quartiles of ratios step by step. *bare* is the passes that the method makes, backward and the
optimizer; *naive* the method as most training scripts have it: photos, autoencoder, image encoder
and text encoder in each step, each pass by itself, losses read from the device.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from rich.console import Console
from rich.table import Table

from tools.command import run, run_module

_COMPILED = ("--compile.when=always", "--compile.whole=true")
METHODS = {
    "base": (),
    "lora": ("configs/method/lora.yaml",),
    "disenbooth": ("configs/method/disenbooth.yaml",),
}


def measure(
    method: str,
    batch: int,
    options: Sequence[str],
    output: Path,
    steps: int,
    compiled: bool,
    callback: str = "interleaved.Interleaved",
) -> dict[str, Any]:
    """One `idgen fit` in a process of its own.

    Args:
        method: Of `METHODS`.
        batch: Photos a step.
        options: More for the command line, such as a backbone's overlay.
        output: A folder; results lie there by name.
        steps: To time.
        compiled: Whether the denoiser is compiled.
        callback: Of this package; what looks at the steps.

    Raises:
        UserError: If it fails.
    """
    name = f"{method}-{batch}{'-compiled' if compiled else ''}"
    result = output / f"{name}.json"
    warm_up = 3
    command = ["idgen", "fit", "--config=configs/base.yaml"]
    command += [f"--config={path}" for path in METHODS[method]]
    command += [
        *options,
        f"--data.batch_size={batch}",
        f"--trainer.max_steps={steps + warm_up + 1}",
        "--trainer.limit_val_batches=0",
        f"--trainer.default_root_dir={output / name}",
        f"--trainer.callbacks+=tools.bench.{callback}",
        f"--trainer.callbacks.result={result}",
        f"--trainer.callbacks.warm_up={warm_up}",
        f"--trainer.callbacks.compiled={str(compiled).lower()}",
        *(_COMPILED if compiled else ()),
    ]
    run_module(*command)
    found: dict[str, Any] = json.loads(result.read_text())
    return found


def row(name: str, batch: int, found: Mapping[str, Any]) -> list[str]:
    """A line of the table."""
    seconds = found["seconds"]
    idgen, bare, naive = (seconds[kind] for kind in ("idgen", "bare", "naive"))
    milliseconds = [f"{1000 * median(times):.0f}" for times in (bare, idgen, naive)]
    memory = found["peak_bytes"] or found["resident_bytes"]
    return [
        name,
        str(batch),
        *milliseconds,
        _ratio(idgen, bare),
        _ratio(naive, idgen),
        f"{batch / median(idgen):.1f}",
        f"{memory / 2**20:.0f}",
        f"{found['first_step']:.1f}",
    ]


def _ratio(above: Sequence[float], below: Sequence[float]) -> str:
    ratios = [a / b for a, b in zip(above, below, strict=False)]
    low, _, high = quantiles(ratios, n=4)
    return f"{median(ratios):.2f} ({low:.2f} to {high:.2f})"


def main() -> None:
    """Measure all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True, help="a folder for the results")
    parser.add_argument("--methods", nargs="+", choices=sorted(METHODS), default=list(METHODS))
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--steps", type=int, default=30, help="timed steps of each kind")
    parser.add_argument("--compiled", action="store_true", help="compile the denoiser, for all")
    parser.add_argument("options", nargs="*", help="after --, for idgen fit: --config=FILE ...")
    args = parser.parse_args()
    if args.steps < 2:
        parser.error("--steps: quartiles need 2 or more")
    args.output.mkdir(parents=True, exist_ok=True)
    table = Table(
        *("method", "batch", "bare ms", "idgen ms", "naive ms", "idgen / bare", "naive / idgen"),
        *("images/s", "MiB", "s to first step"),
    )
    console = Console(width=150)
    for method in args.methods:
        for batch in args.batch:
            given = (method, batch, args.options, args.output, args.steps, args.compiled)
            table.add_row(*row(method, batch, measure(*given)))
            console.print(f"{method}, batch {batch}: done")
    console.print(table)


if __name__ == "__main__":
    run(main)
