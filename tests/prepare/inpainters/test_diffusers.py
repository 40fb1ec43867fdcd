from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from idgen.errors import UserError
from idgen.prepare import DiffusersInpainter
from idgen.prepare.inpainters.context import context_square
from idgen.prepare.inpainters.inpainter import dilate
from idgen.prepare.views import cut_square
from tests.prepare.pictures import CPU, one_line, picture, red
from tests.tiny import save_pipeline


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random pipeline whose U-Net sees noise, mask and masked picture: 9 channels."""
    from diffusers import StableDiffusionInpaintPipeline, UNet2DConditionModel

    folder = tmp_path_factory.mktemp("inpainting")
    plain = save_pipeline(folder / "plain")
    config = dict(UNet2DConditionModel.load_config(plain / "unet"), in_channels=9)
    torch.manual_seed(0)
    unet = UNet2DConditionModel.from_config(config)
    whole = StableDiffusionInpaintPipeline.from_pretrained(plain, unet=unet, safety_checker=None)
    whole.save_pretrained(folder / "inpainting")
    return folder / "inpainting"


def inpaint(inpainter: DiffusersInpainter, image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    with inpainter.loaded(CPU) as run:
        result = run(image, mask)
    assert result.shape == image.shape
    assert result.dtype == np.uint8
    return result


def test_only_the_widened_mask_is_painted(pipeline: Path) -> None:
    inpainter = DiffusersInpainter(str(pipeline), steps=2)
    for shape in ((40, 56), (90, 41)):
        image = picture(4, *shape)
        hole = dilate(red(image), inpainter.dilation)
        result = inpaint(inpainter, image, red(image))
        np.testing.assert_array_equal(result[~hole], image[~hole])
        assert (result[hole] != image[hole]).mean() > 0.5


def test_the_subject_is_not_seen(pipeline: Path) -> None:
    """Whatever the subject's colours are, the pipeline is given the same, but for its seed."""
    given_pictures: list[np.ndarray] = []

    class Watching(DiffusersInpainter):
        def _fill(
            self, pipeline: Any, seed: int, image: np.ndarray, hole: np.ndarray
        ) -> np.ndarray:
            def watched(**options: Any) -> Any:
                assert options["strength"] == 1.0
                mask = np.asarray(options["mask_image"]) > 127
                given_pictures.append(np.where(mask[..., None], 0, np.asarray(options["image"])))
                return pipeline(**options)

            return super()._fill(watched, seed, image, hole)

    image = picture(4, 90, 70)
    mask = red(image)
    other = image.copy()
    other[mask] = (10, 250, 10)
    for seen in (image, other):
        inpaint(Watching(str(pipeline), steps=1), seen, mask)
    first, second = given_pictures
    np.testing.assert_array_equal(first, second)


def test_a_photos_background_is_its_own(pipeline: Path) -> None:
    """It does not depend on the photos before it, and another seed gives another one."""
    first, second = (picture(seed) for seed in (4, 5))
    inpainter = DiffusersInpainter(str(pipeline), steps=2)
    with inpainter.loaded(CPU) as run:
        run(first, red(first))
        after = run(second, red(second))
    np.testing.assert_array_equal(after, inpaint(inpainter, second, red(second)))
    reseeded = DiffusersInpainter(str(pipeline), steps=2, seed=1)
    assert (inpaint(reseeded, second, red(second)) != after).any()


def test_a_subject_that_leaves_no_background(pipeline: Path) -> None:
    mask = np.ones((64, 64), bool)
    mask[0, 0] = False
    with pytest.raises(UserError, match="no background is left") as caught:
        inpaint(DiffusersInpainter(str(pipeline)), np.zeros((64, 64, 3), np.uint8), mask)
    one_line(caught.value)


def test_identity_is_weights_and_settings(pipeline: Path, tmp_path: Path) -> None:
    source = str(pipeline)
    changed: list[dict[str, Any]] = [
        {},
        {"dtype": "bfloat16"},
        {"steps": 7},
        {"guidance": 2.0},
        {"prompt": "snow"},
        {"negative_prompt": "dog"},
        {"resolution": 32},
        {"dilation": 0.1},
        {"seed": 1},
    ]
    identities = {DiffusersInpainter(source, **options).identity for options in changed}
    assert len(identities) == len(changed)
    other = save_pipeline(tmp_path / "other", seed=5)
    assert DiffusersInpainter(str(other)).identity not in identities


@pytest.mark.parametrize("options", [{"steps": 0}, {"dilation": -0.1}, {"resolution": 4}])
def test_values_out_of_range(options: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="DiffusersInpainter") as caught:
        DiffusersInpainter("/anywhere", **options)
    one_line(caught.value)


def test_what_is_no_pipeline(tmp_path: Path, tiny_encoder: Path) -> None:
    for source in (tmp_path / "absent", tmp_path, tiny_encoder):
        with pytest.raises(UserError, match=r"DiffusersInpainter\.source") as caught:
            _ = DiffusersInpainter(str(source)).identity
        one_line(caught.value)


def test_a_pipeline_that_cannot_be_loaded(tmp_path: Path) -> None:
    folder = save_pipeline(tmp_path / "broken")
    (folder / "unet" / "diffusion_pytorch_model.safetensors").unlink()
    with pytest.raises(UserError, match="cannot load") as caught:
        inpaint(DiffusersInpainter(str(folder)), picture(1), red(picture(1)))
    one_line(caught.value)


def test_a_pipeline_that_refuses(pipeline: Path) -> None:
    with pytest.raises(UserError, match="cannot inpaint") as caught:
        inpaint(DiffusersInpainter(str(pipeline), resolution=9), picture(1), red(picture(1)))
    one_line(caught.value)


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(2, 40), st.integers(2, 40))
def test_the_square_holds_the_hole(data: st.DataObject, height: int, width: int) -> None:
    top, left = data.draw(st.integers(0, height - 1)), data.draw(st.integers(0, width - 1))
    hole = np.zeros((height, width), bool)
    hole[top : data.draw(st.integers(top + 1, height)), left : left + 1] = True
    hole[top, left : data.draw(st.integers(left + 1, width))] = True
    x, y, side = context_square(hole)
    assert min(height, width) <= side <= max(height, width)
    cut = cut_square(hole.astype(np.uint8), x, y, side)
    assert cut.shape == (side, side)
    inside = hole[max(y, 0) : y + side, max(x, 0) : x + side]
    assert inside.sum() == hole.sum()
