"""Memory of a training step at true sizes, counted and not measured: no GPU and no weights.

``python -m tools.bench.memory`` writes the configurations of Stable Diffusion 1.5, 2.1 and XL, lays
their overlays over ``base.yaml``, makes each training step with tensors that have shapes and no
content, by the rules of a CUDA GPU, and prints a table of what is alive at the step's peak. What
CUDA itself takes, and pieces that its allocator cannot use, come on top.
"""

import argparse
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console
from rich.table import Table

from idgen.doctor.memory import memory_needed
from idgen.runs.freezing import ConfigReader
from tools.command import run
from tools.full_layouts import LAYOUTS, save_pipeline

_BACKBONE = "model.backbone.init_args"
_GIB = 2**30


def row(reader: ConfigReader, name: str, settings: Mapping[str, Any], batch: int) -> list[str]:
    """A line of the table.

    Args:
        reader: Of configs.
        name: Of `LAYOUTS`.
        settings: Over the overlay.
        batch: Rows.
    """
    configs = ["configs/base.yaml", LAYOUTS[name].overlay]
    built = reader.build(reader.read(configs, {**settings, "data.batch_size": batch}))
    config = built.config
    backbone = config.model.backbone.init_args
    needed = memory_needed(built.parts.model, batch, config.trainer.precision, on_gpu=True)
    parts = (needed.frozen, needed.trained, needed.activations, needed.total)
    return [
        name,
        str(batch),
        f"{backbone.dtype}, {config.trainer.precision}",
        "yes" if backbone.gradient_checkpointing else "no",
        *(f"{part / _GIB:.2f}" for part in parts),
    ]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--layouts", nargs="+", choices=sorted(LAYOUTS), default=list(LAYOUTS))
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--dtype", default="bfloat16", help="of the frozen weights")
    args = parser.parse_args()
    table = Table(
        *("backbone", "batch", "weights, precision", "checkpointing"),
        *(f"{part}, GiB" for part in ("frozen", "trained", "activations", "total")),
    )
    reader, console = ConfigReader(), Console(width=120)
    with TemporaryDirectory() as folder:
        for name in args.layouts:
            source = save_pipeline(LAYOUTS[name], Path(folder) / name, "epsilon", weights=False)
            for checkpointing in (False, True):
                settings = {
                    f"{_BACKBONE}.source": str(source),
                    f"{_BACKBONE}.dtype": args.dtype,
                    f"{_BACKBONE}.gradient_checkpointing": checkpointing,
                    "data.subject.photos": "mini:robot",
                }
                for batch in args.batch:
                    table.add_row(*row(reader, name, settings, batch))
                    console.print(f"{name}, batch {batch}: done")
    console.print(table)


if __name__ == "__main__":
    run(main)
