from pathlib import Path

import pytest

from idgen.data.prompts import read_suite, suite_identity, with_token, without_token
from idgen.errors import UserError

DREAMBENCH_FORM = """Classes
dog,dog

Object Prompts

prompt_list = [
'a {0} {1} on a tray'.format(unique_token, class_token),
]

Live Subject Prompts

prompt_list = [
'a {0} {1} in a coat'.format(unique_token, class_token),
"a wet {0} {1}".format(unique_token, class_token),
]
"""


def test_the_token_takes_the_place_of_the_subject() -> None:
    assert with_token("a [V] dog", "sks") == "a sks dog"
    assert without_token("a red [V] dog") == "a red dog"
    with pytest.raises(UserError, match=r"\[V\]"):
        with_token("a dog", "sks")


def test_dreambenchs_form_is_read(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text(DREAMBENCH_FORM)
    assert read_suite(str(path), live=False, class_noun="can") == ["a [V] can on a tray"]
    live = read_suite(str(path), live=True, class_noun="dog")
    assert live == ["a [V] dog in a coat", "a wet [V] dog"]


def test_a_plain_list_is_for_all(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("# my prompts\na [V] dog here\n\na {0} {1} there\n")
    for live in (True, False):
        suite = read_suite(str(path), live=live, class_noun="dog")
        assert suite == ["a [V] dog here", "a [V] dog there"]


def test_the_mini_suite_has_25_prompts_for_each_kind() -> None:
    for live in (True, False):
        suite = read_suite("mini", live=live, class_noun="robot")
        assert len(set(suite)) == 25
        assert all("robot" in prompt for prompt in suite)


def test_a_file_without_prompts_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("nothing\n")
    with pytest.raises(UserError, match="no prompt"):
        read_suite(str(path), live=True, class_noun="dog")
    with pytest.raises(UserError, match="cannot read"):
        read_suite(str(tmp_path / "no.txt"), live=True, class_noun="dog")


def test_a_suites_identity_is_its_templates(tmp_path: Path) -> None:
    first, second = tmp_path / "a.txt", tmp_path / "b.txt"
    first.write_text(DREAMBENCH_FORM)
    second.write_text(DREAMBENCH_FORM)
    assert suite_identity(str(first)) == suite_identity(str(second))
    second.write_text(DREAMBENCH_FORM + "more")
    lists = (["a [V] dog"], ["a [V] dog", "a [V] cat"])
    found = [suite_identity(s) for s in (str(first), str(second), "mini", *lists)]
    assert len(set(found)) == len(found)
    with pytest.raises(UserError, match="cannot read"):
        suite_identity(str(tmp_path / "none.txt"))
