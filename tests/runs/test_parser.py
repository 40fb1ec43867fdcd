"""The parser, where the command line's own tests do not reach."""

from typing import Any, Union

import pytest

from idgen.runs.parser import OneLineParser


class Limits:
    """In the order that `typing` may give Lightning's own limits, whatever Lightning wrote."""

    def __init__(
        self,
        batches: Union[float, int, None] = None,  # noqa: UP007
        share: float | int | str = 1.0,
        rate: float = 1.0,
    ) -> None:
        pass


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("batches=1", 1),
        ("batches=1.0", 1.0),
        ("batches=0.5", 0.5),
        ("batches=null", None),
        ("share=2", 2),
        ("share=all", "all"),
        ("rate=3", 3.0),
    ],
)
def test_a_whole_number_stays_one(option: str, value: Any) -> None:
    parser = OneLineParser()
    parser.add_class_arguments(Limits, "limits")
    parsed = parser.parse_args([f"--limits.{option}"]).limits[option.partition("=")[0]]
    assert (type(parsed), parsed) == (type(value), value)
