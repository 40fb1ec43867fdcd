import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idgen.data.prompts import read_suite
from idgen.errors import UserError
from idgen.mini.captions import PREFIXES
from idgen.mini.classes import CLASSES
from idgen.mini.scenes import SCENES
from idgen.mini.subjects import (
    DEMO_SUBJECTS,
    PHOTOS,
    TRUTH,
    MiniSubject,
    read_subject,
    sample_subject,
    subject_path,
    write_subject,
)
from idgen.mini.world import HELD_OUT_FROM, SIDE
from idgen.prepare import find_photos


@pytest.mark.parametrize("name", DEMO_SUBJECTS)
def test_shipped_photos_are_those_of_the_subject(name: str, tmp_path: Path) -> None:
    shipped = sorted(subject_path(name).glob("*.png"))
    drawn = write_subject(DEMO_SUBJECTS[name], tmp_path)
    assert [path.name for path in shipped] == [path.name for path in drawn]
    for old, new in zip(shipped, drawn, strict=True):
        with Image.open(old) as first, Image.open(new) as second:
            assert first.mode == "RGB"
            assert first.size == (SIDE, SIDE)
            np.testing.assert_array_equal(np.asarray(first), np.asarray(second))


def test_the_truth_lies_beside_the_photos_and_is_no_photo(tmp_path: Path) -> None:
    for name, subject in DEMO_SUBJECTS.items():
        assert read_subject(subject_path(name)) == subject
    subject = sample_subject(5)
    paths = write_subject(subject, tmp_path)
    assert read_subject(tmp_path) == subject
    assert [photo.path for photo in find_photos(tmp_path)] == paths
    (tmp_path / TRUTH).unlink()
    assert read_subject(tmp_path) is None


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        '{"noun": "cat", "scenes": []}',
        '{"noun": "dragon", "identity_seed": 1, "scenes": []}',
        '{"noun": "cat", "identity_seed": 1, "scenes": ["moon"]}',
        '{"noun": "snow", "identity_seed": 1, "scenes": []}',
        '{"noun": "cat", "identity_seed": 1, "scenes": ["dog"]}',
        '{"noun": "Cat", "identity_seed": 1, "scenes": []}',
        '{"noun": ["cat"], "identity_seed": 1, "scenes": []}',
        '{"noun": "cat", "identity_seed": "1", "scenes": []}',
    ],
)
def test_damaged_truth_is_named_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / TRUTH).write_text(text)
    with pytest.raises(UserError, match=TRUTH) as refused:
        read_subject(tmp_path)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("noun", "scene", "known"), [("dragon", "snow", CLASSES), ("cat", "moon", SCENES)]
)
def test_what_a_truth_names_wrongly_is_said_with_what_exists(
    noun: str, scene: str, known: dict[str, object], tmp_path: Path
) -> None:
    truth = {"noun": noun, "identity_seed": HELD_OUT_FROM, "scenes": [scene]}
    (tmp_path / TRUTH).write_text(json.dumps(truth))
    with pytest.raises(UserError, match=f"there are: {', '.join(known)}"):
        read_subject(tmp_path)


def test_there_is_a_creature_and_a_thing() -> None:
    assert {CLASSES[subject.noun].live for subject in DEMO_SUBJECTS.values()} == {True, False}


@pytest.mark.parametrize("seed", range(20))
def test_a_subject_is_one_held_out_identity_in_different_scenes(seed: int) -> None:
    subject = sample_subject(seed)
    assert subject == sample_subject(seed)
    assert subject.identity_seed >= HELD_OUT_FROM
    drawings = subject.photos()
    assert len(drawings) == PHOTOS
    assert {drawing.factors.identity for drawing in drawings} == {drawings[0].factors.identity}
    assert len({drawing.factors.scene for drawing in drawings}) == PHOTOS
    assert len({drawing.factors.pose for drawing in drawings}) == PHOTOS
    assert set(subject.unseen_scenes) == set(SCENES) - {d.factors.scene for d in drawings}


def test_a_subject_of_a_class_asked_for() -> None:
    assert sample_subject(3, "teapot").noun == "teapot"
    with pytest.raises(UserError, match=r"dragon.*dog"):
        sample_subject(3, "dragon")


def test_unknown_or_missing_demo_subjects_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"mini:dragon.*robot"):
        subject_path("dragon")
    with pytest.raises(UserError, match=r"mini:12\?scenes=1.* benchmark alone.*write_subject"):
        subject_path("12?scenes=1")
    monkeypatch.setattr("idgen.mini.subjects._SHIPPED", tmp_path)
    with pytest.raises(UserError, match="mini:robot"):
        subject_path("robot")


def test_unknown_scene_of_a_subject_is_named() -> None:
    with pytest.raises(UserError, match=r"moon.*beach"):
        MiniSubject("dog", HELD_OUT_FROM, ("moon",)).photos()


@pytest.mark.parametrize("live", [False, True])
def test_the_prompt_suite_asks_for_25_drawings_of_scenes_that_exist(live: bool) -> None:
    prompts = read_suite("mini", live=live, class_noun="cat" if live else "car")
    assert len(prompts) == len(set(prompts)) == 25
    phrases = {phrase for scene in SCENES.values() for phrase in scene.phrases}
    assert all("[V]" in prompt for prompt in prompts)
    asked = [name for name, s in SCENES.items() if any(p.endswith(s.phrases) for p in prompts)]
    assert asked == list(SCENES)
    assert any("wearing" in prompt for prompt in prompts) == live
    for prompt in prompts:
        subject = prompt.removeprefix(next(p for p in reversed(PREFIXES) if prompt.startswith(p)))
        assert subject.startswith("a ")
        assert subject.endswith((*phrases, "car", "cat", "hat", "scarf"))
