"""What a parameter of a sweep may be: values, a range, or whole overlays."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from idgen.benchmark.config import Setting
from idgen.errors import UserError
from idgen.shipped import config_file

_MOST_GRID = 10_000


@dataclass
class Parameter:
    """One parameter's space: give `values`, or `low` and `high`, or `overlays`.

    Attributes:
        values: To choose from, such as `[4, 8, 16]`.
        low: The least of a range; whole numbers give whole numbers.
        high: The largest.
        log: Whether the range is searched by its logarithm, as rates are.
        step: Distance of a range's numbers; None for any number, or for 1 between whole ones.
        overlays: Choices by name, each a list of configs that are laid over, such as
            `{lora: [configs/method/lora.yaml], ours: []}`. The parameter's own name is free then.
    """

    values: list[Setting] | None = None
    low: int | float | None = None
    high: int | float | None = None
    log: bool = False
    step: int | float | None = None
    overlays: dict[str, list[str]] | None = None

    def __post_init__(self) -> None:
        """Finds the shipped configs."""
        if self.overlays is not None:
            self.overlays = {
                name: [config_file(path) for path in paths] for name, paths in self.overlays.items()
            }

    def check(self, key: str) -> None:
        """Refuses a space that says nothing, or contradicts itself.

        Args:
            key: The parameter's, for the error.

        Raises:
            UserError: If it does.
        """
        kinds = {
            "values": self.values is not None,
            "low and high": self.low is not None or self.high is not None,
            "overlays": self.overlays is not None,
        }
        given = [name for name, there in kinds.items() if there]
        if len(given) != 1:
            what = f"gives {' and '.join(given)}" if given else "says nothing"
            raise UserError(f"space.{key}: it {what}; give one of {', '.join(kinds)}")
        choices = self.values if self.overlays is None else self.overlays
        if choices is not None:
            if not choices:
                raise UserError(f"space.{key}: it is empty; give one value or more")
            if isinstance(choices, list) and any(choices.count(value) > 1 for value in choices):
                raise UserError(f"space.{key}: a value stands there twice; take one away")
            if self.log or self.step is not None:
                raise UserError(f"space.{key}: log and step belong to a range; leave them out")
            return
        self._check_range(key)

    def _check_range(self, key: str) -> None:
        low, high = self.low, self.high
        if low is None or high is None:
            raise UserError(f"space.{key}: a range needs low and high")
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise UserError(f"space.{key}: low has to be under high; they are {low} and {high}")
        if self.log and low <= 0:
            raise UserError(f"space.{key}: with log, low has to be above 0; it is {low}")
        if self.step is not None and (self.log or not 0 < self.step <= high - low):
            raise UserError(
                f"space.{key}: step has to be above 0, within the range, and without log; "
                f"it is {self.step}"
            )

    @property
    def is_range(self) -> bool:
        """Whether it is a range of numbers."""
        return self.low is not None

    @property
    def choices(self) -> list[Any]:
        """The values, or the overlays' names; of a range with steps, its numbers; else none."""
        if self.overlays is not None:
            return list(self.overlays)
        if self.values is not None:
            return list(self.values)
        low, high, step = self.low, self.high, self.step
        assert low is not None
        assert high is not None
        if step is None and not self.is_whole:
            return []
        step = step or 1
        return [low + at * step for at in range(int((high - low) / step + 1e-9) + 1)]

    @property
    def size(self) -> int:
        """How many `choices` there are, without making them."""
        if not self.is_range:
            return len(self.choices)
        assert self.low is not None
        assert self.high is not None
        if self.step is None and not self.is_whole:
            return 0
        return int((self.high - self.low) / (self.step or 1) + 1e-9) + 1

    @property
    def is_whole(self) -> bool:
        """Whether a range holds whole numbers alone."""
        given = (self.low, self.high, 1 if self.step is None else self.step)
        return all(isinstance(number, int) for number in given)

    @property
    def edges(self) -> list[Any]:
        """What is tried of it before any work: all choices, or the ends of a range."""
        return [self.low, self.high] if self.is_range else self.choices


def grid(space: dict[str, Parameter]) -> list[dict[str, Any]]:
    """All combinations, the last parameter changing first.

    Raises:
        UserError: If a parameter is a range without steps, or there are too many.
    """
    for key, parameter in space.items():
        if not parameter.size:
            raise UserError(
                f"space.{key}: a grid needs values; give some, or a step, or another sampler"
            )
    count = math.prod(parameter.size for parameter in space.values())
    if count > _MOST_GRID:
        raise UserError(f"space: its grid has {count} points; {_MOST_GRID} are taken at most")
    choices: Sequence[Sequence[Any]] = [parameter.choices for parameter in space.values()]
    return [dict(zip(space, point, strict=True)) for point in product(*choices)]
