import pytest

from idgen.data.prompts import read_suite, without_token
from idgen.mini.accessories import ACCESSORIES
from idgen.mini.colours import COLOUR_WORDS
from idgen.mini.scenes import SCENES
from idgen.mini.wishes import Wish, asked_for


@pytest.mark.parametrize(
    ("prompt", "scene", "attribute"),
    [
        ("a cat in the snow", "snow", None),
        ("a photo of a cat", None, None),
        ("a cat on top of a purple rug", "rug", None),
        ("a cat on pink fabric", "fabric", None),
        ("a red cat", None, "red"),
        ("a purple cat in the desert", "desert", "purple"),
        ("a cat wearing a red hat in the snow", "snow", "red hat"),
        ("a cat wearing a black top hat", None, "black top hat"),
        ("a picture of a Cat on a city  street", "city", None),
        ("a category in the snow", "snow", None),
        ("a cat in the snowfall", None, None),
    ],
)
def test_what_a_prompt_asks_for(prompt: str, scene: str | None, attribute: str | None) -> None:
    assert asked_for(prompt, "cat") == Wish(scene, attribute)


@pytest.mark.parametrize("scene", SCENES)
def test_every_phrase_of_a_scene_is_understood_and_as_no_other(scene: str) -> None:
    for phrase in SCENES[scene].phrases:
        assert asked_for(f"a blue boat {phrase}", "boat") == Wish(scene, "blue")


@pytest.mark.parametrize("live", [False, True])
def test_every_prompt_of_the_suite_asks_for_something(live: bool) -> None:
    noun = "cat" if live else "robot"
    suite = read_suite("mini", live=live, class_noun=noun)
    wishes = [asked_for(without_token(prompt), noun) for prompt in suite]
    assert all(wish.scene or wish.attribute for wish in wishes)
    assert {wish.scene for wish in wishes} >= set(SCENES)
    assert {w.attribute for w in wishes} - {None} <= {*COLOUR_WORDS, *ACCESSORIES}
