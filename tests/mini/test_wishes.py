import pytest

from idgen.data.prompts import read_suite, without_token
from idgen.mini.accessories import ACCESSORIES
from idgen.mini.colours import COLOUR_WORDS
from idgen.mini.pen import Pose
from idgen.mini.scenes import SCENES
from idgen.mini.wishes import AS_IT_IS, Looks, Wish, asked_for
from idgen.mini.world import Factors, draw

POSE = Pose(0.5, 0.5, 0.6, 0.0, False)


@pytest.mark.parametrize(
    ("prompt", "scene", "looks"),
    [
        ("a cat in the snow", "snow", AS_IT_IS),
        ("a photo of a cat", None, AS_IT_IS),
        ("a cat on top of a purple rug", "rug", AS_IT_IS),
        ("a cat on pink fabric", "fabric", AS_IT_IS),
        ("a red cat", None, Looks("red")),
        ("a purple cat in the desert", "desert", Looks("purple")),
        ("a cat wearing a red hat in the snow", "snow", Looks(accessory="red hat")),
        ("a cat wearing a black top hat", None, Looks(accessory="black top hat")),
        ("a picture of a Cat on a city  street", "city", AS_IT_IS),
        ("a category in the snow", "snow", AS_IT_IS),
        ("a red and white cat in the ocean", "ocean", Looks("red", "white")),
        ("a blue cat wearing a red hat at night", "night", Looks("blue", None, "red hat")),
        ("a cat in the snowfall", None, AS_IT_IS),
    ],
)
def test_what_a_prompt_asks_for(prompt: str, scene: str | None, looks: Looks) -> None:
    assert asked_for(prompt, "cat") == Wish(scene, looks)


@pytest.mark.parametrize("scene", SCENES)
def test_every_phrase_of_a_scene_is_understood_and_as_no_other(scene: str) -> None:
    for phrase in SCENES[scene].phrases:
        assert asked_for(f"a blue boat {phrase}", "boat") == Wish(scene, Looks("blue"))


@pytest.mark.parametrize("live", [False, True])
def test_every_prompt_of_the_suite_asks_for_something(live: bool) -> None:
    noun = "cat" if live else "robot"
    suite = read_suite("mini", live=live, class_noun=noun)
    wishes = [asked_for(without_token(prompt), noun) for prompt in suite]
    assert all(wish.scene or wish.looks != AS_IT_IS for wish in wishes)
    assert {wish.scene for wish in wishes} >= set(SCENES)
    asked = {attribute for wish in wishes for attribute in wish.looks.attributes}
    assert asked <= {*COLOUR_WORDS, *ACCESSORIES}


@pytest.mark.parametrize("live", [False, True])
def test_every_complex_prompt_asks_for_two_attributes_and_a_scene(live: bool) -> None:
    noun = "cat" if live else "robot"
    suite = [without_token(p) for p in read_suite("mini-complex", live=live, class_noun=noun)]
    assert len(set(suite)) == 20
    wishes = [asked_for(prompt, noun) for prompt in suite]
    assert all(len(wish.looks.attributes) == 2 for wish in wishes)
    assert {wish.scene for wish in wishes} == set(SCENES)
    assert {w.looks.accessory for w in wishes} == ({None, *ACCESSORIES} if live else {None})
    for wish in wishes:
        factors = Factors(noun, 1, str(wish.scene), POSE, None, 0, wish.looks.attributes)
        assert factors.colours == tuple(c for c in (wish.looks.colour, wish.looks.second) if c)
        assert factors.identity.colour_words[: len(factors.colours)] == factors.colours
        assert draw(factors).mask.any()
