"""How the photos of a mini subject come about: the notation, and what it makes."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from idgen.errors import UserError
from idgen.mini.regimes import CAPTIONS, MASKS, PLAIN, POSES, Regime
from idgen.mini.scenes import SCENES
from idgen.mini.subjects import (
    MASKS_FOLDER,
    MiniSubject,
    read_subject,
    sample_subject,
    write_subject,
)
from idgen.mini.training_masks import training_masks
from idgen.prepare import find_photos


def in_regime(text: str, number: int = 203) -> MiniSubject:
    return sample_subject(number, regime=Regime.parse(text))


@st.composite
def regimes(draw: st.DrawFn) -> Regime:
    photos = draw(st.integers(2, 10))
    scenes = draw(st.integers(1, min(5, photos)))
    poses = POSES if scenes == photos else POSES[:1]
    choices = (st.sampled_from(MASKS), st.sampled_from(poses), st.sampled_from(CAPTIONS))
    return Regime(scenes, photos, *map(draw, choices))


@given(regimes())
def test_what_is_written_is_read_back(regime: Regime) -> None:
    assert Regime.parse(str(regime)) == regime
    assert Regime.parse(regime.label) == regime
    assert regime.is_plain == (str(regime) == "")


def test_what_is_not_given_has_its_default() -> None:
    assert Regime.parse("") == Regime.parse("plain") == PLAIN
    assert Regime.parse("photos=3") == Regime(scenes=3, photos=3)
    assert Regime.parse("photos=8") == Regime(scenes=5, photos=8)
    assert str(Regime.parse("masks=wide&scenes=1")) == "scenes=1&masks=wide"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scenes=5&photos=3", "scenes=5 contradicts photos=3"),
        ("scenes=1&pose=same", "pose=same contradicts scenes=1"),
        ("masks=loose", "masks is one of found, exact, wide"),
        ("captions=yes", "captions is one of none, right"),
        ("pose=1", "pose is one of varied, same"),
        ("scenes=0", "scenes is from 1 to 5"),
        ("photos=0", "photos is from 1 to 10"),
        ("photos=many", "photos is a whole number"),
        ("light=dim", "'light=dim' is no part of one"),
        ("scenes", "'scenes' is no part of one"),
        ("scenes=1&scenes=2", "scenes is given twice"),
        ("photos=1&masks=wrong", "masks=wrong leaves photos=1 nothing right"),
        ("photos=1&captions=wrong", "captions=wrong leaves photos=1 nothing right"),
    ],
)
def test_what_contradicts_itself_is_refused_in_one_line(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as refused:
        Regime.parse(text)
    assert str(refused.value).startswith(f"regime '{text}'")
    assert "\n" not in str(refused.value)


def test_a_number_is_one_identity_in_every_regime() -> None:
    plain = sample_subject(203)
    for text in ("scenes=1", "scenes=2&photos=3&masks=wide", "pose=same", "photos=8"):
        other = in_regime(text)
        assert (other.noun, other.identity_seed) == (plain.noun, plain.identity_seed)
        assert set(other.scenes) <= set(plain.scenes)


def test_one_scene_is_one_place_in_different_poses() -> None:
    photos = in_regime("scenes=1").photos()
    assert len(photos) == 5
    assert len({photo.background.tobytes() for photo in photos}) == 1
    assert len({photo.factors.pose for photo in photos}) == 5
    two = in_regime("scenes=2").photos()
    grounds = [photo.background.tobytes() for photo in two]
    assert grounds[0] == grounds[2] == grounds[4] != grounds[1] == grounds[3]
    assert len({photo.picture.tobytes() for photo in two}) == 5


def test_one_pose_is_kept_in_all_scenes() -> None:
    photos = in_regime("pose=same").photos()
    assert len({photo.factors.pose for photo in photos}) == 1
    assert len({photo.factors.scene for photo in photos}) == 5


@pytest.mark.parametrize("number", range(12))
def test_masks_are_as_wrong_as_they_say(number: int) -> None:
    exact = [photo.mask for photo in in_regime("masks=exact", number).photos()]
    found = {kind: in_regime(f"masks={kind}", number).masks() for kind in ("wide", "eroded")}
    assert np.array_equal(exact, in_regime("masks=exact", number).masks())
    for true, wide, eroded in zip(exact, found["wide"], found["eroded"], strict=True):
        assert (wide & true).sum() == true.sum() < wide.sum()
        assert wide.sum() <= true.size - (~true).sum() / 4
        assert true.sum() / 4 <= eroded.sum() < true.sum()
        assert not (eroded & ~true).any()
        reach = _margins(wide) - _margins(true)
        assert reach.max() <= 8
        # Less than 4 only where there is no room: the picture ends.
        grown = reach[reach > 0]
        assert ((grown >= 4) | (_margins(wide)[reach > 0] == 0)).all()


def _margins(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Minus the distance from the mask to each side of the picture."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    height, width = mask.shape
    return -np.array([rows[0], height - 1 - rows[-1], columns[0], width - 1 - columns[-1]])


@pytest.mark.parametrize(("photos", "mistaken"), [(2, 1), (5, 1), (10, 2)])
def test_one_mask_in_five_is_of_the_background(photos: int, mistaken: int) -> None:
    subject = in_regime(f"masks=wrong&photos={photos}")
    pairs = list(zip([p.mask for p in subject.photos()], subject.masks(), strict=True))
    wrong = [(true, mask) for true, mask in pairs if not np.array_equal(true, mask)]
    assert len(wrong) == mistaken
    for true, mask in wrong:
        assert mask.any()
        assert not (true & mask).any()
        assert mask.sum() <= true.sum()


def test_masks_that_are_no_files_are_not_written() -> None:
    for kind in ("found", "grabcut", "none"):
        assert in_regime(f"masks={kind}").masks() == []
        with pytest.raises(ValueError, match="no files"):
            training_masks([np.ones((4, 4), np.bool_)], Regime(masks=kind), "x")


def test_captions_name_the_scenes_as_far_as_they_say() -> None:
    plain = sample_subject(203)
    right = in_regime("captions=right").captions()
    assert right == [f"a photo of a [V] {plain.noun} {SCENES[s].phrases[0]}" for s in plain.scenes]
    assert plain.captions() == []
    wrong = in_regime("captions=wrong").captions()
    differing = [n for n, (a, b) in enumerate(zip(right, wrong, strict=True)) if a != b]
    assert len(differing) == 1
    phrases = {SCENES[s].phrases[0] for s in plain.unseen_scenes}
    assert wrong[differing[0]].removeprefix(f"a photo of a [V] {plain.noun} ") in phrases
    [vague] = set(in_regime("captions=vague").captions())
    assert not any(phrase in vague for s in SCENES.values() for phrase in s.phrases)
    assert vague.startswith(f"a photo of a [V] {plain.noun} ")


def test_masks_and_captions_lie_beside_the_photos_and_are_no_photos(tmp_path: Path) -> None:
    subject = in_regime("scenes=2&photos=3&masks=wide&captions=right")
    paths = write_subject(subject, tmp_path)
    assert read_subject(tmp_path) == subject
    assert [photo.path for photo in find_photos(tmp_path)] == paths
    for path, mask, caption in zip(paths, subject.masks(), subject.captions(), strict=True):
        with Image.open(tmp_path / MASKS_FOLDER / path.name) as image:
            assert np.array_equal(np.asarray(image) > 0, mask)
        assert path.with_suffix(".txt").read_text() == f"{caption}\n"


def test_a_plain_subject_has_neither(tmp_path: Path) -> None:
    paths = write_subject(sample_subject(5), tmp_path)
    assert len(list(tmp_path.iterdir())) == len(paths) + 1
