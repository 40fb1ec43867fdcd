import pytest

from idgen.errors import UserError
from idgen.placeholders import check_words, filled


def test_the_class_noun_is_filled_in() -> None:
    assert filled("a [V] {class_noun}, a {class_noun}", "red dog") == "a [V] red dog, a red dog"
    assert filled("a [V] dog", "cat") == "a [V] dog"


@pytest.mark.parametrize("prompt", ["a {classnoun}", "a {0} {class_noun}", "a {}", "a {x", "a }"])
def test_what_nobody_fills_in_is_refused(prompt: str) -> None:
    with pytest.raises(UserError, match=r"nothing is filled in for [{}].*\{class_noun\}"):
        filled(prompt, "dog")


@pytest.mark.parametrize("words", ["[V] dog", "a {class_noun}", "{"])
def test_words_hold_no_placeholder(words: str) -> None:
    with pytest.raises(UserError, match=r"^the noun .*nothing is filled in"):
        check_words(words, "the noun")
    check_words("stuffed animal (brown)", "the noun")
