"""What jsonargparse says of values, in plain words: through the parser of `idgen fit`."""

from functools import cache
from pathlib import Path

import pytest

from idgen.errors import UserError
from idgen.runs.freezing import ConfigReader
from idgen.runs.plain_errors import said_plainly
from idgen.shipped import shipped_configs

BASE = shipped_configs() / "base.yaml"
SOURCE, BUCKETS = "model.backbone.init_args.source", "data.preparation.init_args.buckets"


@cache
def reader() -> ConfigReader:
    return ConfigReader()


def refusal(*configs: str, **settings: str) -> str:
    with pytest.raises(UserError) as raised:
        reader().read([str(BASE), *configs], settings)
    return str(raised.value)


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        (f"{SOURCE}.config", "folder", f"--{SOURCE}.file is missing; give it too"),
        (f"{SOURCE}.fiel", "a", "Option 'fiel' is not accepted; did you mean 'file'?"),
        (SOURCE, "[a, b]", f"--{SOURCE} has to hold keys of its own, such as source.file and"),
        ("data.preparation.buckets", "true", "({} for the usual ones), or to be null, not true"),
        ("data.preparation.buckets", "[512]", f"--{BUCKETS} has to hold keys of its own, such as"),
        ("data.preparation.buckets.steps", "64", "did you mean 'step'?"),
        ("data.preparation.buckets.colour", "1", "there are max_aspect, step"),
        ("data.preparation.buckets.step", "2.5", f"--{BUCKETS}.step has to be a whole number, or"),
        ("data.preparation.buckets.max_aspect", "wide", ".max_aspect has to be a number, not wide"),
    ],
)
def test_a_value_that_is_none(key: str, value: str, said: str) -> None:
    line = refusal(**{key: value})
    assert said in line
    assert line.startswith("--")
    assert "class" not in line
    assert "Namespace" not in line


def test_the_file_that_has_the_key_is_named(tmp_path: Path) -> None:
    config = tmp_path / "own.yaml"
    config.write_text("data:\n  preparation:\n    buckets: true\n")
    assert refusal(str(config)).startswith(f"{config}: --data.preparation")


@pytest.mark.parametrize(
    "line",
    ["something else", 'Parser key "a": Something else', "Problem with given class_path 'a.B': x"],
)
def test_what_is_not_known_stays_as_it_is(line: str) -> None:
    assert said_plainly(line, lambda key: None) is None
