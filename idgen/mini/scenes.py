"""The scenes of the mini world: bold backgrounds, each varying inside itself.

Every painter fills a square RGB picture; lengths are fractions of its side.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image, ImageDraw

from idgen.errors import UserError
from idgen.mini.colours import Colour, jitter, shade

Rng = random.Random


class Sheet:
    """A square picture drawn on in fractions of its side."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.image = Image.new("RGB", (side, side))
        self._draw = ImageDraw.Draw(self.image)

    def fade(self, top: float, bottom: float, upper: Colour, lower: Colour) -> None:
        """Fill a band from ``top`` to ``bottom`` with a vertical gradient."""
        ramp = Image.new("RGB", (1, 2))
        ramp.putpixel((0, 0), upper)
        ramp.putpixel((0, 1), lower)
        start, end = round(top * self.side), round(bottom * self.side)
        band = ramp.resize((self.side, max(1, end - start)), Image.Resampling.BILINEAR)
        self.image.paste(band, (0, start))

    def polygon(self, points: list[tuple[float, float]], fill: Colour) -> None:
        """Fill a polygon."""
        self._draw.polygon([(x * self.side, y * self.side) for x, y in points], fill=fill)

    def box(self, left: float, top: float, right: float, bottom: float, fill: Colour) -> None:
        """Fill a rectangle."""
        s = self.side
        self._draw.rectangle((left * s, top * s, right * s - 1, bottom * s - 1), fill=fill)

    def disc(self, x: float, y: float, rx: float, ry: float, fill: Colour) -> None:
        """Fill an ellipse around (x, y)."""
        s = self.side
        self._draw.ellipse(((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s), fill=fill)

    def line(self, points: list[tuple[float, float]], width: float, fill: Colour) -> None:
        """Draw a line through points."""
        placed = [(x * self.side, y * self.side) for x, y in points]
        self._draw.line(placed, fill=fill, width=max(1, round(width * self.side)))


def _cloud(sheet: Sheet, x: float, y: float, colour: Colour) -> None:
    sheet.disc(x, y, 0.12, 0.04, colour)
    sheet.disc(x - 0.03, y - 0.03, 0.06, 0.05, colour)
    sheet.disc(x + 0.05, y - 0.02, 0.05, 0.04, colour)


def _beach(sheet: Sheet, rng: Rng) -> None:
    horizon = rng.uniform(0.28, 0.36)
    shore = rng.uniform(0.46, 0.54)
    tilt = rng.uniform(-0.05, 0.05)
    sheet.fade(0, horizon, jitter((120, 200, 250), rng), jitter((205, 236, 252), rng))
    sheet.fade(horizon, 0.6, jitter((30, 130, 200), rng), jitter((80, 200, 215), rng))
    sand = jitter((244, 214, 150), rng)
    sheet.polygon([(0, shore - tilt), (1, shore + tilt), (1, 1), (0, 1)], (250, 250, 250))
    sheet.polygon([(0, shore + 0.03 - tilt), (1, shore + 0.03 + tilt), (1, 1), (0, 1)], sand)
    sheet.disc(rng.choice((0.14, 0.86)), rng.uniform(0.1, 0.18), 0.08, 0.08, (255, 226, 90))
    for _ in range(10):
        x, y = rng.random(), rng.uniform(0.62, 0.98)
        sheet.disc(x, y, 0.012, 0.008, shade(sand, 0.82))


def _snow(sheet: Sheet, rng: Rng) -> None:
    horizon = rng.uniform(0.42, 0.52)
    sheet.fade(0, 0.6, jitter((150, 172, 200), rng, 8), jitter((196, 210, 226), rng, 8))
    for _ in range(3):
        x, high = rng.random(), rng.uniform(0.22, 0.34)
        for k in range(3):
            top = horizon - high + high * 0.28 * k
            half = 0.05 + 0.03 * k
            sheet.polygon(
                [(x, top), (x - half, top + high * 0.44), (x + half, top + high * 0.44)],
                (66, 104, 104),
            )
    snow = jitter((240, 245, 252), rng, 4)
    bend = rng.uniform(-0.06, 0.06)
    sheet.polygon(
        [(0, horizon + bend), (0.5, horizon - bend), (1, horizon + bend), (1, 1), (0, 1)], snow
    )
    sheet.disc(rng.random(), 0.9, 0.4, 0.08, shade(snow, 0.93))
    for _ in range(26):
        x, y, r = rng.random(), rng.random(), rng.uniform(0.008, 0.016)
        sheet.disc(x, y, r, r, (255, 255, 255))


def _meadow(sheet: Sheet, rng: Rng) -> None:
    horizon = rng.uniform(0.36, 0.46)
    sheet.fade(0, 0.6, jitter((135, 205, 250), rng), jitter((215, 240, 253), rng))
    _cloud(sheet, rng.uniform(0.1, 0.9), rng.uniform(0.1, 0.2), (255, 255, 255))
    grass = jitter((112, 200, 72), rng)
    lift = rng.uniform(0.03, 0.08)
    sheet.disc(rng.uniform(0, 1), horizon + 0.12, 0.5, 0.12 + lift, shade(grass, 0.85))
    sheet.fade(horizon + 0.06, 1, grass, shade(grass, 0.86))
    for _ in range(16):
        x, y = rng.random(), rng.uniform(horizon + 0.12, 0.98)
        petal = rng.choice(((255, 255, 255), (255, 225, 70), (250, 120, 160)))
        sheet.disc(x, y, 0.018, 0.018, petal)
        sheet.disc(x, y, 0.007, 0.007, (230, 160, 30))


def _night(sheet: Sheet, rng: Rng) -> None:
    ground = rng.uniform(0.7, 0.8)
    sheet.fade(0, 1, jitter((10, 12, 48), rng, 6), jitter((44, 38, 104), rng, 6))
    for _ in range(28):
        x, y, r = rng.random(), rng.random() * ground, rng.choice((0.006, 0.008, 0.013))
        sheet.disc(x, y, r, r, (255, 250, 205))
    x, y = rng.choice((0.16, 0.84)) + rng.uniform(-0.04, 0.04), rng.uniform(0.13, 0.2)
    sheet.disc(x, y, 0.085, 0.085, (250, 244, 200))
    sheet.disc(x + 0.04, y - 0.025, 0.07, 0.07, (14, 16, 54))
    bend = rng.uniform(-0.06, 0.06)
    hill = [(0, ground + bend), (0.35, ground - 0.04), (0.7, ground + 0.03), (1, ground - bend)]
    sheet.polygon([*hill, (1, 1), (0, 1)], jitter((18, 24, 40), rng, 4))


def _city(sheet: Sheet, rng: Rng) -> None:
    street = rng.uniform(0.66, 0.74)
    sheet.fade(0, street, jitter((176, 196, 216), rng, 8), jitter((226, 228, 226), rng, 6))
    x = -rng.uniform(0, 0.08)
    while x < 1:
        wide, top = rng.uniform(0.13, 0.2), rng.uniform(0.08, 0.4)
        wall = jitter(rng.choice(((92, 104, 124), (122, 126, 140), (74, 84, 104))), rng, 6)
        sheet.box(x, top, x + wide, street, wall)
        lit = rng.choice(((250, 226, 140), (190, 216, 236)))
        for row in range(int((street - top) / 0.085)):
            for column in range(2):
                left = x + 0.025 + column * (wide - 0.03) / 2
                y = top + 0.03 + row * 0.085
                sheet.box(left, y, left + wide * 0.26, y + 0.04, lit)
        x += wide + 0.012
    sheet.fade(street, 1, jitter((84, 86, 92), rng, 6), jitter((68, 70, 76), rng, 6))
    shift = rng.random() * 0.2
    for k in range(6):
        left = k * 0.22 - shift
        sheet.box(left, 0.88, left + 0.12, 0.905, (240, 236, 210))


def _desert(sheet: Sheet, rng: Rng) -> None:
    horizon = rng.uniform(0.44, 0.54)
    sheet.fade(0, horizon + 0.1, jitter((252, 176, 84), rng, 8), jitter((255, 226, 160), rng, 8))
    sheet.disc(rng.uniform(0.2, 0.8), rng.uniform(0.16, 0.26), 0.1, 0.1, (255, 246, 206))
    dune = jitter((222, 140, 62), rng, 8)
    x = rng.uniform(0.1, 0.9)
    sheet.polygon(
        [(x - 0.6, horizon + 0.14), (x, horizon - 0.06), (x + 0.5, horizon + 0.14)],
        shade(dune, 0.9),
    )
    bend = rng.uniform(-0.05, 0.05)
    sheet.polygon(
        [
            (0, horizon + 0.08 + bend),
            (0.5, horizon + 0.05),
            (1, horizon + 0.08 - bend),
            (1, 1),
            (0, 1),
        ],
        dune,
    )
    for side in (0.1, 0.9):
        if rng.random() < 0.75:
            x, y = side + rng.uniform(-0.05, 0.05), horizon + rng.uniform(0.06, 0.12)
            sheet.line([(x, y), (x, y - 0.26)], 0.045, (62, 128, 72))
            sheet.line(
                [(x, y - 0.1), (x + 0.07, y - 0.1), (x + 0.07, y - 0.2)], 0.03, (62, 128, 72)
            )
    for _ in range(3):
        y = rng.uniform(0.68, 0.96)
        left = rng.uniform(-0.1, 0.6)
        sheet.line([(left, y), (left + 0.2, y - 0.02), (left + 0.45, y)], 0.012, shade(dune, 0.85))


def _bricks(sheet: Sheet, rng: Rng) -> None:
    floor = rng.uniform(0.78, 0.86)
    mortar = jitter((214, 200, 188), rng, 6)
    brick = jitter((176, 74, 56), rng, 10)
    sheet.box(0, 0, 1, 1, mortar)
    high, wide, shift = 0.092, 0.2, rng.random() * 0.2
    for row in range(int(floor / high) + 1):
        for column in range(-1, 7):
            left = column * wide - shift + (row % 2) * wide / 2
            top = row * high
            tone = shade(brick, rng.choice((0.88, 1.0, 1.12)))
            sheet.box(left, top, left + wide - 0.018, top + high - 0.018, tone)
    sheet.fade(floor, 1, jitter((150, 148, 146), rng, 6), jitter((122, 120, 120), rng, 6))


def _ocean(sheet: Sheet, rng: Rng) -> None:
    horizon = rng.uniform(0.2, 0.28)
    sheet.fade(0, horizon, jitter((160, 216, 246), rng, 8), jitter((222, 242, 250), rng, 6))
    sheet.fade(horizon, 1, jitter((32, 118, 196), rng, 8), jitter((10, 58, 130), rng, 8))
    for row in range(6):
        y = horizon + 0.08 + row * 0.125
        shift = rng.random() * 0.3
        for k in range(-1, 4):
            x = k * 0.3 + shift
            crest = [(x, y), (x + 0.05, y - 0.03), (x + 0.1, y), (x + 0.15, y - 0.03), (x + 0.2, y)]
            sheet.line(crest, 0.018, (186, 226, 246))


def _forest(sheet: Sheet, rng: Rng) -> None:
    sheet.fade(0, 1, jitter((70, 130, 66), rng, 6), jitter((34, 82, 44), rng, 6))
    step = 0.22
    shift = rng.random() * step
    for k in range(6):
        x = k * step - shift + rng.uniform(-0.03, 0.03)
        half = rng.uniform(0.03, 0.05)
        sheet.box(x - half, 0, x + half, 0.78, jitter((92, 62, 40), rng, 8))
    for _ in range(14):
        r = rng.uniform(0.08, 0.14)
        sheet.disc(
            rng.random(), rng.uniform(-0.02, 0.2), r, r * 0.8, jitter((38, 104, 44), rng, 14)
        )
    sheet.fade(0.76, 1, jitter((72, 92, 40), rng, 6), jitter((56, 70, 34), rng, 6))
    for _ in range(7):
        x, y = rng.random(), rng.uniform(0.8, 0.98)
        sheet.polygon([(x - 0.05, y), (x, y - 0.09), (x + 0.05, y)], jitter((46, 124, 50), rng, 8))


def _wood(sheet: Sheet, rng: Rng) -> None:
    tone = jitter((196, 138, 80), rng, 10)
    wide, shift = rng.uniform(0.15, 0.19), rng.random() * 0.15
    for k in range(8):
        top = k * wide - shift
        plank = shade(tone, rng.choice((0.9, 0.96, 1.0, 1.08)))
        sheet.box(0, top, 1, top + wide, plank)
        for _ in range(2):
            y, x = top + rng.uniform(0.2, 0.8) * wide, rng.uniform(-0.2, 0.6)
            sheet.line([(x, y), (x + 0.5, y)], 0.01, shade(plank, 0.88))
        sheet.line([(0, top), (1, top)], 0.016, shade(tone, 0.6))
        x = rng.random()
        sheet.line([(x, top), (x, top + wide)], 0.016, shade(tone, 0.6))


def _fabric(sheet: Sheet, rng: Rng) -> None:
    pink = jitter((248, 150, 190), rng, 8)
    sheet.box(0, 0, 1, 1, pink)
    slope = rng.choice((-0.35, 0.35)) + rng.uniform(-0.1, 0.1)
    shift = rng.random() * 0.3
    for k in range(-2, 7):
        x = k * 0.25 + shift
        wide = rng.uniform(0.05, 0.09)
        fold = [(x, 0.0), (x + wide, 0.0), (x + wide + slope, 1.0), (x + slope, 1.0)]
        sheet.polygon(fold, shade(pink, 0.88))
        light = [
            (x + wide, 0.0),
            (x + wide + 0.05, 0.0),
            (x + wide + 0.05 + slope, 1.0),
            (x + wide + slope, 1.0),
        ]
        sheet.polygon(light, shade(pink, 1.35))


def _rug(sheet: Sheet, rng: Rng) -> None:
    purple = jitter((122, 62, 164), rng, 10)
    pale = jitter((206, 170, 232), rng, 8)
    top = rng.uniform(0.14, 0.24)
    sheet.box(0, 0, 1, 1, jitter((226, 214, 198), rng, 8))
    sheet.box(0.03, top, 0.97, 0.96, pale)
    sheet.box(0.07, top + 0.04, 0.93, 0.92, purple)
    sheet.box(0.11, top + 0.08, 0.89, 0.88, shade(purple, 0.8))
    sheet.box(0.13, top + 0.1, 0.87, 0.86, purple)
    for k in range(17):
        x = 0.04 + k * 0.0575
        sheet.line([(x, 0.96), (x, 0.995)], 0.016, pale)
    size = rng.uniform(0.035, 0.05)
    for i in range(4):
        for j in range(4):
            x, y = 0.22 + 0.187 * i, top + 0.19 + (0.68 - top) * j / 3
            sheet.polygon([(x, y - size), (x + size, y), (x, y + size), (x - size, y)], pale)


@dataclass(frozen=True)
class Scene:
    """A kind of background.

    Attributes:
        name: What it is called.
        phrases: How captions and prompts say it, after the subject; the first is the usual one.
        paint: Draws it; the random generator makes the variation.
    """

    name: str
    phrases: tuple[str, ...]
    paint: Callable[[Sheet, Rng], None]


SCENES: dict[str, Scene] = {
    scene.name: scene
    for scene in (
        Scene("beach", ("on the beach", "on a sandy beach"), _beach),
        Scene("snow", ("in the snow", "in a snowy field"), _snow),
        Scene("meadow", ("in a meadow", "on green grass with flowers"), _meadow),
        Scene("night", ("under the night sky", "at night"), _night),
        Scene("city", ("with a city in the background", "on a city street"), _city),
        Scene("desert", ("in the desert", "in a desert"), _desert),
        Scene(
            "bricks", ("in front of a brick wall", "with a brick wall in the background"), _bricks
        ),
        Scene("ocean", ("in the ocean", "floating on top of water"), _ocean),
        Scene("forest", ("in the forest", "in the jungle"), _forest),
        Scene("wood", ("on a wooden floor", "on top of a wooden floor"), _wood),
        Scene("fabric", ("on pink fabric", "on top of pink fabric"), _fabric),
        Scene("rug", ("on a purple rug", "on top of a purple rug"), _rug),
    )
}


def scene_named(name: str) -> Scene:
    """Return the scene called ``name``; a UserError lists those that exist if there is none."""
    if name not in SCENES:
        raise UserError(f"no scene '{name}' in the mini world; there are: {', '.join(SCENES)}")
    return SCENES[name]


def paint_scene(name: str, seed: int, side: int) -> Image.Image:
    """Draw one variation of a scene as an RGB picture of ``side`` x ``side`` pixels."""
    scene = scene_named(name)
    sheet = Sheet(side)
    scene.paint(sheet, random.Random(f"scene/{name}/{seed}"))
    return sheet.image
