"""Draws a sheet of the mini world to look at: every class, every scene, identities, accessories."""

import argparse
import random
from pathlib import Path

from PIL import Image

from idgen.mini.accessories import ACCESSORIES
from idgen.mini.classes import CLASSES
from idgen.mini.scenes import SCENES
from idgen.mini.world import HELD_OUT_FROM, SIDE, Factors, draw, sample_pose

_GAP = 2


def contact_sheet(rows: int, scale: int) -> Image.Image:
    """Draw ``rows`` rows of one picture of each scene; down a column the class changes.

    Args:
        rows: Rows of pictures.
        scale: Side of a square that shows one pixel.
    """
    nouns, scenes = list(CLASSES), list(SCENES)
    step = SIDE * scale + _GAP
    sheet = Image.new("RGB", (len(scenes) * step - _GAP, rows * step - _GAP), "white")
    for row in range(rows):
        for column, scene in enumerate(scenes):
            rng = random.Random(f"sheet/{row}/{column}")
            noun = nouns[(column + row * 5) % len(nouns)]
            worn = CLASSES[noun].live and rng.random() < 0.35
            attribute = rng.choice(ACCESSORIES) if worn else None
            identity = HELD_OUT_FROM + rng.randrange(HELD_OUT_FROM)
            drawing = draw(Factors(noun, identity, scene, sample_pose(rng), attribute, row))
            tile = Image.fromarray(drawing.picture)
            tile = tile.resize((SIDE * scale, SIDE * scale), Image.Resampling.NEAREST)
            sheet.paste(tile, (column * step, row * step))
    return sheet


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="PNG file to write")
    parser.add_argument("--rows", type=int, default=6, help="rows of pictures")
    parser.add_argument("--scale", type=int, default=2, help="side of a square for one pixel")
    args = parser.parse_args()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    contact_sheet(args.rows, args.scale).save(args.out, optimize=True)


if __name__ == "__main__":
    main()
