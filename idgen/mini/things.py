"""The classes of objects in the mini world. Each painter fills about -1 to 1."""

import math

from idgen.mini.colours import shade
from idgen.mini.pen import INK, Pen, box, oval

_GLASS = (190, 228, 245)


def paint_car(pen: Pen) -> None:
    """Draw a car from the side."""
    _, second, trim = pen.identity.colours
    roof, bonnet, wheel, back = pen.identity.shape
    top = -0.52 - 0.2 * roof
    front = 0.34 + 0.14 * bonnet
    rear = -0.58 - 0.14 * back
    pen.shape(
        [(rear, -0.04), (rear + 0.22, top), (front - 0.26, top), (front + 0.06, -0.04)], second
    )
    pen.shape(
        [(rear + 0.15, -0.08), (rear + 0.3, top + 0.13), (-0.14, top + 0.13), (-0.14, -0.08)],
        _GLASS,
    )
    pen.shape(
        [(0.0, -0.08), (0.0, top + 0.13), (front - 0.32, top + 0.13), (front - 0.08, -0.08)], _GLASS
    )
    pen.shape([(-0.98, 0.4), (-0.98, 0.02), (-0.88, -0.1), (0.7, -0.1), (0.96, 0.08), (0.98, 0.4)])
    radius = 0.22 + 0.06 * wheel
    for x in (-0.54, 0.54):
        pen.disc((x, 0.42), (radius, radius), INK)
        pen.disc((x, 0.42), (radius * 0.5, radius * 0.5), trim)
    pen.disc((0.88, 0.12), (0.09, 0.09), pen.identity.eye)


def paint_boat(pen: Pen) -> None:
    """Draw a sailing boat from the side."""
    _, second, trim = pen.identity.colours
    hull, sail, jib, flag = pen.identity.shape
    deck = 0.26 + 0.1 * hull
    pen.stroke([(-0.06, deck), (-0.06, -0.96)], 0.05, (120, 82, 50))
    pen.shape([(0.04, deck - 0.1), (0.04, -0.84), (0.62 + 0.3 * sail, deck - 0.1)], second)
    pen.shape([(-0.16, deck - 0.1), (-0.16, -0.62), (-0.56 - 0.24 * jib, deck - 0.1)], trim)
    pen.shape([(-0.06, -1.0), (-0.06, -0.8), (-0.3 - 0.12 * flag, -0.9)], pen.identity.eye)
    pen.shape([(-0.94, deck), (0.98, deck), (0.68, 0.86), (-0.66, 0.86)])


def paint_rocket(pen: Pen) -> None:
    """Draw a rocket with its flame."""
    _, second, trim = pen.identity.colours
    wide, nose, fin, fire = pen.identity.shape
    half = 0.28 + 0.1 * wide
    flame = 0.82 + 0.2 * fire
    pen.shape([(-0.22, 0.5), (0, flame + 0.1), (0.22, 0.5)], (255, 150, 30))
    pen.shape([(-0.1, 0.5), (0, flame - 0.12), (0.1, 0.5)], (255, 232, 110))
    reach = 0.62 + 0.2 * fin
    for side in (-1, 1):
        pen.shape([(side * half, 0.02), (side * reach, 0.68), (side * half * 0.8, 0.56)], second)
    shoulder = -0.42 + 0.1 * nose
    top = [(-half, shoulder), (half, shoulder)]
    bottom = [(half, 0.3), (half * 0.75, 0.58), (-half * 0.75, 0.58), (-half, 0.3)]
    pen.shape([*top, *bottom])
    pen.shape(
        [(-half, shoulder), (-half * 0.6, -0.76), (0, -1.0), (half * 0.6, -0.76), (half, shoulder)],
        trim,
    )
    pen.disc((0, -0.12), (0.17, 0.17), pen.identity.eye)


def paint_house(pen: Pen) -> None:
    """Draw a house from the front."""
    _, second, trim = pen.identity.colours
    wide, roof, door, chimney = pen.identity.shape
    half = 0.66 + 0.16 * wide
    pen.shape(box(0.3, -0.95, 0.5 + 0.1 * chimney, -0.3), trim)
    pen.shape(box(-half, -0.2, half, 0.86))
    pen.shape([(-half - 0.16, -0.16), (0, -0.72 - 0.26 * roof), (half + 0.16, -0.16)], second)
    left = -0.2 + 0.3 * (door - 0.5)
    pen.shape(box(left, 0.3, left + 0.34, 0.86), trim)
    for x in (-half + 0.1, half - 0.38):
        pen.shape(box(x, -0.02, x + 0.28, 0.26), pen.identity.eye)


def paint_teapot(pen: Pen) -> None:
    """Draw a teapot from the side."""
    _, second, trim = pen.identity.colours
    body, spout, handle, lid = pen.identity.shape
    reach = 0.14 + 0.1 * handle
    loop = [(-0.46, -0.2), (-0.72 - reach, -0.26), (-0.76 - reach, 0.3), (-0.44, 0.42)]
    pen.stroke(loop, 0.13, second)
    tip = -0.3 - 0.24 * spout
    pen.shape([(0.4, 0.42), (0.8, tip), (1.02, tip), (0.62, 0.0), (0.44, -0.1)], second)
    high = 0.5 + 0.12 * body
    pen.shape(box(-0.34, 0.6, 0.34, 0.3 + high), second)
    pen.disc((0, 0.16), (0.64, high))
    pen.disc((0, 0.2 - high), (0.36, 0.13), trim)
    pen.disc((0, 0.02 - high - 0.1 * lid), (0.12, 0.12), trim)


def paint_robot(pen: Pen) -> None:
    """Draw a toy robot from the front."""
    _, second, trim = pen.identity.colours
    body, head, arm, antenna = pen.identity.shape
    wide = 0.4 + 0.12 * body
    crown = 0.3 + 0.12 * head
    pen.stroke([(0, -0.7), (0, -0.9)], 0.05, trim)
    pen.disc((0, -0.93), (0.09 + 0.05 * antenna, 0.09 + 0.05 * antenna), trim)
    for side in (-1, 1):
        drop = 0.5 - 0.7 * arm
        pen.stroke([(side * wide, -0.06), (side * 0.82, drop)], 0.14, second)
        pen.disc((side * 0.84, drop), (0.13, 0.13), trim)
        pen.shape(box(side * 0.24 - 0.13, 0.5, side * 0.24 + 0.13, 0.94), second)
    pen.shape(box(-wide, -0.16, wide, 0.6))
    pen.shape(box(-crown - 0.1, -0.78, crown + 0.1, -0.2), second)
    for side in (-1, 1):
        pen.eye((side * crown * 0.5, -0.54), 0.13)
    pen.shape(box(-0.2, -0.34, 0.2, -0.27), INK)


def paint_flower(pen: Pen) -> None:
    """Draw a flower in a pot."""
    _, second, trim = pen.identity.colours
    petals, size, leaf, pot = pen.identity.shape
    pen.stroke([(0, -0.2), (0, 0.5)], 0.08, (60, 150, 60))
    for side in (-1, 1):
        pen.disc((side * 0.26, 0.24), (0.24 + 0.06 * leaf, 0.11), (80, 175, 70), -side * 28)
    count = 5 + round(3 * petals)
    radius = 0.25 + 0.05 * size
    ring = [2 * math.pi * k / count for k in range(count)]
    pen.shapes(
        [oval((0.4 * math.sin(t), -0.42 - 0.4 * math.cos(t)), (radius, radius)) for t in ring]
    )
    pen.disc((0, -0.42), (0.26, 0.26), second)
    low = 0.24 + 0.12 * pot
    pen.shape([(-0.44, 0.5), (0.44, 0.5), (low, 0.98), (-low, 0.98)], trim)
    pen.shape(box(-0.5, 0.42, 0.5, 0.58), shade(trim, 0.8))
