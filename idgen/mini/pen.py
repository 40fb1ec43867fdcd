"""A pen that draws a subject in its own coordinates onto a canvas, and its mask with it."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw

from idgen.mini.colours import Colour
from idgen.mini.identity import Identity

Point = tuple[float, float]

INK: Colour = (38, 30, 40)
_TURN = [(math.cos(2 * math.pi * k / 20), math.sin(2 * math.pi * k / 20)) for k in range(20)]


@dataclass(frozen=True)
class Pose:
    """Where and how a subject stands in the picture.

    Attributes:
        x: Centre from left, as a fraction of the picture's width.
        y: Centre from the top, as a fraction of the picture's height.
        size: Width of the subject's box as a fraction of the picture's width.
        angle: Rotation in degrees, clockwise.
        flip: Whether left and right are exchanged.
    """

    x: float
    y: float
    size: float
    angle: float
    flip: bool


class Pen:
    """Draws shapes given in subject coordinates: x right, y down, both about -1 to 1.

    Args:
        canvas: RGB picture to draw on, changed in place.
        pose: How subject coordinates are laid into the picture.
        identity: Colours and texture of the subject.
    """

    def __init__(self, canvas: Image.Image, pose: Pose, identity: Identity) -> None:
        self.canvas = canvas
        self.mask = Image.new("L", canvas.size, 0)
        self.identity = identity
        self._draw = ImageDraw.Draw(canvas)
        self._mask_draw = ImageDraw.Draw(self.mask)
        width, height = canvas.size
        self._scale = pose.size * width / 2
        cos, sin = math.cos(math.radians(pose.angle)), math.sin(math.radians(pose.angle))
        flip = -1.0 if pose.flip else 1.0
        self._matrix = (cos * flip, -sin, sin * flip, cos)
        self._centre = (pose.x * width, pose.y * height)
        self._coat: Image.Image | None = None

    def _place(self, points: Sequence[Point]) -> list[Point]:
        a, b, c, d = self._matrix
        (x0, y0), s = self._centre, self._scale
        return [(x0 + s * (a * x + b * y), y0 + s * (c * x + d * y)) for x, y in points]

    def shape(self, points: Sequence[Point], fill: Colour | None = None) -> None:
        """Draw a closed polygon with an inked outline.

        Args:
            points: Corners in subject coordinates.
            fill: Colour inside, or None for the identity's coat (main colour and texture).
        """
        self.shapes([points], fill)

    def shapes(self, outlines: Sequence[Sequence[Point]], fill: Colour | None = None) -> None:
        """Draw several polygons that share one fill; see `shape`."""
        placed = [self._place(points) for points in outlines]
        if fill is None:
            stencil = Image.new("L", self.canvas.size, 0)
            stencil_draw = ImageDraw.Draw(stencil)
            for corners in placed:
                stencil_draw.polygon(corners, fill=255)
            self.canvas.paste(self.coat, (0, 0), stencil)
        for corners in placed:
            closed = [*corners, corners[0]]
            if fill is not None:
                self._draw.polygon(corners, fill=fill)
            self._draw.line(closed, fill=INK, width=2)
            self._mask_draw.polygon(corners, fill=255)
            self._mask_draw.line(closed, fill=255, width=2)

    def disc(
        self,
        centre: Point,
        radii: Point,
        fill: Colour | None = None,
        tilt: float = 0.0,
    ) -> None:
        """Draw an inked ellipse, turned by ``tilt`` degrees clockwise."""
        self.shape(oval(centre, radii, tilt), fill)

    def spot(self, centre: Point, radius: float, fill: Colour) -> None:
        """Draw a small disc without an outline: a pupil, a bolt, a lamp."""
        corners = self._place(oval(centre, (radius, radius)))
        self._draw.polygon(corners, fill=fill)
        self._mask_draw.polygon(corners, fill=255)

    def stroke(self, points: Sequence[Point], width: float, fill: Colour) -> None:
        """Draw an inked line of ``width`` (subject coordinates) through ``points``."""
        placed = self._place(points)
        pixels = max(2, round(width * self._scale))
        self._draw.line(placed, fill=INK, width=pixels + 4, joint="curve")
        self._mask_draw.line(placed, fill=255, width=pixels + 4, joint="curve")
        self._draw.line(placed, fill=fill, width=pixels, joint="curve")

    def eye(self, centre: Point, radius: float) -> None:
        """Draw an eye in the identity's eye colour."""
        self.disc(centre, (radius, radius), self.identity.eye)
        self.spot(centre, radius * 0.55, INK)

    @property
    def coat(self) -> Image.Image:
        """The identity's main colour with its texture, laid out in subject coordinates."""
        if self._coat is None:
            self._coat = Image.new("RGB", self.canvas.size, self.identity.colours[0])
            draw = ImageDraw.Draw(self._coat)
            second = self.identity.colours[1]
            for corners in _texture(self.identity):
                draw.polygon(self._place(corners), fill=second)
        return self._coat


def oval(centre: Point, radii: Point, tilt: float = 0.0) -> list[Point]:
    """Return the corners of a 20-cornered ellipse, turned by ``tilt`` degrees clockwise."""
    (x, y), (rx, ry) = centre, radii
    if tilt == 0:
        return [(x + rx * u, y + ry * v) for u, v in _TURN]
    cos, sin = math.cos(math.radians(tilt)), math.sin(math.radians(tilt))
    return [(x + rx * u * cos - ry * v * sin, y + rx * u * sin + ry * v * cos) for u, v in _TURN]


def box(left: float, top: float, right: float, bottom: float) -> list[Point]:
    """Return the corners of a rectangle."""
    return [(left, top), (right, top), (right, bottom), (left, bottom)]


def _texture(identity: Identity) -> list[list[Point]]:
    if identity.texture == "plain":
        return []
    period = identity.texture_period
    reach = math.ceil(1.2 / period)
    steps = range(-reach, reach + 1)
    if identity.texture == "stripes":
        half = period * 0.24
        shapes = [box(-1.5, k * period - half, 1.5, k * period + half) for k in steps]
    elif identity.texture == "dots":
        radius = period * 0.28
        shapes = [
            oval(((i + 0.5 * (j % 2)) * period, j * period * 0.87), (radius, radius))
            for i in steps
            for j in steps
        ]
    else:
        half = period * 0.5
        shapes = [
            box(i * half, j * half, (i + 1) * half, (j + 1) * half)
            for i in range(-2 * reach, 2 * reach)
            for j in range(-2 * reach, 2 * reach)
            if (i + j) % 2 == 0
        ]
    cos = math.cos(math.radians(identity.texture_angle))
    sin = math.sin(math.radians(identity.texture_angle))
    return [[(x * cos - y * sin, x * sin + y * cos) for x, y in shape] for shape in shapes]
