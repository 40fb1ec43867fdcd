"""The user's photos: found, checked before any work, and read as sRGB."""

import hashlib
import io
import os
import threading
import warnings
from collections.abc import Container, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps, UnidentifiedImageError

from idgen import opencv as cv2
from idgen.errors import UserError, first_line
from idgen.masks import Picture
from idgen.prepare.folder_contents import passed_over, visible_entries
from idgen.prepare.masks_beside import masks_beside
from idgen.prepare.memory import Memory

SMALLEST_SIDE = 32
_SHORTER_SIDE = 1536
_ORIENTATION = 0x0112
_SIDEWAYS = frozenset({5, 6, 7, 8})
_HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
# Formats whose further pictures are depth maps and previews, not frames.
_ONE_PHOTO = frozenset({"MPO", "HEIF"})
_FILTERS = threading.Lock()
"""Pictures are read by threads, and the filters of warnings are the process's."""


class UnfitPhotoError(UserError):
    """Nothing can be made of one photo, for what it shows; the others of its set can do."""


class _BadPhotoError(Exception):
    """Why a file cannot be used, with the mend."""


@dataclass(frozen=True)
class Photo:
    """A photo, known by its content.

    Attributes:
        path: The file.
        digest: SHA-256 of its bytes, 64 hexadecimal digits.
        memory: Keeps its pixels for the next to ask; None to read the file each time.
    """

    path: Path
    digest: str
    memory: Memory | None = field(default=None, compare=False, repr=False, kw_only=True)

    @property
    def name(self) -> str:
        """The file's name."""
        return self.path.name

    @property
    def subject(self) -> str:
        """The name of its subject."""
        return subject_name(self.path.parent)

    def _bytes(self) -> bytes:
        with _named_errors(self.path):
            content = _read(self.path)
        if hashlib.sha256(content).hexdigest() != self.digest:
            raise UserError(f"{self.path} has changed since it was first read; start again")
        return content

    def size(self) -> tuple[int, int]:
        """Height and width of `pixels`; reads the header only; raises what `full_size` does."""
        return working_size(*self.full_size())

    def full_size(self) -> tuple[int, int]:
        """Height and width of the file's picture after EXIF rotation; reads the header only.

        Masks and prompts of the user are in these pixels.

        Raises:
            UserError: If the file cannot be read or has changed.
        """
        with _named_errors(self.path), _opened(self._bytes()) as image:
            width, height = image.size
            # Of a TIFF, Pillow gives the size as turned already.
            turns = image.format != "TIFF"
            sideways = turns and image.getexif().get(_ORIENTATION) in _SIDEWAYS
            return (width, height) if sideways else (height, width)

    def pixels(self) -> Picture:
        """The picture as it is meant to be seen.

        EXIF rotation is applied, an embedded colour profile is converted to sRGB, transparency is
        laid over white unless it is the same everywhere, grey becomes RGB. Large photos are reduced
        to `working_size`, once and for all: nothing that is made of them needs more.

        Returns:
            `H W 3` uint8, sRGB.

        Raises:
            UserError: If the file cannot be read, or its content is no longer `digest`.
        """
        content = self._bytes()

        def read() -> Picture:
            with _named_errors(self.path), _opened(content) as image:
                return reduced(_to_srgb(image))

        return read() if self.memory is None else self.memory.get(self.digest, read).copy()

    def alpha(self) -> NDArray[np.uint8] | None:
        """Its own alpha channel, `H W`, turned as `pixels` is; None where it has none.

        Raises:
            UserError: If the file cannot be read, or its content is no longer `digest`.
        """
        with _named_errors(self.path), _opened(self._bytes()) as image:
            if not image.has_transparency_data:
                return None
            upright = ImageOps.exif_transpose(image)
            return reduced(np.asarray(upright.convert("RGBA").getchannel("A")))


def working_size(height: int, width: int) -> tuple[int, int]:
    """The size that a photo is worked on at: its shorter side has 1536 pixels at most.

    That is 1.5 times what the largest backbones see, so that closer views have enough too.
    """
    scale = min(1.0, _SHORTER_SIDE / min(height, width))
    return round(height * scale), round(width * scale)


def reduced(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture `H W` or `H W 3` at its working size, each pixel the mean of those it stands for.

    One that is small enough is given back as it is.
    """
    height, width = working_size(*picture.shape[:2])
    if (height, width) == picture.shape[:2]:
        return picture
    smaller = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, dtype=np.uint8)


def subject_name(folder: Path) -> str:
    """What a subject is called: as its folder of photos is given, a link by its own name.

    `.` and `..` stand for the name of the folder that they lead to.
    """
    return folder.resolve().name if folder.name in ("", "..") else folder.name


def find_photos(
    folder: Path, checked: Container[str] = frozenset(), skip_bad: bool = False
) -> list[Photo]:
    """Finds the photos of one subject and checks every one of them.

    Hidden files, folders, notes, masks that lie beside their photos (`masks_beside`), and videos,
    captions and the like (`passed_over`) are passed over; every other
    file has to be an image, whatever its suffix, and of a content of its own: a copy would count
    its photo twice.

    Args:
        folder: A folder of photos.
        checked: Digests of photos that were decoded before and need not be again.
        skip_bad: Whether files that are no usable image, and copies of one before them, are left
            out, with a warning each.

    Returns:
        At least one photo, all of different content, sorted by name.

    Raises:
        UserError: If there is no such folder, it holds no photo, or files in it cannot be used:
            all of them are named, with reason and mend.
    """
    paths = [path for path in visible_entries(folder) if not os.path.isdir(path)]
    beside = masks_beside(path.name for path in paths)
    masks = {name for names in beside.values() for name in names}
    paths = [path for path in paths if path.name not in masks]
    others = passed_over(folder)
    if not paths:
        holding = f", which holds {others}" if others else ""
        raise UserError(f"no photo in {folder}{holding}; put 3 to 6 photos of the subject there")
    found: dict[str, Photo] = {}
    bad: list[str] = []
    for path in paths:
        try:
            photo = _check(path, checked)
            first = found.setdefault(photo.digest, photo)
            if first is not photo:
                raise _BadPhotoError(f"is a copy of {first.name!r}: remove one of the two")
        except _BadPhotoError as error:
            bad.append(f"{path.name!r} {error}")
    if skip_bad:
        for fault in bad:
            warnings.warn(f"left out {fault}", stacklevel=2)
    elif bad:
        raise UserError(f"photos in {folder} cannot be used: {'; '.join(bad)}")
    if not found:
        raise UserError(f"no photo in {folder} can be used: {'; '.join(bad)}")
    return list(found.values())


def lone_photo_note(folder: Path) -> str:
    """What to say of a set of one photo, in one line."""
    return (
        f"only one photo in {folder}: from one, a subject can hardly be told apart from its "
        "background; 3 to 6 are best"
    )


def read_photo(path: Path) -> Photo:
    """Checks one photo, such as a reference whose scene is to be kept.

    Raises:
        UserError: If it is no usable image; names the reason and the mend.
    """
    with _named_errors(path):
        return _check(path)


def _check(path: Path, checked: Container[str] = frozenset()) -> Photo:
    content = _read(path)
    digest = hashlib.sha256(content).hexdigest()
    if digest in checked:
        return Photo(path, digest)
    if not content:
        raise _BadPhotoError("is empty (0 bytes): copy it again or remove it")
    with _opened(content) as image:
        if getattr(image, "is_animated", False) and image.format not in _ONE_PHOTO:
            raise _BadPhotoError("holds several frames or pages: save one of them as PNG or JPEG")
        if min(image.size) < SMALLEST_SIDE:
            width, height = image.size
            raise _BadPhotoError(
                f"is {width} x {height} pixels, too small: give one of at least "
                f"{SMALLEST_SIDE} pixels a side"
            )
        # Reads every byte, so that truncation shows, at an eighth of the size where that is quick;
        # damaged Exif, and what cannot be converted, show as they would in the work.
        image.draft("RGB", (1, 1))
        _to_srgb(image)
    return Photo(path, digest)


def _read(path: Path) -> bytes:
    try:
        if path.is_symlink() and not path.exists():
            raise _BadPhotoError(
                "is a link to a file that is not there, or to itself: mend the link or remove it"
            )
        if not path.exists():
            raise _BadPhotoError("does not exist: check the path")
        if not path.is_file():
            raise _BadPhotoError("is no regular file: give an image file")
        return path.read_bytes()
    except PermissionError as error:
        raise _BadPhotoError("may not be read: change its permissions") from error
    except OSError as error:
        raise _BadPhotoError(f"cannot be read ({error.strerror}): copy it again") from error


@contextmanager
def _named_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except _BadPhotoError as error:
        raise UserError(f"photo {str(path)!r} {error}") from error


@contextmanager
def opened_picture(source: Path | IO[bytes]) -> Iterator[Image.Image]:
    """Opens a picture without Pillow's warning on large ones, which names no file.

    Between one and two times Pillow's limit lie honest photos; beyond, it refuses. On what is no
    image it raises errors of many kinds.
    """
    with _FILTERS, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(source)
    with image:
        yield image


def _read_heif() -> None:
    """Teaches Pillow to read HEIC, where the library for it is installed."""
    try:
        from pillow_heif import register_heif_opener
    except ImportError as error:
        raise _BadPhotoError(
            "is HEIC, which needs a library: pip install 'idgen[heic]', or convert it to JPEG"
        ) from error
    register_heif_opener()


@contextmanager
def _opened(content: bytes) -> Iterator[Image.Image]:
    """Opens an image and turns what Pillow raises meanwhile into reasons."""
    if content[4:8] == b"ftyp" and content[8:12] in _HEIF_BRANDS:
        _read_heif()
    try:
        with warnings.catch_warnings():
            # Of damaged notes in a file whose picture is whole; they do not name it.
            warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")
            with opened_picture(io.BytesIO(content)) as image:
                yield image
    except UnidentifiedImageError as error:
        raise _BadPhotoError(
            "is no image of a known kind: convert it to JPEG or PNG, or remove it"
        ) from error
    except Image.DecompressionBombError as error:
        most = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 10**6
        raise _BadPhotoError(
            f"unpacks to more than {most} million pixels: reduce it, or remove it"
        ) from error
    except MemoryError as error:
        raise _BadPhotoError("does not fit into memory: reduce it, or remove it") from error
    except _BadPhotoError:
        raise
    except Exception as error:  # decoders raise all kinds on damaged input
        reason = first_line(error, 80)
        raise _BadPhotoError(f"is truncated or damaged ({reason}): copy it again") from error


def _to_srgb(image: Image.Image) -> Picture:
    profile = image.info.get("icc_profile")
    upright = ImageOps.exif_transpose(image)
    if upright.mode.startswith("I"):
        wide = np.asarray(upright).astype(np.float64)
        upright = Image.fromarray((wide / 257).round().clip(0, 255).astype(np.uint8))
    if upright.has_transparency_data:
        layer = upright.convert("RGBA")
        alpha = np.asarray(layer.getchannel("A"))
        # All of one value, it says nothing, and would only bleach the colours.
        if alpha.min() < alpha.max() or alpha.max() == 0:
            layer = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
        upright = layer.convert("RGB")
    if profile:
        upright = _without_profile(upright, profile)
    return np.array(upright.convert("RGB"), dtype=np.uint8)


def _without_profile(image: Image.Image, profile: bytes) -> Image.Image:
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        converted = ImageCms.profileToProfile(
            image, source, ImageCms.createProfile("sRGB"), outputMode="RGB"
        )
    except (ImageCms.PyCMSError, OSError):
        # A damaged profile, or one of another colour space: browsers, too, show such as sRGB.
        return image
    return image if converted is None else converted
