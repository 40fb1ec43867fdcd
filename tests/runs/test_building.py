"""Null is refused where a value is needed, at any depth, and taken where it is one."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from idgen.data.class_images import ClassImages
from idgen.errors import UserError
from idgen.models.tuning import LoraTuning, Tuning
from idgen.runs.building import build, note_parts, part_of
from idgen.runs.parser import OneLineParser, keys_in_errors, one_line_errors
from idgen.terms import Term


class Parts:
    def __init__(
        self,
        count: int = 1,
        needed: int | None = 2,
        images: ClassImages | None = None,
        terms: dict[str, Term | None] | None = None,
        tuning: Tuning | None = None,
    ) -> None:
        self.count = count
        self.tuning = tuning


class Kind:
    """A part with arguments of the names that `build` has for its own."""

    def __init__(self, kind: str = "", others: int = 0, values: int = 0) -> None:
        self.given = (kind, others, values)


def built(folder: Path, given: dict[str, Any]) -> Any:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"parts": given}))
    parser = OneLineParser()
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(Parts, "parts")
    note_parts(parser)
    parsed = parser.parse_args([f"--config={path}"])
    with keys_in_errors(lambda: parsed), one_line_errors():
        return parser.instantiate_classes(parsed).parts


def part(path: str, **arguments: Any) -> dict[str, Any]:
    return {"class_path": path, "init_args": arguments}


def lora(**arguments: Any) -> dict[str, Any]:
    return part("idgen.models.tuning.LoraTuning", **arguments)


COMBINED = part("idgen.models.tuning.CombinedTuning", parts=[lora(rank=1), lora(rank=None)])


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"count": None}, "parts.count"),
        ({"images": {"count": None}}, "parts.images.count"),
        (
            {"terms": {"diffusion": part("idgen.terms.Diffusion", background=None)}},
            "parts.terms.diffusion.init_args.background",
        ),
        ({"tuning": lora(rank=None)}, "parts.tuning.init_args.rank"),
        ({"tuning": COMBINED}, "parts.tuning.init_args.parts[1].init_args.rank"),
    ],
)
def test_null_is_refused_by_its_key(tmp_path: Path, given: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError) as refused:
        built(tmp_path, given)
    assert str(refused.value) == f"--{key} is null; give it a value, or leave it out"


def test_null_is_taken_where_it_is_a_value(tmp_path: Path) -> None:
    for given in ({}, {"needed": None, "images": None}, {"terms": {"diffusion": None}}):
        assert built(tmp_path, given).count == 1
    tuning = built(tmp_path, {"tuning": lora(alpha=None)}).tuning
    assert isinstance(tuning, LoraTuning)


def test_null_is_taken_of_what_says_nothing_of_its_values() -> None:
    class Foreign:
        def __init__(self, untyped="x", lying: int = None) -> None:  # type: ignore # noqa
            self.given = (untyped, lying)

    assert build(Foreign, untyped=None, lying=None).given == (None, None)


def test_an_error_keeps_the_innermost_part_in_mind() -> None:
    class Outer:
        def __init__(self, rank: int) -> None:
            build(LoraTuning, rank=rank)

    with pytest.raises(ValueError, match="rank") as refused:
        build(Outer, rank=0)
    found = part_of(refused.value)
    assert found is not None
    assert found.kind is LoraTuning
    assert found.values == {"rank": 0}


def test_arguments_may_have_any_name() -> None:
    assert build(Kind, kind="round", others=1, values=2).given == ("round", 1, 2)
