import pytest

from idgen.backbones import StableDiffusionBackbone
from idgen.data.cast import Cast, exchanged
from idgen.data.subject import Subject
from idgen.errors import UserError

ROBOT = Subject("mini:robot", token="sks")
CAT = Subject("mini:cat", token="zwx")
ONE, TWO = Cast(ROBOT), Cast(ROBOT, CAT)


def test_each_name_is_its_own_subject() -> None:
    filled = TWO.filled("a [V1] {class_noun1} and a [V2] {class_noun2} in the snow")
    assert filled == "a [V1] robot and a [V2] cat in the snow"
    assert TWO.read(filled) == (
        "a sks robot and a zwx cat in the snow",
        "a robot and a cat in the snow",
    )
    assert TWO.read(TWO.filled("a [V] {class_noun} at night")).spoken == "a sks robot at night"
    assert TWO.named(filled) == [ROBOT, CAT]
    assert TWO.named("[V2]") == [CAT]
    assert TWO.named("a [V] robot") == [ROBOT]


def test_one_subject_is_read_as_ever() -> None:
    assert ONE.read(ONE.filled("a [V] {class_noun}  at night")) == (
        "a sks robot at night",
        "a robot at night",
    )


def test_two_change_places() -> None:
    prompt = "a [V1] {class_noun1} and a [V2] {class_noun2}"
    assert exchanged(prompt) == "a [V2] {class_noun2} and a [V1] {class_noun1}"
    assert exchanged(exchanged(prompt)) == prompt
    assert exchanged("[V] {class_noun}, [V2]") == "[V2] {class_noun2}, [V1]"


@pytest.mark.parametrize("name", ["[V1]", "[V2]"])
def test_there_is_no_second_where_there_is_one(name: str) -> None:
    with pytest.raises(UserError, match=r"names \[V\d\], and there is one subject"):
        ONE.filled(f"a [V] robot and a {name} cat")


@pytest.mark.parametrize(
    ("prompt", "lacks"), [("a [V1] robot", "[V2]"), ("a [V] robot", "[V2]"), ("a [V2] cat", "[V1]")]
)
def test_both_have_to_be_named_where_both_are_needed(prompt: str, lacks: str) -> None:
    with pytest.raises(UserError) as refused:
        TWO.check_named(prompt, "test_prompts")
    assert str(refused.value).startswith("test_prompts: ")
    assert f"lacks {lacks}" in str(refused.value)
    TWO.check_named("a [V1] robot and a [V2] cat", "test_prompts")
    ONE.check_named("a [V] robot", "test_prompts")


def test_a_prompt_names_somebody() -> None:
    with pytest.raises(UserError, match="names neither subject"):
        TWO.read("a robot and a cat")


def test_words_have_to_be_tokens_that_differ() -> None:
    backbone = StableDiffusionBackbone("mini")
    TWO.check(backbone)
    with pytest.raises(UserError, match=r"companion\.token 'sks' is the token of the first"):
        Cast(ROBOT, Subject("mini:cat", token="sks")).check(backbone)
    with pytest.raises(UserError, match=r"companion\.token 'sks zwx' is 2 tokens"):
        Cast(ROBOT, Subject("mini:cat", token="sks zwx")).check(backbone)
    with pytest.raises(UserError, match=r"subject\.token 'cat' is part of what is said"):
        Cast(Subject("mini:robot", token="cat"), CAT).check(backbone)
    with pytest.raises(UserError, match=r"companion\.token 'robot' is part of what is said"):
        Cast(ROBOT, Subject("mini:cat", token="robot")).check(backbone)


def test_a_name_inside_a_word_is_none() -> None:
    backbone = StableDiffusionBackbone("mini")
    TWO.check_words("a [V1] robot and a [V2] cat", backbone)
    with pytest.raises(UserError, match=r"\[V2\] has to stand as a word of its own"):
        TWO.check_words("a [V1] robot and a x[V2]x cat", backbone)
