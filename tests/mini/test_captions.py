import random
import re

import pytest

from idgen.mini.captions import RARE_TOKENS, Wording, article, write_caption
from idgen.mini.scenes import SCENES
from idgen.mini.world import draw, sample_factors

CAPTIONS = [draw(sample_factors(seed)).caption for seed in range(600)]
WORDING = Wording("dog", ("orange", "blue", "white"), "dots", "red hat", "beach")


def test_article_suits_the_word() -> None:
    assert article("orange dog") == "an orange dog"
    assert article("dog") == "a dog"


def test_captions_say_the_truth() -> None:
    for seed in range(300):
        drawing = draw(sample_factors(seed))
        factors, words = drawing.factors, drawing.caption
        assert re.search(rf"\b{factors.noun}\b", words)
        if factors.attribute is not None:
            assert f"wearing a {factors.attribute}" in words
        told = [name for name, scene in SCENES.items() if words.endswith(scene.phrases)]
        assert told in ([], [factors.scene])


def test_scene_is_named_in_nearly_all_and_colour_in_most() -> None:
    rng = random.Random(0)
    captions = [write_caption(WORDING, rng) for _ in range(1000)]
    scenes = sum("beach" in caption for caption in captions)
    colours = sum("orange" in caption for caption in captions)
    assert 850 < scenes < 950
    assert 650 < colours < 850
    assert len(set(captions)) > 20
    assert all("orange" in write_caption(WORDING, rng, must_colour=True) for _ in range(50))


def test_captions_read_like_dreambenchs() -> None:
    forms = {re.sub(r"^(a photo of|a picture of) ", "", caption) for caption in CAPTIONS}
    assert all(form.startswith(("a ", "an ")) for form in forms)
    assert any(caption.startswith("a photo of") for caption in CAPTIONS)
    assert any(caption.endswith("with a city in the background") for caption in CAPTIONS)


@pytest.mark.parametrize("token", RARE_TOKENS)
def test_no_caption_holds_a_rare_token(token: str) -> None:
    assert not any(token in caption for caption in CAPTIONS)
