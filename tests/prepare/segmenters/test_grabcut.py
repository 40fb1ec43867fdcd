from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from idgen.errors import UserError
from idgen.masks import Mask
from idgen.prepare import GrabCutSegmenter, Photo, find_photos
from idgen.prepare.segmenters.colour_cues import find_cues, histogram, without_bars
from idgen.prepare.segmenters.grabcut import score_mask, steadiness
from idgen.prepare.segmenters.prompts import PROMPTS
from tests.prepare.pictures import CPU, picture, red, save_pictures

SEEDS = (1, 2, 3)


def masks(photos: Sequence[Photo], long_side: int = 512) -> dict[str, Mask]:
    """Each photo's mask, by its digest."""
    with GrabCutSegmenter(long_side).loaded(CPU, photos) as segment:
        return {photo.digest: segment(photo) for photo in photos}


def iou(one: Mask, other: Mask) -> float:
    return float((one & other).sum() / (one | other).sum())


def two_discs() -> NDArray[np.uint8]:
    """A green and a red disc, one left and one right, on grey."""
    y, x = np.mgrid[:60, :120]
    pixels = np.full((60, 120, 3), 120, np.uint8)
    pixels += np.random.default_rng(0).integers(0, 20, pixels.shape, dtype=np.uint8)
    pixels[(x - 32) ** 2 + (y - 30) ** 2 < 18**2] = (20, 200, 40)
    pixels[(x - 88) ** 2 + (y - 30) ** 2 < 18**2] = (220, 30, 20)
    return pixels


def save_discs(folder: Path, prompts: str) -> Photo:
    Image.fromarray(two_discs()).save(folder / "discs.png")
    (folder / PROMPTS).write_text(f"discs.png: {prompts}")
    return next(photo for photo in find_photos(folder) if photo.name == "discs.png")


def test_subjects_are_found(tmp_path: Path) -> None:
    photos = find_photos(save_pictures(tmp_path, *SEEDS))
    for photo, mask in zip(photos, masks(photos).values(), strict=True):
        truth = red(photo.pixels())
        assert mask.dtype == np.bool_
        assert mask.shape == truth.shape
        assert iou(mask, truth) > 0.9


def test_neither_names_nor_order_decide(tmp_path: Path) -> None:
    first = masks(find_photos(save_pictures(tmp_path / "a", *SEEDS)))
    for seed, name in zip(SEEDS, "zyx", strict=True):
        Image.fromarray(picture(seed)).save(tmp_path / f"{name}.png")
    second = masks(find_photos(tmp_path)[::-1])
    assert first.keys() == second.keys()
    for digest, mask in first.items():
        np.testing.assert_array_equal(mask, second[digest])


def test_a_later_photo_gets_what_it_gets_beside_the_others(tmp_path: Path) -> None:
    """A run that goes on asks for some of the set's photos only."""
    photos = find_photos(save_pictures(tmp_path, *SEEDS))
    whole = masks(photos)
    with GrabCutSegmenter().loaded(CPU, photos) as segment:
        np.testing.assert_array_equal(segment(photos[2]), whole[photos[2].digest])


@pytest.mark.parametrize("size", [(32, 32), (33, 300)])
def test_odd_sizes(tmp_path: Path, size: tuple[int, int]) -> None:
    for seed in (1, 2):
        Image.fromarray(picture(seed, *size)).save(tmp_path / f"{seed}.png")
    for mask in masks(find_photos(tmp_path)).values():
        assert mask.shape == size


def test_a_large_photo_is_reduced_and_its_edge_is_not(tmp_path: Path) -> None:
    for seed in (1, 2):
        Image.fromarray(picture(seed, 400, 600)).save(tmp_path / f"{seed}.png")
    photos = find_photos(tmp_path)
    for photo, mask in zip(photos, masks(photos, 128).values(), strict=True):
        assert iou(mask, red(photo.pixels())) > 0.97


def test_nothing_stands_out_of_one_colour(tmp_path: Path) -> None:
    for level in (90, 200):
        Image.fromarray(np.full((40, 50, 3), level, np.uint8)).save(tmp_path / f"{level}.png")
    for mask in masks(find_photos(tmp_path)).values():
        assert mask.shape == (40, 50)


def test_black_bars_are_no_part_of_the_photo(tmp_path: Path) -> None:
    for seed in (1, 2):
        framed = np.zeros((56, 56, 3), np.uint8)
        framed[8:48] = picture(seed)
        Image.fromarray(framed).save(tmp_path / f"{seed}.png")
    assert without_bars(framed) == (slice(9, 47), slice(0, 56))
    photos = find_photos(tmp_path)
    for photo, mask in zip(photos, masks(photos).values(), strict=True):
        assert not mask[:8].any()
        assert not mask[48:].any()
        assert iou(mask, red(photo.pixels())) > 0.85


def test_a_dark_photo_has_no_bars() -> None:
    lit = np.zeros((60, 60, 3), np.uint8)
    lit[20:40, 20:40] = 255
    assert without_bars(lit) == (slice(0, 60), slice(0, 60))
    assert without_bars(np.zeros_like(lit)) == (slice(0, 60), slice(0, 60))


@pytest.mark.parametrize(
    "prompts",
    [
        "{points: [[88, 30]], background_points: [[32, 30]]}",
        "{box: [66, 8, 110, 52]}",
        "{box: [66, 8, 110, 52], points: [[88, 30]]}",
    ],
)
def test_the_users_prompts_decide(tmp_path: Path, prompts: str) -> None:
    photo = save_discs(save_pictures(tmp_path, *SEEDS), prompts)
    assert iou(masks([photo])[photo.digest], red(photo.pixels())) > 0.9


def test_one_photos_prompts_leave_the_others_masks(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path, *SEEDS)
    photo = save_discs(folder, "{points: [[88, 30]]}")
    before, key = masks(find_photos(folder)), GrabCutSegmenter().key(photo)
    (folder / PROMPTS).write_text("discs.png: {points: [[32, 30]], background_points: [[88, 30]]}")
    after = masks(find_photos(folder))
    assert GrabCutSegmenter().key(photo) != key
    assert not np.array_equal(before.pop(photo.digest), after.pop(photo.digest))
    for digest, mask in before.items():
        np.testing.assert_array_equal(mask, after[digest])


def test_prompts_are_checked_before_any_work(tmp_path: Path) -> None:
    photo = save_discs(save_pictures(tmp_path, *SEEDS), "{points: [[121, 30]]}")
    with pytest.raises(UserError, match="outside"):
        GrabCutSegmenter().check([photo])


def test_the_key_is_the_settings(tmp_path: Path) -> None:
    photo = find_photos(save_pictures(tmp_path, *SEEDS))[0]
    assert GrabCutSegmenter(256).key(photo) == GrabCutSegmenter(256).key(photo)
    assert GrabCutSegmenter(256).key(photo) != GrabCutSegmenter().key(photo)
    with pytest.raises(UserError, match="long_side"):
        GrabCutSegmenter(63)


def test_the_right_mask_scores_best() -> None:
    pixels = picture(1)
    truth, (cues, *_) = red(pixels), find_cues([pixels, picture(2), picture(3)])
    half = truth.copy()
    half[:, np.nonzero(truth)[1].mean().astype(int) :] = False
    wrong = [half, ~truth, np.roll(truth, 15, axis=1), np.ones_like(truth), np.zeros_like(truth)]
    assert all(score_mask(truth, cues) > score_mask(mask, cues) for mask in wrong)


def test_what_the_set_shares_is_seen() -> None:
    """A blue disc in one photo alone counts for less than the red one that all photos have."""
    pictures = [picture(seed) for seed in (1, 2, 3, 4)]
    y, x = np.mgrid[:40, :56]
    other = (x - 46) ** 2 + (y - 30) ** 2 < 36
    pictures[0][other] = (250, 250, 20)
    cues = find_cues(pictures)[0]
    subject = red(pictures[0]) & ~other
    assert cues.shared[subject].mean() > cues.shared[other].mean() + 0.2


def test_histograms_add_up() -> None:
    cues = find_cues([picture(1)])[0]
    for weight in (np.ones((40, 56)), cues.shared, np.zeros((40, 56))):
        total = histogram(cues.bins, weight).sum()
        assert total == pytest.approx(1 if weight.any() else 0)


def test_a_picture_beside_the_set_is_judged_as_if_it_were_of_it(tmp_path: Path) -> None:
    photos = find_photos(save_pictures(tmp_path, *SEEDS, 4))
    extra, own = photos[-1], photos[:-1]
    with GrabCutSegmenter().loaded(CPU, own) as segment:
        beside = segment(extra)
        untouched = segment(own[0])
    assert np.array_equal(beside, masks([*own, extra])[extra.digest])
    assert np.array_equal(untouched, masks(own)[own[0].digest])
    assert iou(beside, red(extra.pixels())) > 0.9


def test_a_mask_is_doubted_where_other_first_guesses_end_elsewhere(tmp_path: Path) -> None:
    """A red thing on plain ground is found from anywhere; in clouds each guess ends elsewhere."""
    folder = save_pictures(tmp_path / "plain", 1, 2)
    levels = np.random.default_rng(0).integers(0, 256, (5, 7, 3)).astype(np.uint8)
    odd = tmp_path / "odd"
    odd.mkdir()
    Image.fromarray(levels).resize((112, 80), Image.Resampling.BICUBIC).save(odd / "clouds.png")
    doubts = {}
    for photos in (find_photos(folder), find_photos(odd)):
        with GrabCutSegmenter().finding(CPU, photos) as find:
            for photo in photos:
                found = find(photo)
                doubts[photo.name] = found.doubts
                assert found.source == "GrabCut"
    assert doubts["1.png"] == doubts["2.png"] == ()
    (doubt,) = doubts["clouds.png"]
    assert "other first guesses end elsewhere" in doubt


def test_steadiness_weighs_by_score() -> None:
    one, other = np.zeros((4, 4), bool), np.zeros((4, 4), bool)
    one[:2], other[2:] = True, True
    assert steadiness([(3.0, one)]) == 1
    assert steadiness([(3.0, one), (3.0, one)]) == 1
    assert steadiness([(3.0, one), (3.0, one), (3.0, other)]) == pytest.approx(0.5)
    far = steadiness([(3.0, one), (3.0, one), (-3.0, other)])
    assert far == pytest.approx(1 / (1 + np.exp(-6)))
