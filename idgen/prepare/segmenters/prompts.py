"""What the user says of where the subject is: points and boxes in a file beside the photos."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from os.path import isfile  # false, and no error, for a name that is too long
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from idgen.errors import UserError
from idgen.fingerprint import fingerprint_fields
from idgen.prepare.photos import Photo
from idgen.prepare.segmenters.segmenter import Segmenter

PROMPTS = "prompts.yaml"
"""The file's name; it lies in the photos' folder."""

Point: TypeAlias = tuple[float, float]
Box: TypeAlias = tuple[float, float, float, float]

_KEYS = ("points", "background_points", "box")


@dataclass(frozen=True)
class Prompts:
    """Prompts for one photo, in pixels of it as seen (after EXIF rotation), from its left top.

    Attributes:
        points: (x, y) on the subject.
        background_points: (x, y) that are not on it.
        box: (left, top, right, bottom) around it.
    """

    points: tuple[Point, ...] = ()
    background_points: tuple[Point, ...] = ()
    box: Box | None = None

    @property
    def corners(self) -> tuple[Point, ...]:
        """All places that they name."""
        box = () if self.box is None else (self.box[:2], self.box[2:])
        return (*self.points, *self.background_points, *box)


def prompts_of(photo: Photo) -> Prompts | None:
    """The user's prompts for a photo, from `prompts.yaml` beside it; None if there are none.

    Raises:
        UserError: If the file cannot be read or says something that is not understood.
    """
    return _of_folder(photo.path.parent).get(photo.name)


def prompted_key(identity: str, photo: Photo) -> str:
    """A segmenter's key of a photo: its identity, and the photo's own prompts if it has any.

    Args:
        identity: The segmenter's.
        photo: The photo.

    Raises:
        UserError: As `prompts_of` does.
    """
    prompts = prompts_of(photo)
    if prompts is None:
        return identity
    return fingerprint_fields(segmenter=identity, prompts=json.dumps(asdict(prompts)))


class PromptedSegmenter(Segmenter):
    """A segmenter that the user's prompts override, photo by photo."""

    def key(self, photo: Photo) -> str:
        """The identity, with the user's prompts for this photo if there are any."""
        return prompted_key(self.identity, photo)

    def check(self, photos: Sequence[Photo]) -> None:
        """Checks the user's prompts.

        Raises:
            UserError: If they cannot be used.
        """
        check_prompts(photos)


def check_prompts(photos: Sequence[Photo]) -> None:
    """Checks the prompts beside some photos, against their folder and their sizes.

    Args:
        photos: The photos that will be segmented.

    Raises:
        UserError: If a file of prompts cannot be read, names a photo that is not there, or says
            something that is not understood or lies outside its photo.
    """
    for folder in sorted({photo.path.parent for photo in photos}):
        prompted = _of_folder(folder)
        names = {photo.name for photo in photos if photo.path.parent == folder}
        for name in prompted:
            # Photos left out, such as copies, may keep their prompts.
            if name not in names and ("/" in name or not isfile(folder / name)):
                raise UserError(
                    f"{folder / PROMPTS}: there is no photo {name!r}{_nearest(name, names)}"
                )
    for photo in photos:
        prompts = prompts_of(photo)
        if prompts is not None:
            _check_places(prompts, photo)


def _check_places(prompts: Prompts, photo: Photo) -> None:
    height, width = photo.size()
    for key in _KEYS:
        value = getattr(prompts, key)
        places = Prompts(**{key: value}).corners
        outside = [place for place in places if not _inside(place, width, height)]
        if outside:
            x, y = outside[0]
            raise UserError(
                f"{photo.path.parent / PROMPTS}: {photo.name}.{key}: ({x:g}, {y:g}) lies outside "
                f"the photo, which is {width} x {height}; give pixels from its left top"
            )


def _inside(place: Point, width: int, height: int) -> bool:
    return 0 <= place[0] <= width and 0 <= place[1] <= height


def _of_folder(folder: Path) -> Mapping[str, Prompts]:
    path = folder / PROMPTS
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise UserError(f"cannot read {path} ({error.strerror}); mend or remove it") from error
    return _parsed(path, content)


@lru_cache(maxsize=64)
def _parsed(path: Path, content: bytes) -> Mapping[str, Prompts]:
    try:
        data = yaml.safe_load(content)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError) as error:
        reason = str(error).strip().split("\n")[0]
        raise UserError(f"{path} is no YAML ({reason[:120]}); mend or remove it") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise UserError(f"{path}: has to map a photo's name to its prompts, such as {_EXAMPLE}")
    return {_name(path, name): _prompts(path, str(name), entry) for name, entry in data.items()}


_EXAMPLE = "'00.jpg: {points: [[320, 240]]}'"


def _name(path: Path, name: Any) -> str:
    if not isinstance(name, str):
        raise UserError(f"{path}: {name!r} is no photo's name; write it in quotes, with its suffix")
    return name


def _prompts(path: Path, name: str, entry: Any) -> Prompts:
    if not isinstance(entry, dict) or not entry:
        known = ", ".join(_KEYS)
        raise UserError(f"{path}: {name}: give one or more of {known}, such as {_EXAMPLE}")
    for key in entry:
        if key not in _KEYS:
            known = ", ".join(_KEYS)
            nearest = _nearest(str(key), _KEYS)
            raise UserError(f"{path}: {name}: there is no key {key!r}{nearest}; known are {known}")
    box = entry.get("box")
    prompts = Prompts(
        points=_points(path, f"{name}.points", entry.get("points", [])),
        background_points=_points(
            path, f"{name}.background_points", entry.get("background_points", [])
        ),
        box=None if box is None else _box(path, f"{name}.box", box),
    )
    if not prompts.points and prompts.box is None:
        raise UserError(
            f"{path}: {name}: says only where the subject is not; give points or a box too"
        )
    return prompts


def _points(path: Path, key: str, value: Any) -> tuple[Point, ...]:
    if not isinstance(value, list):
        raise UserError(f"{path}: {key}: has to be a list of [x, y]; it is {value!r}")
    points = []
    for point in value:
        if not _numbers(point, 2):
            raise UserError(f"{path}: {key}: has to be a list of [x, y]; it holds {point!r}")
        points.append((float(point[0]), float(point[1])))
    return tuple(points)


def _box(path: Path, key: str, value: Any) -> Box:
    if not _numbers(value, 4):
        raise UserError(f"{path}: {key}: has to be [left, top, right, bottom]; it is {value!r}")
    left, top, right, bottom = (float(number) for number in value)
    if left >= right or top >= bottom:
        raise UserError(
            f"{path}: {key}: {value!r} is empty; it has to be [left, top, right, bottom] with left "
            "under right and top under bottom"
        )
    return left, top, right, bottom


def _numbers(value: Any, count: int) -> bool:
    # YAML's true and false are ints to Python.
    return (
        isinstance(value, list)
        and len(value) == count
        and all(isinstance(n, int | float) and not isinstance(n, bool) for n in value)
    )


def _nearest(word: str, known: Sequence[str] | set[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
