"""What the user says of where the subject is: points and boxes in a file beside the photos."""

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence, Set
from functools import lru_cache
from os.path import isfile  # false, and no error, for a name that is too long
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, Strict, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from idgen.errors import UserError
from idgen.fingerprint import fingerprint_fields
from idgen.prepare.photos import Photo
from idgen.prepare.segmenters.segmenter import Segmenter
from idgen.texts import decoded
from idgen.yaml_texts import load_yaml

PROMPTS = "prompts.yaml"
"""The file's name; it lies in the photos' folder."""


def _in_order(given: Any) -> Any:
    if isinstance(given, Set):
        raise ValueError("a set has no order")
    return given


Number: TypeAlias = Annotated[float, Strict()]
Point: TypeAlias = Annotated[tuple[Number, Number], BeforeValidator(_in_order)]
Box: TypeAlias = Annotated[tuple[Number, Number, Number, Number], BeforeValidator(_in_order)]
Points: TypeAlias = Annotated[tuple[Point, ...], BeforeValidator(_in_order)]

_FORMS = {
    "points": "a list of [x, y]",
    "background_points": "a list of [x, y]",
    "box": "[left, top, right, bottom]",
}
_EXAMPLE = "'00.jpg: {points: [[320, 240]]}'"
_GIVE_ONE = f"give one or more of {', '.join(_FORMS)}, such as {_EXAMPLE}"


class Prompts(BaseModel, frozen=True, extra="forbid"):
    """Prompts for one photo, in pixels of it as seen (after EXIF rotation), from its left top.

    Attributes:
        points: (x, y) on the subject.
        background_points: (x, y) that are not on it.
        box: (left, top, right, bottom) around it.
    """

    points: Points = ()
    background_points: Points = ()
    box: Box | None = None


_FILE = TypeAdapter(dict[Annotated[str, Strict()], Prompts])


def prompts_of(photo: Photo) -> Prompts | None:
    """The user's prompts for a photo, from `prompts.yaml` beside it; None if there are none.

    Raises:
        UserError: If the file cannot be read or says something that is not understood.
    """
    return _of_folder(photo.path.parent).get(photo.name)


def placed_prompts(photo: Photo) -> Prompts | None:
    """The same in pixels of `photo.pixels()`, which may be smaller than the file's picture."""
    prompts = prompts_of(photo)
    if prompts is None or photo.size() == photo.full_size():
        return prompts
    (height, width), (full_height, full_width) = photo.size(), photo.full_size()
    across, down = width / full_width, height / full_height

    def placed(points: Points) -> Points:
        return tuple((x * across, y * down) for x, y in points)

    box = None
    if prompts.box is not None:
        (left, top), (right, bottom) = placed((prompts.box[:2], prompts.box[2:]))
        box = (left, top, right, bottom)
    return Prompts(
        points=placed(prompts.points),
        background_points=placed(prompts.background_points),
        box=box,
    )


def prompted_key(identity: str, photo: Photo) -> str:
    """A segmenter's key of a photo: its identity, and the photo's own prompts if it has any."""
    prompts = prompts_of(photo)
    if prompts is None:
        return identity
    return fingerprint_fields(segmenter=identity, prompts=json.dumps(prompts.model_dump()))


class PromptedSegmenter(Segmenter):
    """A segmenter that the user's prompts override, photo by photo."""

    def key(self, photo: Photo) -> str:
        """The identity, with the user's prompts for this photo if there are any."""
        return prompted_key(self.identity, photo)

    def check(self, photos: Sequence[Photo]) -> None:
        """Checks the user's prompts."""
        check_prompts(photos)


def check_prompts(photos: Sequence[Photo]) -> None:
    """Checks the prompts beside some photos, against their folder and their sizes.

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
        if (prompts := prompts_of(photo)) is not None:
            _check_places(prompts, photo)


def _check_places(prompts: Prompts, photo: Photo) -> None:
    height, width = photo.full_size()
    box = () if prompts.box is None else (prompts.box[:2], prompts.box[2:])
    for key, places in zip(_FORMS, (prompts.points, prompts.background_points, box), strict=True):
        for x, y in places:
            if not (0 <= x <= width and 0 <= y <= height):
                raise UserError(
                    f"{photo.path.parent / PROMPTS}: {photo.name}.{key}: ({x:g}, {y:g}) lies "
                    f"outside the photo, which is {width} x {height}; give pixels from its left top"
                )


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
    data = load_yaml(decoded(content, path), str(path))
    try:
        prompted = _FILE.validate_python({} if data is None else data)
    except ValidationError as error:
        raise UserError(f"{path}: {_fault(data, error.errors()[0])}") from error
    for name, prompts in prompted.items():
        if not prompts.model_fields_set:
            raise UserError(f"{path}: {name}: {_GIVE_ONE}")
        if not prompts.points and prompts.box is None:
            raise UserError(
                f"{path}: {name}: says only where the subject is not; give points or a box too"
            )
        left, top, right, bottom = prompts.box or (0, 0, 1, 1)
        if left >= right or top >= bottom:
            raise UserError(
                f"{path}: {name}.box: {list(prompts.box or ())} is empty; it has to be "
                "[left, top, right, bottom] with left under right and top under bottom"
            )
    return prompted


def _fault(data: Any, error: ErrorDetails) -> str:
    """What is wrong with the content of a file, by the first error that was found in it."""
    if not error["loc"]:
        return f"has to map a photo's name to its prompts, such as {_EXAMPLE}"
    name, *inner = error["loc"]
    if inner == ["[key]"]:
        return f"{error['input']!r} is no photo's name; write it in quotes, with its suffix"
    if not inner:
        return f"{name}: {_GIVE_ONE}"
    key, *place = inner
    if key not in _FORMS:
        known = ", ".join(_FORMS)
        return f"{name}: there is no key {key!r}{_nearest(str(key), _FORMS)}; known are {known}"
    value = data[name][key]
    holds = f"holds {value[place[0]]!r}" if place and key != "box" else f"is {value!r}"
    return f"{name}.{key}: has to be {_FORMS[key]}; it {holds}"


def _nearest(word: str, known: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, sorted(known), n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""
