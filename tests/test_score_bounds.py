import sys

import numpy as np
import pytest

from idgen.evaluation.drawing import Means
from idgen.evaluation.observed import Observer
from idgen.evaluation.scores import TEST_SCORES
from idgen.metrics.encoders import ClipScorer, DinoScorer
from idgen.mini.regimes import Regime
from idgen.mini.scenes import SCENES
from idgen.mini.subjects import sample_subject
from idgen.mini.world import HELD_OUT_FROM
from tools import score_bounds
from tools.command import run


def test_a_score_that_does_not_exist_is_no_zero() -> None:
    none: Means = dict.fromkeys(TEST_SCORES)
    means = score_bounds.mean_scores([none, none | {TEST_SCORES[0]: 0.5}, none])
    assert means == none | {TEST_SCORES[0]: 0.5}


def test_others_are_of_the_class_and_held_out_and_not_the_subject() -> None:
    subject = sample_subject(900)
    scene = subject.unseen_scenes[0]
    prompt = f"a {subject.noun} {SCENES[scene].phrases[0]}"
    itself = score_bounds.drawn_for(subject, prompt, 4, "itself")
    others = score_bounds.drawn_for(subject, prompt, 4, "others of its class")
    photos = score_bounds.drawn_for(subject, prompt, 4, "its photos")
    assert {d.factors.identity_seed for d in (*itself, *photos)} == {subject.identity_seed}
    assert subject.identity_seed not in {d.factors.identity_seed for d in others}
    assert min(d.factors.identity_seed for d in others) >= HELD_OUT_FROM
    assert {d.factors.noun for d in (*itself, *others, *photos)} == {subject.noun}
    assert {d.factors.scene for d in (*itself, *others)} == {scene}
    assert scene not in {d.factors.scene for d in photos}


def test_looks_are_changed_as_asked_and_a_scene_that_is_not_named_is_no_photos() -> None:
    subject = sample_subject(900)
    red = score_bounds.drawn_for(subject, f"a red {subject.noun}", 4, "itself")
    assert {d.factors.colours for d in red} == {("red",)}
    assert not {d.factors.scene for d in red} & set(subject.scenes)


def test_in_a_regime_photos_have_their_true_masks_whatever_training_gets() -> None:
    subject = sample_subject(900, regime=Regime.parse("scenes=1&masks=wide"))
    # Nothing that segments is loaded.
    photos = score_bounds.observed_photos(subject, Observer(ClipScorer(), DinoScorer()))
    for mask, drawing, trained_with in zip(
        photos.found_masks, subject.photos(), subject.masks(), strict=True
    ):
        assert mask is not None
        assert np.array_equal(mask, drawing.mask)
        assert not np.array_equal(mask, trained_with)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--regime", "scenes=1"], "give --held-out too"),
        (["--regime", "scenes=9", "--held-out", "1"], "scenes is from 1 to 5"),
    ],
)
def test_a_regime_that_cannot_be_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: list[str],
    said: str,
) -> None:
    monkeypatch.setattr(sys, "argv", ["score_bounds", *options])
    with pytest.raises(SystemExit) as ended:
        run(score_bounds.main)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_the_table(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["score_bounds", "--held-out", "1", "--pictures", "1"])
    score_bounds.main()
    printed = capsys.readouterr().out
    rows = [[cell.strip() for cell in line.split("│")][1:-1] for line in printed.splitlines()]
    found = {row[0]: row[1:] for row in rows if row and row[0] in TEST_SCORES}
    assert list(found) == list(TEST_SCORES)
    assert {len(row) for row in found.values()} == {len(score_bounds.ROWS)}
    # Drawn once a prompt, nothing can differ from anything: a score without a value.
    assert set(found["diversity"]) == {"–"}
    itself, others, specks, kind, ground, photos, _ = range(len(score_bounds.ROWS))

    def value(score: str, model: int) -> float:
        return float(found[score][model])

    assert value("background_identity", photos) == value("pose_copying", photos) == 1
    assert value("background_identity", itself) == 0
    assert value("pose_copying", itself) < 0.3
    for score in ("kid_dino", "kid_clip", "kid_background"):
        assert abs(value(score, itself)) < value(score, photos) / 2
    assert value("kid_dino", others) > 0.1
    assert value("kid_clip", specks) > value("kid_clip", itself)
    assert value("background_identity", ground) > 0.8 > 0.3 > value("background_identity", kind)
    assert value("all_right", itself) > value("all_right", photos) + 0.3
    assert value("all_right", others) < 0.2
