"""f_p and f'_i of one photo whose scene a drawing is to keep; nothing is written."""

from pathlib import Path

import torch
from torch import Tensor

from idgen.models.encoders import ImageEncoder
from idgen.prepare.features import encode_images, free, working_dtype
from idgen.prepare.inpainters.inpainter import Inpainter
from idgen.prepare.jobs import named
from idgen.prepare.photos import Photo, subject_name
from idgen.prepare.segmenters.segmenter import Segmenter
from idgen.prepare.stages import checked_mask
from idgen.prepare.views import square


def check_reference(photo: Photo, photos_folder: Path, segmenter: Segmenter) -> None:
    """Checks, before any work, that a reference photo can have a mask of its own.

    Args:
        photo: The photo, of the trained subject or of anything else.
        photos_folder: The trained subject's photos, existing or not.
        segmenter: Finds its subject.

    Raises:
        UserError: If it cannot, or if it is from elsewhere and would be taken for one of them.
    """
    segmenter.check([photo])
    if photo.path.parent.resolve() != photos_folder.resolve():
        segmenter.check_foreign(photo, subject_name(photos_folder))


def reference_embeddings(
    photo: Photo,
    segmenter: Segmenter,
    inpainter: Inpainter,
    image_encoder: ImageEncoder,
    resolution: int,
    dtype: torch.dtype,
    device: torch.device,
) -> tuple[Tensor, Tensor]:
    """Does for one photo what preparation does for a subject's plain views.

    A photo without a subject is all background: f'_i = E_I of the photo.

    Args:
        photo: The photo, of the subject or of anything else; `check_reference` comes first.
        segmenter: Finds its subject.
        inpainter: Takes that out.
        image_encoder: E_I.
        resolution: Pixels on a side of the view.
        dtype: The backbone's precision.
        device: Where models run.

    Returns:
        f_p and f'_i, `1 D` each, float32 on the CPU.

    Raises:
        UserError: If all of it is taken for its subject, or a model cannot be loaded.
    """
    image = photo.pixels()
    with segmenter.loaded(device, [photo]) as segment:
        mask = segment(photo)
    free(device)
    background = image
    if mask.any():
        with inpainter.loaded(device) as inpaint, named(photo):
            background = inpaint(image, checked_mask(mask))
        free(device)
    pictures = torch.stack([square(picture, mask, resolution) for picture in (image, background)])
    with image_encoder.loaded(device, working_dtype(dtype, device)) as encode, named(photo):
        (f_p,), (f_i,) = encode_images(encode, pictures)
    free(device)
    return f_p[None], f_i[None]
