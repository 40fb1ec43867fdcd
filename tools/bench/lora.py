"""When a layer of LoRA is faster as one product than as three.

``python -m tools.bench.lora`` times forward and backward passes of peft's layers both ways, by
turns, and prints the median of their ratios for layers of several widths: above 1, one product is
faster. `idgen/models/tuning/one_product.py` draws the line by it.
"""

import argparse
import time
from statistics import median
from unittest.mock import patch

import torch
from peft import LoraConfig, inject_adapter_in_model
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from idgen.models.tuning import one_product
from tools.command import run

LINEAR = ((64, 64, 64), (16, 128, 128), (64, 192, 192), (256, 320, 320), (77, 768, 768))
CONVOLUTIONS = ((16, 32, 32), (16, 96, 32), (8, 64, 64), (4, 128, 128), (4, 256, 128))


def tuned(layer: nn.Module, rank: int) -> nn.Module:
    """A layer with LoRA that goes as one product, however wide."""
    holder = nn.Sequential(layer)
    inject_adapter_in_model(LoraConfig(r=rank, lora_alpha=rank, target_modules=["0"]), holder)
    with patch.object(one_product, "_WIDEST", float("inf")):
        one_product.take_one_product(holder[0])
    return holder[0]


def ratios(layer: nn.Module, x: Tensor, rounds: int) -> list[float]:
    """Processor time of three products over that of one, round by round."""
    own, plain = type(layer), type(layer).__mro__[2]
    found = []
    for _ in range(rounds + 3):
        taken = []
        for kind in (plain, own):
            layer.__class__ = kind
            began = time.process_time()
            layer(x).sum().backward()
            taken.append(time.process_time() - began)
        found.append(taken[0] / taken[1])
    return found[3:]


def main() -> None:
    """Prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rank", type=int, default=8)
    parser.add_argument("--rows", type=int, nargs="+", default=[2, 16])
    parser.add_argument("--rounds", type=int, default=40)
    args = parser.parse_args()
    table = Table("layer", "harmonic sum of widths", *(f"{rows} rows" for rows in args.rows))
    for kind, sizes in (("linear", LINEAR), ("3 x 3", CONVOLUTIONS)):
        for side, inputs, outputs in sizes:
            linear = kind == "linear"
            bare = (
                nn.Linear(inputs, outputs) if linear else nn.Conv2d(inputs, outputs, 3, padding=1)
            )
            layer = tuned(bare, args.rank)
            wide = inputs if linear else 9 * inputs
            shape = (side, inputs) if linear else (inputs, side, side)
            cells = []
            for rows in args.rows:
                x = torch.randn(rows, *shape, requires_grad=True)
                cells.append(f"{median(ratios(layer, x, args.rounds)):.2f}")
            name = f"{kind}, {inputs} to {outputs}, at {side if linear else f'{side} x {side}'}"
            table.add_row(name, f"{wide * outputs / (wide + outputs):.0f}", *cells)
    Console(width=100).print(table)


if __name__ == "__main__":
    run(main)
