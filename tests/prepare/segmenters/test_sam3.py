import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file

from idgen.errors import UserError
from idgen.prepare import Photo, Sam3Segmenter, read_photo
from idgen.prepare.segmenters.class_noun import NOUN_FILE
from idgen.prepare.segmenters.finding import Finding
from idgen.prepare.segmenters.prompts import PROMPTS, Prompts
from idgen.prepare.segmenters.sam3 import _chosen
from tests.prepare.pictures import CPU, one_line, picture
from tests.prepare.segmenters.tiny_sam import save_sam3


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sam3(tmp_path_factory.mktemp("sam3") / "model")


@pytest.fixture
def photo(tmp_path: Path) -> Photo:
    Image.fromarray(picture(1, 60, 90)).save(tmp_path / "photo.png")
    return read_photo(tmp_path / "photo.png")


def found(segmenter: Sam3Segmenter, photo: Photo) -> Finding:
    with segmenter.finding(CPU, [photo]) as find:
        return find(photo)


def test_the_noun_has_a_mask_of_the_photo(folder: Path, photo: Photo) -> None:
    segmenter = Sam3Segmenter(str(folder), class_noun="dog", threshold=0.0)
    first, again = found(segmenter, photo), found(segmenter, photo)
    assert first.mask.shape == (60, 90)
    assert first.mask.dtype == np.bool_
    np.testing.assert_array_equal(first.mask, again.mask)
    (photo.path.parent / NOUN_FILE).write_text("cat\n")
    before = segmenter.key(photo)
    (photo.path.parent / NOUN_FILE).write_text("robot\n")
    assert segmenter.key(photo) != before


def test_nothing_found_is_a_doubt_and_no_mask(folder: Path, photo: Photo) -> None:
    nothing = found(Sam3Segmenter(str(folder), class_noun="dog", threshold=1.0), photo)
    assert not nothing.mask.any()
    assert nothing.doubts == ("no 'dog' was found",)


def halves() -> torch.Tensor:
    """Two instances: the left half of a picture, and the right one."""
    masks = torch.zeros(2, 20, 30, dtype=torch.bool)
    masks[0, :, :15] = masks[1, :, 15:] = True
    return masks


@pytest.mark.parametrize(
    ("scores", "prompts", "right", "doubted"),
    [
        ((0.4, 0.9), None, True, False),
        ((0.9, 0.8), None, False, True),
        ((0.9, 0.1), Prompts(points=((20.0, 3.0),)), True, False),
        ((0.9, 0.1), Prompts(box=(16.0, 1.0, 29.0, 19.0)), True, False),
        (
            (0.1, 0.9),
            Prompts(points=((2.0, 3.0), (20.0, 3.0)), background_points=((30.0, 20.0),)),
            False,
            False,
        ),
    ],
)
def test_the_surest_instance_or_the_one_that_prompts_mean(
    scores: tuple[float, float], prompts: Prompts | None, right: bool, doubted: bool
) -> None:
    chosen = _chosen(halves(), torch.tensor(scores), "dog", prompts)
    np.testing.assert_array_equal(chosen.mask, halves()[int(right)].numpy())
    assert bool(chosen.doubts) is doubted


def test_prompts_beside_the_photo_are_its_own(folder: Path, photo: Photo) -> None:
    segmenter = Sam3Segmenter(str(folder), class_noun="dog", threshold=0.0)
    before = segmenter.key(photo)
    (photo.path.parent / PROMPTS).write_text("photo.png: {points: [[40, 30]]}\n")
    assert segmenter.key(photo) != before
    assert found(segmenter, photo).source == "SAM 3, your prompts"


def test_what_cannot_be_used_is_refused_in_one_line(
    folder: Path, photo: Photo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match="no class noun") as without:
        Sam3Segmenter(str(folder)).check([photo])
    assert one_line(without.value)
    with pytest.raises(UserError, match="threshold must be in"):
        Sam3Segmenter(threshold=2.0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"config\.json missing"):
        _ = Sam3Segmenter(str(tmp_path / "empty")).identity
    damaged = save_sam3(tmp_path / "damaged")
    weights = load_file(damaged / "model.safetensors")
    weights.pop(sorted(weights)[0])
    save_file(weights, damaged / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="no whole SAM 3: it lacks") as lacking:
        found(Sam3Segmenter(str(damaged), class_noun="dog"), photo)
    assert one_line(lacking.value)
    for text, told in (("{}", "no SAM 3"), ("[", "is damaged"), ("[]", "is damaged")):
        (damaged / "config.json").write_text(text)
        with pytest.raises(UserError, match=told) as other:
            _ = Sam3Segmenter(str(damaged)).identity
        assert one_line(other.value)
    monkeypatch.setitem(sys.modules, "transformers", ModuleType("transformers"))  # an older one
    with pytest.raises(UserError, match="transformers has no SAM 3"):
        found(Sam3Segmenter(str(folder), class_noun="dog"), photo)
