import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from idgen.errors import UserError
from idgen.masks import Mask, Picture, overlap
from idgen.prepare import (
    AutoSegmenter,
    BoxDetector,
    GrabCutSegmenter,
    Photo,
    SaliencySegmenter,
    Sam2Segmenter,
    find_photos,
)
from idgen.prepare.segmenters.auto import _Look
from idgen.prepare.segmenters.class_noun import NOUN_FILE
from idgen.prepare.segmenters.finding import Finding
from idgen.prepare.segmenters.promptable import Answer, PromptableNetwork
from idgen.prepare.segmenters.prompts import PROMPTS, Box
from idgen.prepare.segmenters.saliency import SalienceMap
from tests.prepare.pictures import CPU, one_line, picture, red, save_pictures
from tests.prepare.segmenters.tiny_detector import save_grounding_dino
from tests.prepare.segmenters.tiny_saliency import save_network
from tests.prepare.segmenters.tiny_sam import save_sam2

LEFT, RIGHT = picture(1), picture(2)
BOTH = np.hstack([LEFT, RIGHT])
OF_RIGHT = np.hstack([np.zeros((40, 56), bool), red(RIGHT)])
OF_LEFT = np.hstack([red(LEFT), np.zeros((40, 56), bool)])


def redness(pixels: Picture) -> SalienceMap:
    """All that is red stands out."""
    return red(pixels).astype(np.float32)


class RedInBox(PromptableNetwork):
    """A network whose answer to a box is known: what is red in it, nothing, and all of it."""

    side = 112
    device = CPU

    def _show(self, small: Picture) -> None:
        self._small = small

    def points(self, points: NDArray[np.float64]) -> Answer:
        raise AssertionError("only boxes are asked")

    def box(self, box: NDArray[np.float64]) -> Answer:
        inside = np.zeros(self.size, bool)
        left, top, right, bottom = box.round().astype(int)
        inside[top:bottom, left:right] = True
        masks = np.stack([red(self._small) & inside, inside & False, inside])
        return torch.from_numpy(masks).float()[None] * 2 - 1, torch.ones(1, 3)

    def together(
        self,
        points: NDArray[np.float64],
        labels: NDArray[np.int64],
        box: NDArray[np.float64] | None,
    ) -> Answer:
        assert box is not None
        return self.box(box)

    def sized(self, logits: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        assert size in (None, self.size)
        return logits


class Wrong(RedInBox):
    """One whose answers are always the left top corner."""

    def box(self, box: NDArray[np.float64]) -> Answer:
        masks = torch.full((1, 3, *self.size), -1.0)
        masks[..., :9, :9] = 1
        return masks, torch.ones(1, 3)


class NounAt:
    """A detector that finds its noun in a box as long as something red is there."""

    def __init__(self, box: Box) -> None:
        self.box = box

    def __call__(self, pixels: Picture, noun: str) -> Box | None:
        left, top, right, bottom = (int(side) for side in self.box)
        seen = noun == "dog" and red(pixels)[top:bottom, left:right].any()
        return self.box if seen else None


@pytest.fixture
def photos(tmp_path: Path) -> list[Photo]:
    folder = tmp_path / "photos"
    folder.mkdir()
    Image.fromarray(BOTH).save(folder / "a.png")
    return find_photos(folder)


def box_of(mask: Mask) -> Box:
    y, x = np.nonzero(mask)
    return (float(x.min()), float(y.min()), float(x.max() + 1), float(y.max() + 1))


def look(
    photos: list[Photo],
    noun: str | None,
    network: PromptableNetwork | None,
    detect: NounAt | None = None,
) -> Finding:
    class Named(AutoSegmenter):
        def noun_of(self, photo: Photo) -> str | None:
            return noun

    return _Look(redness, detect, network, Named(), photos, judged=True).find(photos[0])


def test_the_nouns_box_says_which_of_two(photos: list[Photo]) -> None:
    detect = NounAt(box_of(OF_RIGHT))
    for network in (None, RedInBox()):
        found = look(photos, "dog", network, detect)
        assert overlap(found.mask, OF_RIGHT) > 0.95
        assert found.source == "saliency in the noun's box"
    assert look(photos, "dog", RedInBox(), detect).doubts == ()
    (doubt,) = look(photos, "dog", None, detect).doubts
    assert "something else stands out more than the noun" in doubt


def test_a_noun_that_is_not_found_is_said_and_what_stands_out_is_taken(
    photos: list[Photo],
) -> None:
    found = look(photos, "cat", None, NounAt(box_of(OF_LEFT)))
    assert overlap(found.mask, OF_LEFT | OF_RIGHT) > 0.95
    assert found.doubts == ("no 'cat' was found",)


def test_two_that_disagree_are_a_doubt(photos: list[Photo]) -> None:
    found = look(photos, "dog", Wrong(), NounAt(box_of(OF_LEFT)))
    assert any("saliency and SAM disagree" in doubt for doubt in found.doubts)
    assert overlap(found.mask, OF_LEFT) > 0.95  # it fills the box, the others do not


def test_what_is_left_of_the_noun_is_a_doubt(photos: list[Photo]) -> None:
    """The noun is found again with the mask greyed out: the mask lacks most of it."""

    def half(pixels: Picture) -> SalienceMap:
        values = red(pixels).astype(np.float32)
        values[:, pixels.shape[1] // 2 :] = 0
        return values

    class Named(AutoSegmenter):
        def noun_of(self, photo: Photo) -> str | None:
            return "dog"

    at = NounAt(box_of(OF_LEFT))
    found = _Look(half, at, None, Named(), photos, judged=True).find(photos[0])
    assert found.doubts[0] == "a dog is still seen outside the mask"


def test_what_is_missing_is_named_once_and_the_rest_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = save_network(tmp_path / "n.onnx", 64)
    photos = find_photos(save_pictures(tmp_path / "dog", 1, 2))
    auto = AutoSegmenter(SaliencySegmenter(str(network)), class_noun="dog")
    with caplog.at_level(logging.WARNING, "idgen"):
        keys = [auto.key(photo) for photo in photos]
        with auto.finding(CPU, photos) as find:
            found = [find(photo) for photo in photos]
    assert len(caplog.messages) == 1
    assert "masks without BoxDetector.model: cannot fetch" in caplog.messages[0]
    assert "without Sam2Segmenter.model: cannot fetch" in caplog.messages[0]
    assert keys == [auto.identity] * 2  # no noun is looked for
    assert auto.identity != GrabCutSegmenter().identity
    for one, photo in zip(found, photos, strict=True):
        assert overlap(one.mask, red(photo.pixels())) > 0.85
        assert one.source == "saliency"


def test_saliency_and_sam_2_together(tmp_path: Path) -> None:
    """Real loading of both, SAM 2 with random weights; it disagrees, and prompts go to it."""
    network = save_network(tmp_path / "n.onnx", 64)
    folder = save_pictures(tmp_path / "dog", 1, 2)
    (folder / PROMPTS).write_text("2.png: {box: [10, 10, 40, 30]}")
    sam = Sam2Segmenter(str(save_sam2(tmp_path / "sam2")))
    auto = AutoSegmenter(SaliencySegmenter(str(network)), sam=sam)
    photos = find_photos(folder)
    auto.check(photos)
    with auto.finding(CPU, photos) as find:
        first, prompted = (find(photo) for photo in photos)
    assert any("disagree" in doubt for doubt in first.doubts)
    assert prompted.source == "SAM, your prompts"
    with auto.loaded(CPU, photos) as segment:
        np.testing.assert_array_equal(segment(photos[0]), first.mask)
    assert auto.key(photos[0]) != auto.key(photos[1])


def test_all_three_together_by_their_real_classes(tmp_path: Path) -> None:
    """Grounding DINO and SAM 2 have random weights, so what they say is only used, not right."""
    network = save_network(tmp_path / "n.onnx", 64)
    detector = BoxDetector(str(save_grounding_dino(tmp_path / "dino")), threshold=0.0)
    sam = Sam2Segmenter(str(save_sam2(tmp_path / "sam2")))
    auto = AutoSegmenter(SaliencySegmenter(str(network)), detector, sam, class_noun="Dog")
    photos = find_photos(save_pictures(tmp_path / "dog", 1))
    with detector.loaded(CPU) as detect:
        box = detect(photos[0].pixels(), "dog")
    assert box is not None
    with auto.finding(CPU, photos) as find:
        found = find(photos[0])
    assert auto.parts == ["saliency", "detector", "sam"]
    assert found.source in ("saliency in the noun's box", "SAM")
    assert found.mask.shape == (40, 56)
    assert auto.key(photos[0]) != auto.identity


def test_nothing_at_hand_is_grabcut(tmp_path: Path) -> None:
    photos = find_photos(save_pictures(tmp_path / "dog", 1, 2))
    auto, grabcut = AutoSegmenter(class_noun="dog"), GrabCutSegmenter()
    assert auto.is_grabcut
    assert [auto.key(photo) for photo in photos] == [grabcut.key(photo) for photo in photos]
    with auto.loaded(CPU, photos) as segment, grabcut.loaded(CPU, photos) as reference:
        np.testing.assert_array_equal(segment(photos[0]), reference(photos[0]))


def test_a_part_that_was_asked_for_has_to_be_there() -> None:
    auto = AutoSegmenter(detector=BoxDetector("owner/detector"))
    with pytest.raises(UserError, match="cannot fetch 'owner/detector'") as caught:
        _ = auto.identity
    one_line(caught.value)
    with pytest.raises(UserError, match=r"AutoSegmenter\.class_noun"):
        AutoSegmenter(class_noun="a [V] dog")


def test_a_noun_of_its_own_counts_where_there_is_a_detector(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = save_network(tmp_path / "n.onnx", 64)
    monkeypatch.setattr(BoxDetector, "identity", "a detector's")
    folder = save_pictures(tmp_path / "dog", 1)
    (photo,) = find_photos(folder)
    named = AutoSegmenter(SaliencySegmenter(str(network)), class_noun="dog")
    plain = AutoSegmenter(SaliencySegmenter(str(network)))
    assert named.key(photo) != plain.key(photo) == plain.identity == named.identity
    (folder / NOUN_FILE).write_text("robot")
    assert named.key(photo) == plain.key(photo) != plain.identity
