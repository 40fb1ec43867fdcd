import random
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from idgen.errors import UserError
from idgen.mini.accessories import ACCESSORIES
from idgen.mini.classes import CLASSES
from idgen.mini.colours import COLOUR_WORDS
from idgen.mini.identity import TEXTURES, sample_identity
from idgen.mini.pen import Pose
from idgen.mini.scenes import SCENES, paint_scene
from idgen.mini.world import (
    HELD_OUT_ACCESSORIES,
    HELD_OUT_FROM,
    SIDE,
    Drawing,
    Factors,
    draw,
    is_held_out,
    sample_factors,
    sample_pose,
)

UPRIGHT = Pose(0.5, 0.55, 0.7, 0.0, False)
DOG = Factors("dog", 7, "beach", UPRIGHT, None, 3)
# Mean level of each 16 x 16 patch of that picture.
KNOWN_DOG = [
    [194, 200, 200, 200],
    [161, 167, 141, 158],
    [184, 98, 112, 187],
    [192, 148, 162, 192],
]


def grown(mask: NDArray[np.bool_], steps: int) -> NDArray[np.bool_]:
    """The mask and what lies within ``steps`` pixels of it."""
    for _ in range(steps):
        for axis in (0, 1):
            mask = mask | np.roll(mask, 1, axis) | np.roll(mask, -1, axis)
    return mask


def changed(first: Drawing, second: Drawing) -> float:
    """The fraction of pixels that differ."""
    return float((first.picture != second.picture).any(-1).mean())


def test_there_are_enough_classes_and_scenes() -> None:
    assert len(CLASSES) >= 12
    assert len(SCENES) >= 12
    assert sum(entry.live for entry in CLASSES.values()) >= 4


@pytest.mark.parametrize("seed", range(40))
def test_the_same_factors_give_the_same_picture_twice(seed: int) -> None:
    factors = sample_factors(seed)
    first, second = draw(factors), draw(sample_factors(seed))
    assert factors == second.factors
    assert first.caption == second.caption
    np.testing.assert_array_equal(first.picture, second.picture)
    np.testing.assert_array_equal(first.mask, second.mask)
    np.testing.assert_array_equal(first.background, second.background)


def test_a_known_picture_has_not_changed() -> None:
    """Weights were trained on these pictures: a change of the world makes them stale."""
    picture = draw(DOG).picture.astype(np.int64)
    patches = picture.reshape(4, 16, 4, 16, 3).mean((1, 3, 4)).round().astype(int)
    assert patches.tolist() == KNOWN_DOG


@pytest.mark.parametrize("seed", range(150))
def test_the_mask_is_where_picture_and_background_differ(seed: int) -> None:
    drawing = draw(sample_factors(seed))
    assert drawing.picture.shape == drawing.background.shape == (SIDE, SIDE, 3)
    assert drawing.picture.dtype == drawing.background.dtype == np.uint8
    assert drawing.mask.shape == (SIDE, SIDE)
    differs = (drawing.picture != drawing.background).any(-1)
    # The subject covers less than half of a pixel only along its edge and at thin tips.
    assert not (differs & ~grown(drawing.mask, 2)).any()
    assert (differs & ~grown(drawing.mask, 1)).sum() <= 4
    # Inside it a subject may by chance have the background's very colour, but not often.
    assert (differs & drawing.mask).sum() > 0.95 * drawing.mask.sum()
    assert 0.04 < drawing.mask.mean() < 0.6


def test_every_class_scene_and_attribute_can_be_drawn() -> None:
    for noun, entry in CLASSES.items():
        for scene in SCENES:
            assert draw(Factors(noun, 1, scene, UPRIGHT, None, 0)).mask.any()
        for attribute in (*COLOUR_WORDS, *(ACCESSORIES if entry.live else ())):
            drawn = draw(Factors(noun, 1, "beach", UPRIGHT, attribute, 0))
            assert attribute in drawn.caption


@pytest.mark.parametrize("noun", CLASSES)
def test_two_identities_of_a_class_differ_and_one_stays_itself(noun: str) -> None:
    first = draw(Factors(noun, 1, "beach", UPRIGHT, None, 0))
    other = draw(Factors(noun, 2, "beach", UPRIGHT, None, 0))
    assert changed(first, other) > 0.1
    elsewhere = draw(Factors(noun, 1, "night", UPRIGHT, None, 9))
    np.testing.assert_array_equal(first.mask, elsewhere.mask)
    inner = ~grown(~first.mask, 1)
    assert (first.picture != elsewhere.picture).any(-1)[inner].mean() < 0.05
    assert changed(first, elsewhere) > 0.5


def test_a_scene_varies_inside_itself() -> None:
    for name in SCENES:
        pictures = [np.asarray(paint_scene(name, seed, SIDE)) for seed in range(3)]
        assert (pictures[0] != pictures[1]).any()
        assert (pictures[1] != pictures[2]).any()


@pytest.mark.parametrize(
    "pose",
    [
        replace(UPRIGHT, x=0.4),
        replace(UPRIGHT, y=0.45),
        replace(UPRIGHT, size=0.55),
        replace(UPRIGHT, angle=12.0),
        replace(UPRIGHT, flip=True),
    ],
)
def test_each_part_of_the_pose_matters(pose: Pose) -> None:
    assert (draw(DOG).mask != draw(replace(DOG, pose=pose)).mask).mean() > 0.01


def test_flip_mirrors_the_mask() -> None:
    mask, mirrored = draw(DOG).mask, draw(replace(DOG, pose=replace(UPRIGHT, flip=True))).mask
    assert (mask[:, ::-1] != mirrored).mean() < 0.05


def test_size_is_the_width_of_the_subjects_box() -> None:
    for noun in CLASSES:
        pose = replace(UPRIGHT, size=0.6, y=0.5)
        columns = np.flatnonzero(draw(Factors(noun, 5, "beach", pose, None, 0)).mask.any(0))
        assert 0.3 * SIDE < columns[-1] - columns[0] + 1 < 0.75 * SIDE


@pytest.mark.parametrize("word", COLOUR_WORDS)
def test_a_colour_asked_for_is_the_main_colour(word: str) -> None:
    for seed in range(12):
        identity = sample_identity(seed).recoloured(word)
        assert identity.colour_words[0] == word
        assert len(set(identity.colour_words)) == 3 or identity.colour_words[1] != word
        assert identity.texture == sample_identity(seed).texture
        assert identity.shape == sample_identity(seed).shape


def test_identities_use_all_textures_and_colours() -> None:
    identities = [sample_identity(seed) for seed in range(300)]
    assert {identity.texture for identity in identities} == set(TEXTURES)
    assert {identity.colour_words[0] for identity in identities} == set(COLOUR_WORDS)
    assert len({identity.colours for identity in identities}) == len(identities)


def test_training_never_sees_what_is_held_out() -> None:
    training = [sample_factors(seed) for seed in range(4000)]
    held_out = [sample_factors(seed, held_out_identity=True) for seed in range(500)]
    assert max(factors.identity_seed for factors in training) < HELD_OUT_FROM
    assert min(factors.identity_seed for factors in held_out) >= HELD_OUT_FROM
    assert not any(is_held_out(f.noun, f.scene, f.attribute) for f in training)
    seen = {(f.noun, f.scene) for f in training}
    held = {(noun, scene) for noun in CLASSES for scene in SCENES if is_held_out(noun, scene)}
    assert seen | held == {(noun, scene) for noun in CLASSES for scene in SCENES}
    assert {noun for noun, _ in held} == set(CLASSES)
    assert {scene for _, scene in held} == set(SCENES)
    assert all(is_held_out(noun, "beach", worn) for noun, worn in HELD_OUT_ACCESSORIES)


def test_unknown_names_are_neither_held_out_nor_seen() -> None:
    with pytest.raises(UserError, match=r"dragon.*dog"):
        is_held_out("dragon", "beach")
    with pytest.raises(UserError, match=r"moon.*beach"):
        is_held_out("dog", "moon")


def test_sampled_poses_keep_the_subject_in_the_picture() -> None:
    rng = random.Random(0)
    for _ in range(100):
        pose = sample_pose(rng)
        assert 0.4 <= pose.size <= 0.8
        assert 0.3 < pose.x < 0.7
        assert 0.3 < pose.y < 0.7


@pytest.mark.parametrize(
    ("factors", "names"),
    [
        (replace(DOG, noun="dragon"), ["dragon", *CLASSES]),
        (replace(DOG, scene="moon"), ["moon", *SCENES]),
        (replace(DOG, attribute="wings"), ["wings", *COLOUR_WORDS, *ACCESSORIES]),
        (replace(DOG, noun="car", attribute="red hat"), ["car", "red hat", "dog", "cat"]),
    ],
)
def test_what_does_not_exist_is_named_with_what_does(factors: Factors, names: list[str]) -> None:
    with pytest.raises(UserError) as error:
        draw(factors)
    message = str(error.value)
    assert "\n" not in message
    assert all(name in message for name in names)
