"""What a subject's photos score among themselves, on pictures whose right values are plain."""

import numpy as np
import pytest
import torch
from torch import Tensor

from idgen.evaluation.observed import Observed, Observer
from idgen.evaluation.scores import photo_scores


class Colours:
    """Stands for an encoder: a picture's mean colour, so that right values are plain."""

    def embed_images(self, images: Tensor | list[Tensor]) -> Tensor:
        means = [image.double().mean(dim=(1, 2)) for image in images]
        return torch.stack(means) if means else torch.empty(0, 3, dtype=torch.float64)


def observed(count: int, masked: bool) -> Observed:
    """Photos of one colour on the left, the subject, and of others on the right."""
    pictures, masks = [], []
    for index in range(count):
        picture = torch.zeros(3, 8, 8, dtype=torch.uint8)
        picture[0, :, :4] = 200
        picture[1 + index % 2, :, 4:] = 200
        pictures.append(picture)
        mask = np.zeros((8, 8), dtype=np.bool_)
        mask[:, :4] = True
        masks.append(mask if masked else None)
    observer = Observer(Colours(), Colours())  # type: ignore[arg-type]
    return Observed(pictures, observer, masks=masks, backgrounds=[None] * count)


def test_the_scores_of_a_subjects_photos() -> None:
    scores = photo_scores(observed(2, masked=True))
    # Colours like (1, 1, 0) and (1, 0, 1); the subjects alone are equal.
    assert scores["dino"] == scores["clip_i"] == pytest.approx(0.5)
    assert scores["masked_dino"] == scores["masked_clip_i"] == pytest.approx(1.0)


def test_what_does_not_exist_is_none() -> None:
    unmasked = photo_scores(observed(3, masked=False))
    assert unmasked["dino"] is not None
    assert [unmasked["masked_dino"], unmasked["masked_clip_i"]] == [None, None]
    assert set(photo_scores(observed(1, masked=True)).values()) == {None}
