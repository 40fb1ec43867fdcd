"""Null is refused where a value is needed, and taken where it is one."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from idgen.commands.parser import OneLineParser
from idgen.errors import UserError
from idgen.losses import LossWeights
from idgen.models.tuning import Tuning


class Parts:
    def __init__(
        self,
        count: int = 1,
        needed: int | None = 2,
        weights: LossWeights | None = None,
        tuning: Tuning | None = None,
    ) -> None:
        pass


def parse(folder: Path, given: dict[str, Any]) -> Any:
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump({"parts": given}))
    parser = OneLineParser()
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(Parts, "parts")
    return parser.parse_args([f"--config={path}"])


def lora(**arguments: Any) -> dict[str, Any]:
    return {"class_path": "idgen.models.tuning.LoraTuning", "init_args": arguments}


@pytest.mark.parametrize(
    ("given", "key"),
    [
        ({"count": None}, "parts.count"),
        ({"weights": {"background": None}}, "parts.weights.background"),
        ({"tuning": lora(rank=None)}, "parts.tuning.init_args.rank"),
        (
            {
                "tuning": {
                    "class_path": "idgen.models.tuning.CombinedTuning",
                    "init_args": {"parts": [lora(rank=1), lora(rank=None)]},
                }
            },
            "parts.tuning.init_args.parts[1].init_args.rank",
        ),
    ],
)
def test_null_is_refused_by_its_key(tmp_path: Path, given: dict[str, Any], key: str) -> None:
    with pytest.raises(UserError) as refused:
        parse(tmp_path, given)
    assert str(refused.value) == f"--{key} is null; give it a value, or leave it out"


def test_null_is_taken_where_it_is_a_value(tmp_path: Path) -> None:
    for given in ({}, {"needed": None, "weights": None}, {"tuning": lora(alpha=None)}):
        parsed = parse(tmp_path, given)
        assert parsed.parts.get("count") == 1
