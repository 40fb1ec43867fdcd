import numpy as np
import pytest
import torch

from idgen.metrics.masked import MaskedSimilarity, masked_similarity, subject_square
from idgen.metrics.preprocessing import Preprocessing


def picture() -> tuple[np.ndarray, np.ndarray]:
    image = np.random.default_rng(0).integers(0, 100, (40, 60, 3), dtype=np.uint8)
    mask = np.zeros((40, 60), np.bool_)
    mask[10:30, 20:40] = True
    image[mask] = (250, 20, 30)
    return image, mask


def test_nothing_but_the_subject_is_left() -> None:
    image, mask = picture()
    square = subject_square(image, mask)
    elsewhere = np.where(mask[..., None], image, 255 - image)
    assert torch.equal(square, subject_square(elsewhere, mask))
    assert square.shape == (3, 24, 24)
    assert {tuple(colour) for colour in square.flatten(1).T.tolist()} == {
        (250, 20, 30),
        (127, 127, 127),
    }


def test_place_and_size_in_the_picture_do_not_matter() -> None:
    image, mask = picture()
    moved_image, moved_mask = (np.roll(a, (5, -13), (0, 1)) for a in (image, mask))
    assert torch.equal(subject_square(image, mask), subject_square(moved_image, moved_mask))


def test_dinos_crop_keeps_the_whole_subject() -> None:
    image, mask = picture()
    seen = Preprocessing.of_dino(224, (0.0,) * 3, (1.0,) * 3)(subject_square(image, mask)[None])
    border = torch.cat([seen[0, :, 0], seen[0, :, -1], seen[0, :, :, 0], seen[0, :, :, -1]], dim=1)
    torch.testing.assert_close(border, torch.full_like(border, 127 / 255), atol=0.02, rtol=0)


def test_similarity_by_hand() -> None:
    drawings, photos = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 2.0], [3.0, 0.0]])
    assert masked_similarity(drawings, photos).tolist() == pytest.approx([0.5])
    metric = MaskedSimilarity()
    metric.update(drawings, photos)
    metric.update(photos[:1], photos)
    assert metric.compute().item() == pytest.approx(0.5)


def test_a_mask_that_shows_no_subject_is_refused() -> None:
    image, mask = picture()
    with pytest.raises(ValueError, match="empty"):
        subject_square(image, np.zeros_like(mask))
    with pytest.raises(ValueError, match="is needed"):
        subject_square(image, mask[:20])
