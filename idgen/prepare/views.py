"""Views of a photo: the pictures that the autoencoder and E_I see."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from idgen import opencv as cv2
from idgen.masks import Mask, Matte, Picture
from idgen.prepare.buckets import Size

VERSION = 2
"""Part of every feature's key: raise it when a view's pixels change."""

_CLOSEST = 0.6
"""Height of the closest augmented view, in heights of the plain one."""
_SPECK = 0.02
"""A separate piece below this part of the mask's area does not place the square."""
_TOGETHER = 4
"""Augmented views that go through a model in one batch."""

_UNFLIPPED = " unflipped"
"""Ends the name of an augmented view that is never a mirror image."""

Extent: TypeAlias = tuple[tuple[int, int], tuple[int, int]]
"""First row of a subject and the one after its last, and the same of its columns."""


@dataclass(frozen=True)
class View:
    """One way of looking at a photo.

    Attributes:
        name: Its name in keys and files.
        flip: Whether left and right change places; of an augmented view, whether they may.
        number: Of an augmented view, from 1 on; None for the plain one and its mirror image.
    """

    name: str
    flip: bool
    number: int | None = None


@dataclass(frozen=True)
class Frame:
    """The part of a photo that a view shows.

    Attributes:
        left: In pixels, as the others; negative where the frame leaves the photo.
        top: Likewise.
        width: Of the frame.
        height: Of the frame.
        flip: Whether left and right change places.
    """

    left: int
    top: int
    width: int
    height: int
    flip: bool = False


def list_views(flip: bool, augmented: int = 0) -> tuple[View, ...]:
    """The views of a photo: the plain one, its mirror image, and more of other scale and place."""
    mirrored = (View("flip", flip=True),) if flip else ()
    ending = "" if flip else _UNFLIPPED
    more = (View(f"augmented {n}{ending}", flip, n) for n in range(1, augmented + 1))
    return (View("plain", flip=False), *mirrored, *more)


def view_named(name: str) -> View:
    """The view of a name that `list_views` gave."""
    if name in ("plain", "flip"):
        return View(name, flip=name == "flip")
    number = int(name.removeprefix("augmented ").removesuffix(_UNFLIPPED))
    return View(name, not name.endswith(_UNFLIPPED), number)


def batches(views: tuple[View, ...]) -> list[list[int]]:
    """Which views go through a model together, by their places in the list.

    In another batch the last bits of a result differ, so a batch holds views of one photo alone,
    and is part of their keys: one more photo leaves the others as they are. So do augmented
    views, more or fewer, to the plain one and its mirror image, which make a batch of their own.
    """
    first = [place for place, view in enumerate(views) if view.number is None]
    more = [place for place, view in enumerate(views) if view.number is not None]
    return [first, *(more[at : at + _TOGETHER] for at in range(0, len(more), _TOGETHER))]


def frames_of(views: Sequence[View], mask: Mask, digest: str, aspect: float = 1.0) -> list[Frame]:
    """The parts that views show of a photo.

    An augmented view is drawn from the photo's digest and the view's number alone: its height lies
    between 0.6 times and all of the plain view's, its place anywhere in the photo, so that the
    whole subject is kept in both.

    Args:
        views: The views.
        mask: `H W`, of the photo.
        digest: The photo's.
        aspect: Width of the views in their heights.
    """
    extent = subject_extent(mask)
    return [_frame(view, mask.shape, extent, digest, aspect) for view in views]


def _frame(view: View, shape: tuple[int, ...], extent: Extent, digest: str, aspect: float) -> Frame:
    plain = _frame_around(shape, extent, aspect)
    if view.number is None:
        return replace(plain, flip=view.flip)
    draw = random.Random(f"view/{digest}/{view.number}")
    (first_row, last_row), (first_column, last_column) = extent
    needed = max(last_row - first_row, math.ceil((last_column - first_column) / aspect))
    least = min(plain.height, max(needed, round(_CLOSEST * plain.height)))
    tall = draw.randint(least, plain.height)
    wide = max(round(tall * aspect), last_column - first_column)

    def place(first: int, last: int, side: int, length: int) -> int:
        if side >= length:
            return -((side - length) // 2)
        return draw.randint(max(0, last - side), min(first, length - side))

    height, width = shape
    column = place(first_column, last_column, wide, width)
    row = place(first_row, last_row, tall, height)
    return Frame(column, row, wide, tall, view.flip and draw.random() < 0.5)


def framing_of(frame: Frame, height: int, width: int, size: Size) -> tuple[float, ...]:
    """What SDXL is told of a view: original size, corner of the cut, and target size.

    The corner is in pixels of the picture after it was resized, and of its mirror image where the
    view is one; beyond the photo it is 0 (Podell et al. 2023, section 2.2).

    Args:
        frame: What the view shows.
        height: Of the photo.
        width: Of the photo.
        size: Of the view.

    Returns:
        Height and width of the photo, row and column of the corner, height and width of the view.
    """
    left = width - frame.left - frame.width if frame.flip else frame.left
    row = float(round(max(0, frame.top) * size.height / frame.height))
    column = float(round(max(0, left) * size.width / frame.width))
    return float(height), float(width), row, column, float(size.height), float(size.width)


def subject_extent(mask: Mask) -> Extent:
    """Where the subject of a mask `H W` begins and ends; the middle if it is empty.

    Specks, pieces of less than 2 % of the mask's area, do not count.
    """
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    counts = stats[:, cv2.CC_STAT_AREA] >= _SPECK * mask.sum()
    counts[0] = False
    kept = counts[labels]
    rows, columns = (np.flatnonzero(kept.any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        middle = (mask.shape[0] // 2, mask.shape[1] // 2)
        return (middle[0], middle[0]), (middle[1], middle[1])
    return (int(rows[0]), int(rows[-1]) + 1), (int(columns[0]), int(columns[-1]) + 1)


def crop_box(mask: Mask) -> tuple[int, int, int]:
    """The square of a picture that keeps the whole subject.

    It is as wide as the picture's shorter side and slides along the longer one, to the place
    that holds the whole subject nearest to its middle. A subject that is longer than the shorter
    side gets a square of its own length, which leaves the picture on both sides.

    Args:
        mask: `H W`, True on the subject; an empty one gives the centre.

    Returns:
        Left, top and side, in pixels; left or top is negative where it leaves the picture.
    """
    frame = _frame_around(mask.shape, subject_extent(mask), 1.0)
    return frame.left, frame.top, frame.width


def _frame_around(shape: tuple[int, ...], extent: Extent, aspect: float) -> Frame:
    """The largest part of an aspect that is in the picture, or that holds a larger subject."""
    height, width = shape
    (first_row, last_row), (first_column, last_column) = extent
    tall, wide = min(height, round(width / aspect)), min(width, round(height * aspect))
    if last_row - first_row > tall or last_column - first_column > wide:
        tall = max(tall, last_row - first_row, math.ceil((last_column - first_column) / aspect))
        wide = max(round(tall * aspect), last_column - first_column)
    top = _around(first_row, last_row, tall, height)
    return Frame(_around(first_column, last_column, wide, width), top, wide, tall)


def _around(first: int, last: int, side: int, length: int) -> int:
    """Where a side begins that holds a subject as near to its middle as the picture allows."""
    if side >= length:
        return -((side - length) // 2)
    return min(max((first + last - side + 1) // 2, 0), length - side)


def cut_square(
    image: Picture,
    left: int,
    top: int,
    side: int,
    beyond: Literal["symmetric", "constant"] = "symmetric",
) -> Picture:
    """Cuts a square out of a picture; see `cut_out`."""
    return cut_out(image, Frame(left, top, side, side), beyond)


def cut_out(
    image: Picture, frame: Frame, beyond: Literal["symmetric", "constant"] = "symmetric"
) -> Picture:
    """Cuts a part out of a picture, which is mirrored at its edges where the part leaves it.

    Args:
        image: `H W` or `H W 3`; the result is `h w` or `h w 3`.
        frame: What is cut; its flip takes no part.
        beyond: What is beyond the edges: the picture's mirror image, or zeros (`constant`).
    """
    height, width = image.shape[:2]
    left, top, right, bottom = (
        frame.left,
        frame.top,
        frame.left + frame.width,
        frame.top + frame.height,
    )
    around = [
        (max(0, -top), max(0, bottom - height)),
        (max(0, -left), max(0, right - width)),
    ]
    inside = image[max(top, 0) : max(bottom, 0), max(left, 0) : max(right, 0)]
    if not any(before or after for before, after in around):
        return np.ascontiguousarray(inside)
    return np.pad(inside, around + [(0, 0)] * (image.ndim - 2), mode=beyond)


def show(image: Picture, frame: Frame, size: Size) -> Tensor:
    """A view of a picture `H W 3`, resized with a Lanczos filter: `3 h w`, float32 in [-1, 1].

    A photo and its background get the same frame from the same mask, and stay in register.
    """
    # Cut first: with resize's own box the filter would look beyond the frame.
    cut = Image.fromarray(cut_out(image, frame))
    resized = cut.resize((size.width, size.height), Image.Resampling.LANCZOS)
    pixels = torch.from_numpy(np.array(resized)).permute(2, 0, 1).float() / 127.5 - 1
    return (pixels.flip(-1) if frame.flip else pixels).contiguous()


def show_mask(mask: Mask | Matte, frame: Frame, height: int, width: int) -> Tensor:
    """Which share of each place the subject takes in a view: means over the places' areas.

    Beyond the photo, where a view shows its mirror image, there is no subject.

    Args:
        mask: `H W`, of the photo; a matte counts soft edges as the share that they are.
        frame: What the view shows.
        height: h, places from top to bottom, such as the latents'.
        width: w, places from left to right; the result is `1 h w`, float32 in [0, 1].
    """
    values = mask.astype(np.uint8) * 255 if mask.dtype == np.bool_ else mask.astype(np.uint8)
    cut = cut_out(values, frame, beyond="constant")
    shares = cv2.resize(cut.astype(np.float32) / 255, (width, height), interpolation=cv2.INTER_AREA)
    subject = torch.from_numpy(shares).clamp(0, 1)[None]
    return (subject.flip(-1) if frame.flip else subject).contiguous()


def plain_view(image: Picture, mask: Mask, size: Size) -> Tensor:
    """The plain view of a picture `H W 3` by its photo's mask `H W`; see `show`."""
    [frame] = frames_of(list_views(flip=False), mask, "", size.width / size.height)
    return show(image, frame, size)
