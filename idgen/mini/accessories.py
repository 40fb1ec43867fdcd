"""What the mini world's creatures can wear."""

from idgen.mini.pen import Pen, Point, box

ACCESSORIES: tuple[str, ...] = ("red hat", "black top hat", "blue scarf", "rainbow scarf")

_RAINBOW = ((225, 50, 50), (250, 150, 40), (250, 220, 60), (70, 180, 80), (60, 110, 225))


def paint_accessory(name: str, pen: Pen, head: Point, neck: Point) -> None:
    """Draw an accessory on a creature.

    Args:
        name: One of ``ACCESSORIES``.
        pen: The pen that drew the creature.
        head: Top of its head, in subject coordinates.
        neck: Middle of its neck.
    """
    x, y = head
    if name == "red hat":
        pen.shape([(x - 0.3, y + 0.1), (x + 0.02, y - 0.56), (x + 0.3, y + 0.1)], (222, 36, 36))
        pen.disc((x + 0.02, y - 0.54), (0.11, 0.11), (255, 255, 255))
        pen.stroke([(x - 0.32, y + 0.08), (x + 0.32, y + 0.08)], 0.1, (255, 255, 255))
    elif name == "black top hat":
        pen.shape(box(x - 0.24, y - 0.48, x + 0.24, y + 0.06), (28, 26, 32))
        pen.shape(box(x - 0.24, y - 0.12, x + 0.24, y - 0.02), (200, 60, 60))
        pen.shape(box(x - 0.42, y, x + 0.42, y + 0.12), (28, 26, 32))
    else:
        _paint_scarf(name == "rainbow scarf", pen, neck)


def _paint_scarf(rainbow: bool, pen: Pen, neck: Point) -> None:
    x, y = neck
    blue = ((50, 110, 225), (130, 180, 250)) * 3
    colours = _RAINBOW if rainbow else blue[:5]
    for k, colour in enumerate(colours):
        left = x - 0.42 + 0.168 * k
        pen.shape(box(left, y - 0.06, left + 0.168, y + 0.14), colour)
    for k, colour in enumerate(colours):
        top = y + 0.12 + 0.11 * k
        pen.shape(box(x + 0.12, top, x + 0.34, top + 0.11), colour)
