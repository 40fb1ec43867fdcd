"""The live classes of the mini world. Each painter faces right and fills about -1 to 1."""

from idgen.mini.colours import shade
from idgen.mini.pen import INK, Pen, Point, box


def paint_dog(pen: Pen) -> tuple[Point, Point]:
    """Draw a dog from the side; return the top of its head and its neck."""
    main, second, trim = pen.identity.colours
    length, ear, tail, leg = pen.identity.shape
    back = -0.62 - 0.12 * length
    reach = 0.16 * leg
    pen.stroke([(back, 0.1), (back - 0.16, -0.15), (back - 0.12, -0.35 - 0.3 * tail)], 0.13, second)
    for x in (back + 0.16, back + 0.42, 0.08, 0.32):
        pen.shape(box(x - 0.1, 0.3, x + 0.1, 0.78 + reach), second)
    pen.disc(((back + 0.42) / 2, 0.22), ((0.46 - back) / 2 + 0.08, 0.38))
    pen.disc((0.5, -0.3), (0.38, 0.37))
    pen.disc((0.8, -0.2), (0.24, 0.17), shade(main, 1.45))
    pen.spot((0.97, -0.26), 0.09, INK)
    pen.disc((0.26, -0.22), (0.13 + 0.05 * ear, 0.26 + 0.12 * ear), second, 14)
    pen.eye((0.58, -0.4), 0.12)
    pen.stroke([(0.16, 0.06), (0.55, 0.12)], 0.07, trim)
    return (0.45, -0.62), (0.36, 0.08)


def paint_cat(pen: Pen) -> tuple[Point, Point]:
    """Draw a sitting cat from the front; return the top of its head and its neck."""
    main, second, trim = pen.identity.colours
    body, ear, tail, face = pen.identity.shape
    wide = 0.44 + 0.14 * body
    pen.stroke([(0.3, 0.78), (0.78, 0.7), (0.84, 0.3), (0.7, 0.05 - 0.2 * tail)], 0.15, second)
    pen.disc((0, 0.42), (wide, 0.54))
    pen.disc((0, 0.55), (wide * 0.5, 0.32), shade(main, 1.6))
    for side in (-1, 1):
        pen.disc((side * 0.24, 0.88), (0.19, 0.12), second)
        tip = 0.95 + 0.12 * ear
        pen.shape([(side * 0.52, -0.3), (side * 0.5, -tip), (side * 0.08, -0.62)], second)
    pen.disc((0, -0.34), (0.5 + 0.1 * face, 0.4))
    for side in (-1, 1):
        pen.eye((side * 0.23, -0.4), 0.14)
        pen.stroke([(side * 0.3, -0.14), (side * 0.66, -0.1)], 0.01, trim)
    pen.shape([(-0.09, -0.2), (0.09, -0.2), (0, -0.08)], trim)
    return (0.0, -0.7), (0.0, 0.04)


def paint_bird(pen: Pen) -> tuple[Point, Point]:
    """Draw a perching bird from the side; return the top of its head and its neck."""
    _, second, trim = pen.identity.colours
    body, beak, tail, wing = pen.identity.shape
    for x in (-0.12, 0.16):
        pen.stroke([(x, 0.5), (x, 0.92), (x + 0.14, 0.92)], 0.05, trim)
    end = -0.85 - 0.15 * tail
    pen.shape([(-0.3, 0.0), (end, -0.42), (end - 0.02, -0.08), (-0.4, 0.42)], second)
    pen.disc((-0.02, 0.18), (0.56, 0.42 + 0.1 * body), None, -18)
    pen.shape([(0.62, -0.5), (0.98 + 0.06 * beak, -0.34), (0.62, -0.22)], trim)
    pen.disc((0.4, -0.4), (0.36, 0.35))
    pen.disc((-0.14, 0.2), (0.36, 0.18 + 0.1 * wing), second, 22)
    pen.eye((0.5, -0.46), 0.12)
    return (0.36, -0.72), (0.3, -0.06)


def paint_fish(pen: Pen) -> tuple[Point, Point]:
    """Draw a fish from the side; return the top of its head and its neck."""
    _, second, trim = pen.identity.colours
    body, tail, fin, mouth = pen.identity.shape
    high = 0.44 + 0.16 * body
    spread = 0.42 + 0.2 * tail
    pen.shape([(-0.48, 0), (-1.0, -spread), (-0.84, 0), (-1.0, spread)], second)
    pen.shape([(-0.3, -0.3), (-0.2, -0.66 - 0.2 * fin), (0.34, -0.3)], second)
    pen.shape([(-0.1, 0.3), (-0.22, 0.66 + 0.16 * fin), (0.2, 0.32)], second)
    pen.disc((0.18, 0), (0.76, high))
    pen.disc((0.14, 0.1), (0.2, 0.12), trim, -20)
    pen.stroke([(0.92, 0.12), (0.72 - 0.08 * mouth, 0.18)], 0.01, INK)
    pen.eye((0.6, -0.12), 0.14)
    return (0.42, -high + 0.02), (0.36, 0.04)


def paint_turtle(pen: Pen) -> tuple[Point, Point]:
    """Draw a turtle from the side; return the top of its head and its neck."""
    _, second, trim = pen.identity.colours
    dome, leg, head, tail = pen.identity.shape
    pen.shape([(-0.7, 0.3), (-1.0 - 0.06 * tail, 0.46), (-0.66, 0.5)], second)
    for x in (-0.44, 0.28):
        pen.shape(box(x - 0.16, 0.35, x + 0.16, 0.7 + 0.14 * leg), second)
    rise = -0.12 - 0.16 * head
    pen.shape([(0.3, 0.4), (0.5, rise + 0.1), (0.86, rise + 0.14), (0.6, 0.46)], second)
    pen.disc((0.76, rise), (0.25, 0.22), second)
    top = 0.72 + 0.26 * dome
    shell = [(-0.8, 0.42), (-0.74, 0.42 - top * 0.45), (-0.52, 0.42 - top * 0.8)]
    shell += [
        (-0.14, 0.42 - top),
        (0.24, 0.42 - top * 0.8),
        (0.46, 0.42 - top * 0.45),
        (0.52, 0.42),
    ]
    pen.shape(shell)
    pen.stroke([(-0.82, 0.42), (0.54, 0.42)], 0.1, trim)
    pen.eye((0.82, rise - 0.05), 0.1)
    return (0.74, rise - 0.18), (0.64, rise + 0.26)
