from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import segment_anything
import torch
from PIL import Image
from safetensors.torch import save_file

from idgen.errors import UserError
from idgen.metrics.encoders import ClipScorer
from idgen.metrics.scorer import ImageScorer
from idgen.mini.sam import build_mini_sam
from idgen.prepare import BoxDetector, Photo, SamSegmenter, find_photos, read_photo
from idgen.prepare.segmenters.class_noun import NOUN_FILE
from idgen.prepare.segmenters.detector import Detect
from idgen.prepare.segmenters.prompts import PROMPTS, Box
from tests.prepare.pictures import CPU, one_line, picture, save_pictures

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
    with segmenter.loaded(CPU, [photo]) as run:
        return run(photo)


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


class MeanColour(ImageScorer):
    """Embeds a picture as the mean colour of what is not grey in it, and counts."""

    def __init__(self) -> None:
        super().__init__("mean colour", 8)
        self.count = 0

    @property
    def identity(self) -> str:
        return "mean colour"

    def fetch(self) -> None:
        """Nothing to download."""

    def load(self, device: torch.device) -> "MeanColour":
        return self

    def embed_images(self, images: torch.Tensor | Sequence[torch.Tensor]) -> torch.Tensor:
        self.count += len(images)
        means = [image.float().mean((1, 2)) - 127 for image in images]
        return torch.nn.functional.normalize(torch.stack(means), dim=1)

    def _load(self) -> Any:
        raise NotImplementedError

    def _image_features(self, pixels: torch.Tensor) -> torch.Tensor:
        raise NotImplementedError


@pytest.fixture
def checkpoint(tmp_path: Path, state: dict[str, torch.Tensor]) -> str:
    torch.save(state, tmp_path / "sam.pth")
    return str(tmp_path / "sam.pth")


def test_the_whole_set_is_looked_at_once_where_photos_are_compared(
    tmp_path: Path, checkpoint: str
) -> None:
    photos = find_photos(save_pictures(tmp_path / "photos", 1, 2, 3))
    encoder = MeanColour()
    segmenter = SamSegmenter(checkpoint, "vit_b", encoder)
    with segmenter.loaded(CPU, photos) as run:
        masks = {photo.digest: run(photo) for photo in photos}
        first = encoder.count
        run(photos[0])
    assert encoder.count == first >= 3
    with segmenter.finding(CPU, photos) as find:
        for photo in photos:
            np.testing.assert_array_equal(find(photo).mask, masks[photo.digest])
    # A run that goes on, or one more photo: asked for one photo only, in a folder sorted anew.
    with segmenter.loaded(CPU, photos[::-1]) as run:
        np.testing.assert_array_equal(run(photos[1]), masks[photos[1].digest])


def test_a_picture_beside_the_set_is_compared_with_the_sets_photos(
    tmp_path: Path, checkpoint: str
) -> None:
    photos = find_photos(save_pictures(tmp_path / "photos", 1, 2, 3))
    with SamSegmenter(checkpoint, "vit_b", MeanColour()).loaded(CPU, photos) as segment:
        expected = segment(photos[-1])
    with SamSegmenter(checkpoint, "vit_b", MeanColour()).loaded(CPU, photos[:-1]) as segment:
        assert np.array_equal(segment(photos[-1]), expected)
        # Looking at it changes nothing for the photos.
        own = segment(photos[0])
    with SamSegmenter(checkpoint, "vit_b", MeanColour()).loaded(CPU, photos[:-1]) as segment:
        assert np.array_equal(segment(photos[0]), own)


def test_the_users_prompts_are_what_the_model_gets(
    tmp_path: Path, checkpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for seed in (1, 2):
        Image.fromarray(picture(seed, 64, 128)).save(folder / f"{seed}.png")
    text = "1.png: {points: [[20, 30]], background_points: [[100, 10]], box: [4, 6, 60, 50]}"
    (folder / PROMPTS).write_text(text)
    photos = find_photos(folder)
    calls: list[tuple[Any, ...]] = []
    predict = segment_anything.SamPredictor.predict

    def record(self: Any, points: Any, labels: Any, **rest: Any) -> Any:
        calls.append((points.tolist(), labels.tolist(), rest["box"].tolist()))
        return predict(self, points, labels, **rest)

    monkeypatch.setattr(segment_anything.SamPredictor, "predict", record)
    with SamSegmenter(checkpoint, "vit_b").loaded(CPU, photos) as run:
        masks = [run(photo) for photo in photos]
    # The model sees the photo at half its size, and only the prompted photo that way.
    assert calls == [([[10, 15], [50, 5]], [1, 0], [2, 3, 30, 25])]
    assert [mask.shape for mask in masks] == [(64, 128)] * 2


def test_one_photos_prompts_are_its_own(tmp_path: Path, checkpoint: str) -> None:
    folder = save_pictures(tmp_path / "photos", 1, 2, 3)
    photos = find_photos(folder)
    segmenter = SamSegmenter(checkpoint, "vit_b", MeanColour())
    found = []
    for text in ("", "1.png: {points: [[20, 30]]}"):
        (folder / PROMPTS).write_text(text)
        with segmenter.loaded(CPU, photos) as run:
            found.append(([segmenter.key(p) for p in photos], [run(p) for p in photos]))
    (keys, masks), (prompted_keys, prompted_masks) = found
    assert [a == b for a, b in zip(keys, prompted_keys, strict=True)] == [False, True, True]
    for before, after in zip(masks[1:], prompted_masks[1:], strict=True):
        np.testing.assert_array_equal(before, after)
    (folder / PROMPTS).write_text("1.png: {points: [[200, 30]]}")
    with pytest.raises(UserError, match="outside"):
        segmenter.check(photos)


class FixedBox(BoxDetector):
    """Finds the same box in every picture, or none."""

    def __init__(self, box: Box | None) -> None:
        super().__init__("fixed")
        self.box = box
        self.nouns: list[str] = []

    @property
    def identity(self) -> str:
        return str(self.box)

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Detect]:
        def detect(picture: np.ndarray, noun: str) -> Box | None:
            self.nouns.append(noun)
            return self.box

        yield detect


def test_a_detected_box_stands_in_for_the_automatic_prompts(
    checkpoint: str, photo: Photo, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[list[float]] = []
    predict = segment_anything.SamPredictor.predict_torch

    def record(self: Any, points: Any, labels: Any, **rest: Any) -> Any:
        calls.append([] if points is None else [len(points)])
        if points is None:
            calls[-1] = rest["boxes"][0].tolist()
        return predict(self, points, labels, **rest)

    monkeypatch.setattr(segment_anything.SamPredictor, "predict_torch", record)
    # The model sees the photo of 150 x 90 as 64 x 38.
    detector = FixedBox((8, 4, 32, 30))
    detector_of_dogs = SamSegmenter(checkpoint, "vit_b", detector=detector, class_noun="dog")
    segment(detector_of_dogs, photo)
    assert calls == [[8, 4, 32, 30]]
    assert detector.nouns == ["dog"]
    calls.clear()
    nothing = SamSegmenter(checkpoint, "vit_b", detector=FixedBox(None), class_noun="dog")
    np.testing.assert_array_equal(
        segment(nothing, photo), segment(SamSegmenter(checkpoint, "vit_b"), photo)
    )
    assert calls[0] == [9]
    assert nothing.key(photo) != SamSegmenter(checkpoint, "vit_b").key(photo)
    for one, doubts in ((nothing, ("no 'dog' was found",)), (detector_of_dogs, ())):
        with one.finding(CPU, [photo]) as find:
            assert find(photo).doubts == doubts


def test_all_models_count_in_the_key(checkpoint: str, photo: Photo) -> None:
    clip = ClipScorer()
    segmenters = [
        SamSegmenter(checkpoint),
        SamSegmenter(checkpoint, "vit_b", MeanColour()),
        SamSegmenter(checkpoint, clip=clip, class_noun="cat"),
        SamSegmenter(checkpoint, clip=clip, class_noun="dog"),
    ]
    assert len({segmenter.key(photo) for segmenter in segmenters}) == len(segmenters)


def test_a_noun_without_its_model_is_refused() -> None:
    with pytest.raises(UserError, match="belongs with"):
        SamSegmenter(class_noun="cat")
    with pytest.raises(UserError, match="belongs with"):
        SamSegmenter(class_nouns=Path("classes.txt"))


def test_each_subject_has_its_own_noun(checkpoint: str, tmp_path: Path) -> None:
    """The file beside the photos comes before the table, the table before the noun for all."""
    detector = FixedBox((8, 4, 32, 30))
    (tmp_path / "classes.txt").write_text("Classes\n\nsubject_name,class\nbear,stuffed animal\n")
    segmenter = SamSegmenter(
        checkpoint,
        "vit_b",
        detector=detector,
        class_noun="thing",
        class_nouns=tmp_path / "classes.txt",
    )
    photos = {}
    for name in ("bear", "rex", "cup"):
        photos[name], *_ = find_photos(save_pictures(tmp_path / name, 1, 2))
    (tmp_path / "rex" / NOUN_FILE).write_text("dog\n")
    for photo in photos.values():
        segment(segmenter, photo)
    assert detector.nouns == ["stuffed animal", "dog", "thing"]
    keys = {name: segmenter.key(photo) for name, photo in photos.items()}
    assert len(set(keys.values())) == 3
    (tmp_path / "rex" / NOUN_FILE).write_text("thing")
    assert segmenter.key(photos["rex"]) == keys["cup"]


def test_drawings_have_the_noun_of_the_set(checkpoint: str, tmp_path: Path) -> None:
    """They lie in a folder of their own, without a noun or with another subject's."""
    photos = find_photos(save_pictures(tmp_path / "rex", 1, 2))
    drawing, *_ = find_photos(save_pictures(tmp_path / "drawings", 3, 4))
    (tmp_path / "rex" / NOUN_FILE).write_text("dog")
    for class_noun in (None, "thing"):
        detector = FixedBox((8, 4, 32, 30))
        segmenter = SamSegmenter(checkpoint, "vit_b", detector=detector, class_noun=class_noun)
        with segmenter.loaded(CPU, photos) as run:
            assert run(drawing).shape == drawing.size()
            run(photos[0])
        assert detector.nouns == ["dog", "dog"]


def test_a_noun_that_is_needed_is_asked_for_before_any_work(
    checkpoint: str, tmp_path: Path
) -> None:
    photos = find_photos(save_pictures(tmp_path / "rex", 1, 2))
    segmenter = SamSegmenter(checkpoint, "vit_b", clip=ClipScorer())
    with pytest.raises(UserError, match=f"rex.*{NOUN_FILE}"):
        segmenter.check(photos)
    # Photos with prompts of their own need none.
    named = "\n".join(f"{photo.name}: {{points: [[20, 20]]}}" for photo in photos)
    (tmp_path / "rex" / PROMPTS).write_text(named)
    segmenter.check(photos)


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
