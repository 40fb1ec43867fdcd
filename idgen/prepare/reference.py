"""Features of a reference photo, whose scene a drawing is to keep."""

import torch
from torch import Tensor

from idgen.devices import free
from idgen.errors import UserError
from idgen.models.encoders import ImageEncoder
from idgen.prepare.buckets import Size
from idgen.prepare.features import encode_images, working_dtype
from idgen.prepare.inpainters.inpainter import Inpainter
from idgen.prepare.photos import Photo, UnfitPhotoError
from idgen.prepare.segmenters.segmenter import Segmenter
from idgen.prepare.stages import checked_mask
from idgen.prepare.views import plain_view


def encode_reference(
    photo: Photo,
    segmenter: Segmenter,
    inpainter: Inpainter,
    image_encoder: ImageEncoder,
    size: Size,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """f_p and f'_i of one photo; nothing is written, and one model is in memory at a time.

    Args:
        photo: Of the subject or of anything else.
        segmenter: Finds what is to be taken out.
        inpainter: Takes it out.
        image_encoder: E_I.
        size: Height and width of the view.
        dtype: The backbone's precision.
        device: Where models run.

    Returns:
        `1 D` each, float32 on the CPU.

    Raises:
        UserError: If all of it is taken for its subject, or a model cannot be loaded.
    """
    image = background = photo.pixels()
    with segmenter.loaded(device, [photo]) as segment:
        mask = segment(photo)
    free(device)
    try:
        # A photo without a subject is all background: f'_i = E_I of the photo.
        if mask.any():
            with inpainter.loaded(device) as inpaint:
                background = inpaint(image, checked_mask(mask))
            free(device)
        pictures = torch.stack([plain_view(p, mask, size) for p in (image, background)])
        with image_encoder.loaded(device, working_dtype(dtype, device)) as encode:
            f_p, f_i = encode_images(encode, pictures)
    except UnfitPhotoError as error:
        raise UserError(f"photo {photo.name!r}: {error}") from error
    free(device)
    return f_p[None], f_i[None]
