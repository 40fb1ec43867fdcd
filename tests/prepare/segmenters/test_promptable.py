from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from idgen.errors import UserError
from idgen.prepare import Sam2Segmenter, SamSegmenter, find_photos
from idgen.prepare.segmenters.promptable import TransformersNetwork
from idgen.prepare.segmenters.prompts import PROMPTS
from idgen.prepare.segmenters.sam_weights import SamWeights
from tests.prepare.pictures import CPU, one_line, picture, save_pictures
from tests.prepare.segmenters.tiny_sam import save_sam, save_sam2

SAVED: dict[str, Callable[[Path], Path]] = {"sam": save_sam, "sam2": save_sam2}
# Wider than high, and larger than what the networks see.
PICTURE = picture(3, 60, 90)
BOX = np.array([20.0, 10.0, 70.0, 50.0])


@pytest.fixture(scope="module", params=list(SAVED))
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return SAVED[request.param](tmp_path_factory.mktemp("sam") / request.param)


@pytest.fixture
def network(folder: Path) -> TransformersNetwork:
    loaded = SamWeights(str(folder), "model").load(CPU)
    assert isinstance(loaded, TransformersNetwork)
    return loaded


def expected(
    folder: Path, picture: np.ndarray, **prompts: Any
) -> tuple[torch.Tensor, torch.Tensor]:
    """What the processors of transformers and the model make of it, `C H W` and C."""
    from transformers import (
        AutoModelForMaskGeneration,
        Sam2ImageProcessor,
        Sam2Processor,
        SamImageProcessor,
        SamProcessor,
    )

    is_sam = "sam2" not in folder.name
    kind, images = (
        (SamProcessor, SamImageProcessor) if is_sam else (Sam2Processor, Sam2ImageProcessor)
    )
    processor = kind(images.from_pretrained(folder))
    model = AutoModelForMaskGeneration.from_pretrained(folder).eval()
    inputs = processor(images=picture, return_tensors="pt", **prompts)
    sizes = {
        key: inputs.pop(key) for key in ("original_sizes", "reshaped_input_sizes") if key in inputs
    }
    with torch.inference_mode():
        outputs = model(**inputs, multimask_output=True)
        masks = processor.image_processor.post_process_masks(
            outputs.pred_masks, *sizes.values(), binarize=False
        )
    return masks[0][0].float(), outputs.iou_scores[0, 0]


def test_a_box_gives_what_transformers_own_processor_gives(
    folder: Path, network: TransformersNetwork
) -> None:
    small = network.show(PICTURE)
    assert small.shape == (43, 64, 3)
    box = BOX * 64 / 90
    with torch.inference_mode():
        logits, quality = network.box(box)
        masks = network.sized(logits[0])
    reference, scores = expected(folder, small, input_boxes=[[box.tolist()]])
    assert masks.shape == (3, 43, 64)
    torch.testing.assert_close(masks, reference, atol=2e-4, rtol=1e-3)
    torch.testing.assert_close(quality[0], scores, atol=1e-4, rtol=1e-3)


def test_each_point_is_asked_by_itself(folder: Path, network: TransformersNetwork) -> None:
    small = network.show(PICTURE)
    points = np.array([[20.0, 30.0], [50.0, 12.0]])
    with torch.inference_mode():
        logits, _ = network.points(points)
        alone = [network.points(point[None])[0][0] for point in points]
        masks = network.sized(logits[1])
    assert logits.shape[:2] == (2, 3)
    torch.testing.assert_close(logits, torch.stack(alone), atol=1e-4, rtol=1e-3)
    reference, _ = expected(folder, small, input_points=[[[points[1].tolist()]]])
    torch.testing.assert_close(masks, reference, atol=2e-4, rtol=1e-3)


def test_one_point_has_three_answers_and_more_prompts_one(network: TransformersNetwork) -> None:
    network.show(PICTURE)
    one = np.array([[20.0, 30.0]])
    box = np.array([10.0, 5.0, 40.0, 40.0])
    with torch.inference_mode():
        assert network.together(one, np.array([1]), None)[0].shape[1] == 3
        both = network.together(np.repeat(one, 2, axis=0), np.array([1, 0]), box)
        assert both[0].shape[:2] == (1, 1)
        away = network.together(np.repeat(one, 2, axis=0), np.array([1, 1]), box)
    assert not torch.equal(both[0], away[0])  # what a point says counts


def test_photos_are_segmented(folder: Path, tmp_path: Path) -> None:
    kind = Sam2Segmenter if folder.name == "sam2" else SamSegmenter
    photos = find_photos(save_pictures(tmp_path / "dog", 1, 2))
    (tmp_path / "dog" / PROMPTS).write_text(
        "2.png: {points: [[20, 20]], background_points: [[2, 2]]}"
    )
    segmenter = kind(str(folder))
    segmenter.check(photos)
    with segmenter.loaded(CPU, photos) as segment:
        masks = [segment(photo) for photo in photos]
    assert [mask.shape for mask in masks] == [(40, 56)] * 2
    assert masks[0].dtype == np.bool_
    assert segmenter.key(photos[0]) == segmenter.identity != segmenter.key(photos[1])


def test_other_weights_have_another_identity(tmp_path: Path) -> None:
    folders = [save_sam(tmp_path / "a"), save_sam(tmp_path / "b", seed=1), save_sam(tmp_path / "c")]
    one, other, same = (SamSegmenter(str(folder)).identity for folder in folders)
    assert one != other
    assert one == same


def test_folders_that_are_none_are_refused(tmp_path: Path) -> None:
    folder = save_sam(tmp_path / "sam")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match=r"Sam2Segmenter.model: .*config.json missing") as caught:
        _ = Sam2Segmenter(str(empty)).identity
    one_line(caught.value)
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UserError, match="is no segment-anything of transformers") as caught:
        SamSegmenter(str(folder)).weights.load(CPU)
    one_line(caught.value)


def test_weights_that_lack_a_part_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = save_sam2(tmp_path / "sam2")
    state = load_file(folder / "model.safetensors")
    gone = next(name for name in state if name.startswith("mask_decoder"))
    state.pop(gone)
    save_file(state, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match=f"it lacks {gone}") as caught:
        Sam2Segmenter(str(folder)).weights.load(CPU)
    one_line(caught.value)


def test_a_hub_that_cannot_be_reached_is_named() -> None:
    with pytest.raises(UserError, match=r"cannot fetch 'facebook/sam2\.1-hiera-small'") as caught:
        _ = Sam2Segmenter().identity
    one_line(caught.value)
