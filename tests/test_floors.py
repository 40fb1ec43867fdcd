"""The least versions that pyproject.toml takes: each is one, and none is known not to work."""

import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).parents[1]
# What a fit was seen to fail with; `.ci/floors` tries the floors themselves.
DO_NOT_WORK = {"transformers": "5.5.99", "open-clip-torch": "3.2.99"}


def needed() -> list[Requirement]:
    with (ROOT / "pyproject.toml").open("rb") as file:
        return [Requirement(line) for line in tomllib.load(file)["project"]["dependencies"]]


@pytest.mark.parametrize("requirement", needed(), ids=lambda requirement: requirement.name)
def test_a_floor_is_there_and_no_version_that_fails_is_taken(requirement: Requirement) -> None:
    floors = [s.version for s in requirement.specifier if s.operator == ">="]
    assert len(floors) == 1
    assert floors[0] in requirement.specifier
    failing = DO_NOT_WORK.get(requirement.name, "0")
    assert Version(floors[0]) > Version(failing)
