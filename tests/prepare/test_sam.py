from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segment_anything
import torch
from PIL import Image
from safetensors.torch import save_file

from idgen.errors import UserError
from idgen.mini.sam import build_mini_sam
from idgen.prepare import Photo, SamSegmenter, read_photo
from idgen.prepare.sam import score_candidates
from tests.prepare.pictures import CPU, one_line, picture

SIDE = 32
CONFIG: dict[str, Any] = {
    "image_size": 64,
    "patch_size": 8,
    "depth": 1,
    "width": 32,
    "heads": 2,
    "window": 4,
    "global_blocks": [0],
    "prompt_width": 16,
    "decoder_depth": 1,
    "decoder_heads": 2,
    "decoder_mlp": 16,
    "mask_in_chans": 4,
    "pixel_mean": [128.0] * 3,
    "pixel_std": [64.0] * 3,
}


def small_sam(checkpoint: str | None = None) -> Any:
    assert checkpoint is None
    return build_mini_sam(CONFIG)


@pytest.fixture(autouse=True)
def small_vit_b(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(segment_anything.sam_model_registry, "vit_b", small_sam)


@pytest.fixture
def state() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    weights: dict[str, torch.Tensor] = small_sam().state_dict()
    return weights


@pytest.fixture
def photo(tmp_path: Path) -> Photo:
    Image.fromarray(picture(1, 90, 150)).save(tmp_path / "photo.png")
    return read_photo(tmp_path / "photo.png")


def segment(segmenter: SamSegmenter, photo: Photo) -> np.ndarray:
    with segmenter.loaded(CPU) as run:
        return run(photo)


def box(top: int, left: int, bottom: int, right: int) -> torch.Tensor:
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


SUBJECT = box(8, 9, 24, 23)


def best(*others: torch.Tensor, quality: float = 0.9) -> int:
    """Which of a prompt's candidates wins, the subject being the first, as three prompts see it."""
    candidates = torch.stack([SUBJECT, *others])
    masks = torch.stack([candidates, candidates, candidates])
    predicted = torch.full(masks.shape[:2], 0.9)
    predicted[:, 1:] = quality
    scores = score_candidates(masks, predicted)
    assert scores.shape == (masks.shape[0] * masks.shape[1],)
    return int(scores.argmax()) % len(candidates)


@pytest.mark.parametrize(
    "other",
    [
        ~SUBJECT,
        torch.ones_like(SUBJECT),
        torch.zeros_like(SUBJECT),
        box(0, 0, 6, SIDE),
        box(26, 0, SIDE, SIDE),
        box(0, 0, 12, 12),
        box(15, 15, 17, 17),
    ],
    ids=["ground", "all", "nothing", "sky", "floor", "corner", "speck"],
)
def test_the_subject_wins_at_equal_quality(other: torch.Tensor) -> None:
    assert best(other) == 0


def test_quality_decides_between_alike() -> None:
    assert best(box(8, 9, 23, 23), quality=0.99) == 1
    assert best(box(8, 9, 23, 23), quality=0.8) == 0


def test_what_more_prompts_find_wins() -> None:
    once = box(6, 16, 22, 30)
    shared = once.flip(1)
    masks = torch.stack([shared, shared, shared, once])[:, None]
    scores = score_candidates(masks, torch.full((4, 1), 0.9))
    assert scores[0] > scores[3]


def test_score_by_hand() -> None:
    masks = torch.stack([SUBJECT, ~SUBJECT])[:, None]
    scores = score_candidates(masks, torch.tensor([[0.5], [0.25]]))
    share = 16 * 14 / SIDE**2
    # Both are centred, and they are disjoint: each agrees with its own prompt alone.
    agreement = (1 + 0) / 2
    ground = (0.95 - (1 - share)) / 0.25
    expected = [0.5 + agreement + 1 + 1 - 0, ground * (0.25 + agreement + 1 + 1 - 1)]
    torch.testing.assert_close(scores, torch.tensor(expected))


def test_a_checkpoint_of_either_kind(
    tmp_path: Path, state: dict[str, torch.Tensor], photo: Photo
) -> None:
    torch.save(state, tmp_path / "sam.pth")
    save_file(state, tmp_path / "sam.safetensors")
    masks = [
        segment(SamSegmenter(str(tmp_path / name), "vit_b"), photo)
        for name in ("sam.pth", "sam.safetensors", "sam.pth")
    ]
    assert masks[0].dtype == np.bool_
    assert masks[0].shape == (90, 150)
    np.testing.assert_array_equal(masks[0], masks[1])
    np.testing.assert_array_equal(masks[0], masks[2])


def test_logits_become_a_mask_of_the_photos_size(
    tmp_path: Path, state: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch, photo: Photo
) -> None:
    """A decoder whose answer is known stands in; the photo is no square and is reduced."""
    truth = np.zeros((90, 150), bool)
    truth[30:70, 50:110] = True

    def decode(self: Any, multimask_output: bool, **inputs: torch.Tensor) -> tuple[Any, Any]:
        prompts = len(inputs["sparse_prompt_embeddings"])
        side = 4 * CONFIG["image_size"] // CONFIG["patch_size"]
        small = torch.zeros(side, side)
        scale = side / 150
        small[: round(90 * scale), : round(150 * scale)] = -5
        small[round(30 * scale) : round(70 * scale), round(50 * scale) : round(110 * scale)] = 5
        return small.expand(prompts, 3, side, side), torch.full((prompts, 3), 0.9)

    monkeypatch.setattr(segment_anything.modeling.MaskDecoder, "forward", decode)
    torch.save(state, tmp_path / "sam.pth")
    mask = segment(SamSegmenter(str(tmp_path / "sam.pth"), "vit_b"), photo)
    assert (mask & truth).sum() / (mask | truth).sum() > 0.8


def test_the_key_is_the_weights(
    tmp_path: Path, state: dict[str, torch.Tensor], photo: Photo
) -> None:
    torch.save(state, tmp_path / "a.pth")
    torch.save({k: v + 1 for k, v in state.items()}, tmp_path / "b.pth")
    (tmp_path / "c.pth").write_bytes((tmp_path / "a.pth").read_bytes())
    one, two, three = (SamSegmenter(str(tmp_path / f"{n}.pth")).key(photo) for n in "abc")
    assert one == three
    assert one != two


def refused(checkpoint: Path, architecture: Any, photo: Photo) -> str:
    def use() -> None:
        segmenter = SamSegmenter(str(checkpoint), architecture)
        segmenter.key(photo)
        segment(segmenter, photo)

    with pytest.raises(UserError) as caught:
        use()
    text = one_line(caught.value)
    assert str(checkpoint) in text
    return text


def test_files_that_are_no_checkpoint(
    tmp_path: Path, state: dict[str, torch.Tensor], photo: Photo
) -> None:
    refused(tmp_path / "absent.pth", None, photo)
    (tmp_path / "sam.ckpt").write_text("x")
    refused(tmp_path / "sam.ckpt", None, photo)
    (tmp_path / "text.pth").write_text("x")
    refused(tmp_path / "text.pth", None, photo)
    (tmp_path / "text.safetensors").write_text("x")
    refused(tmp_path / "text.safetensors", None, photo)
    torch.save({"other": torch.zeros(1)}, tmp_path / "other.pth")
    refused(tmp_path / "other.pth", None, photo)
    # Its width is none of the three architectures'.
    torch.save(state, tmp_path / "width.pth")
    refused(tmp_path / "width.pth", None, photo)
    lacking = {key: value for key, value in state.items() if "neck" not in key}
    torch.save(lacking, tmp_path / "lacking.pth")
    refused(tmp_path / "lacking.pth", "vit_b", photo)


class Payload:
    """What would run if the checkpoint were unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("executed"),))


def test_a_checkpoint_runs_no_code(
    tmp_path: Path, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"weight": Payload()}, tmp_path / "bad.pth")
    refused(tmp_path / "bad.pth", "vit_b", photo)
    assert not Path("executed").exists()
