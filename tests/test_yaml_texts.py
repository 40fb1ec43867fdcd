"""YAML of the user's: what a parser would drop in silence, or never finish, is refused by line."""

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from idgen.errors import UserError
from idgen.yaml_texts import load_yaml, own_yaml

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 9)
)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: 1\nb: 2\na: 3\n", "c.yaml, line 3: the key 'a' is there already, in line 1"),
        ("x:\n  - {b: 1, b: 2}\n", "c.yaml, line 2: the key 'b' is there twice"),
        ("a: 1\n'a': 2\n", "line 2: the key 'a'"),
        ("x: &x\n  y: [*x]\n", "c.yaml, line 1: what begins here holds itself"),
        (LAUGHS, "its aliases unfold to 4.9e[+]08 values"),
        ("a: [1\nb: 2\n", "c.yaml, line 2: it is no YAML"),
        ("a:\n\tb: 1\n", "c.yaml, line 2: it is no YAML"),
        ("a: 1\n---\nb: 2\n", "c.yaml, line 2: it is no YAML"),
        ("a: \x00", "c.yaml: it is no YAML"),
        ("a: " + "[" * 5000 + "]" * 5000, "c.yaml"),
        ("a: *b\n", "c.yaml, line 1: it is no YAML"),
        ("a: !!python/object:os.system {}\n", "c.yaml is no YAML"),
        ("a: 2024-02-31\n", "c.yaml is no YAML"),
    ],
)
def test_what_is_refused(text: str, said: str) -> None:
    with pytest.raises(UserError, match=said) as caught:
        load_yaml(text, "c.yaml")
    assert len(str(caught.value)) < 200


def test_aliases_and_merges_are_taken() -> None:
    text = "base: &b {x: 1, y: 2}\nother: &o {z: 3}\nmine:\n  <<: *b\n  <<: *o\n  x: 4\n"
    assert load_yaml(text, "c.yaml")["mine"] == {"x": 4, "y": 2, "z": 3}
    # The same word in two places, and 1 beside '1', are no repetition.
    assert load_yaml("a: {b: 1}\nc: {b: 2}\n1: x\n'1': y\n", "c.yaml")["1"] == "y"
    assert load_yaml("", "c.yaml") is None


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@given(VALUES)
def test_all_else_is_what_yaml_says(value: object) -> None:
    assert load_yaml(yaml.safe_dump(value), "c.yaml") == value


def test_what_idgen_wrote_is_read_as_python_would() -> None:
    written = {"a": [1, 1.5e-3, None, True], "ключ": "snow ☃ 🤖", "b": {"c": "1e-3"}, "d": ".nan"}
    text = yaml.safe_dump(written, sort_keys=False, allow_unicode=True)
    assert own_yaml(text) == yaml.safe_load(text) == written
    with pytest.raises(yaml.YAMLError):
        own_yaml("a: [")
