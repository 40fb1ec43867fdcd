"""Pictures that the user made as masks: read, checked, and told from photos."""

from pathlib import Path

import numpy as np
from PIL import Image

from idgen.errors import UserError
from idgen.masks import HALF, Matte
from idgen.prepare.photos import Photo, opened_picture, reduced


def read_matte(path: Path, photo: Photo) -> Matte:
    """A mask's picture, `H W`: its alpha channel if that says anything, else its brightness.

    It comes at the size of `photo.pixels()`.

    Args:
        path: The picture; of the photo's size, as the photo is seen, that is after EXIF rotation.
        photo: Whose mask it is.

    Raises:
        UserError: If it cannot be read, is of another size, or is empty or full at its middle.
    """
    try:
        with opened_picture(path) as image:
            matte = _matte(image)
    except Exception as error:  # decoders raise all kinds on damaged input
        raise UserError(f"cannot read the mask {path} ({error}); save it as PNG") from error
    (height, width), (own_height, own_width) = photo.full_size(), matte.shape
    if (height, width) != (own_height, own_width):
        raise UserError(
            f"the mask {path} is {own_width} x {own_height}, its photo {photo.name!r} is "
            f"{width} x {height}; save it at the photo's size"
        )
    if matte.max() < HALF:
        raise UserError(
            f"the mask {path} is empty (its brightest value is {matte.max()} of 255); paint "
            "the subject white"
        )
    if matte.min() >= HALF:
        raise UserError(f"the mask {path} covers the whole photo; paint the background black")
    return reduced(matte)


def is_coloured(path: Path) -> bool:
    """Whether a picture is in colours, a photo rather than a mask; a UserError if unreadable."""
    try:
        with opened_picture(path) as image:
            if image.has_transparency_data:
                return False  # a cut-out: its alpha is the mask
            small = image.convert("RGB")
            small.thumbnail((256, 256))
            levels = np.asarray(small).astype(np.int16)
    except Exception as error:  # decoders raise all kinds on damaged input
        raise UserError(f"cannot read the mask {path} ({error}); save it as PNG") from error
    chroma = levels.max(axis=2) - levels.min(axis=2)
    mixed = np.abs(levels - 127.5).min(axis=2) < 100
    return bool((chroma > 24).mean() > 0.05 and mixed.mean() > 0.2)


def _matte(image: Image.Image) -> Matte:
    if image.mode.startswith("I"):
        return (np.asarray(image).astype(np.float64) / 257).round().clip(0, 255).astype(np.uint8)
    if image.has_transparency_data:
        alpha = np.asarray(image.convert("RGBA").getchannel("A"))
        # All of one value, it says nothing: an editor added it.
        if alpha.min() < HALF <= alpha.max():
            return alpha
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "black"), layer)
    return np.asarray(image.convert("L"))
