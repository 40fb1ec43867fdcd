"""Room for one lock a subject."""

import resource
from collections.abc import Iterator

import pytest

from idgen.errors import UserError
from idgen.prepare.open_files import allow_locks


@pytest.fixture
def limits() -> Iterator[tuple[int, int]]:
    """The process's limits of open files, as they are again afterwards."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def _limit() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def test_a_low_limit_is_raised(limits: tuple[int, int]) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (300, limits[1]))
    allow_locks(200)
    assert _limit() >= 200 + 256


def test_enough_stays_as_it_is(limits: tuple[int, int]) -> None:
    resource.setrlimit(resource.RLIMIT_NOFILE, (700, limits[1]))
    allow_locks(200)
    assert _limit() == 700


def test_a_limit_that_cannot_be_raised_is_named(
    limits: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda kind: (300, 400))
    with pytest.raises(
        UserError, match="200 subjects at once need 456 open files, and at most 400"
    ):
        allow_locks(200)
