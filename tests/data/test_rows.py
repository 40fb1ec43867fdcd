from dataclasses import replace

import torch

from idgen.data.rows import Rows
from idgen.data.stream import EndlessOrder, places
from idgen.prepare import SubjectViews

MANY = range(4000)


def views(photos: int = 3, composites: int = 0) -> SubjectViews:
    """Two views a photo, and composites of the first one."""
    digests = [str(photo) for photo in range(photos) for _ in range(2)] + ["0"] * composites
    one = torch.zeros(len(digests), 1)
    return SubjectViews(one, one, one, one, one, photo_digests=digests)


def test_by_default_a_row_shows_its_own_view_and_is_told_its_own_features() -> None:
    rows = Rows(views())
    assert rows.at([0, 3, 5], [7, 8, 9]) == ([0, 3, 5], [0, 3, 5])


def test_a_share_of_the_rows_are_composites_all_of_them_in_turn() -> None:
    rows = Rows(views(composites=4), composites=4, share=0.25)
    shown, told = rows.at([1] * len(MANY), MANY)
    pasted = [view for view in shown if view != 1]
    assert 0.22 < len(pasted) / len(MANY) < 0.28
    assert set(pasted) == {6, 7, 8, 9}
    assert told == shown
    assert min(Rows(views(composites=4), 4, 1.0).at([1] * 9, range(9))[0]) >= 6


def test_a_row_may_be_told_of_another_photo_and_never_of_another_view_of_its_own() -> None:
    rows = Rows(views(composites=2), 2, 0.5, other_background=0.3)
    shown, told = rows.at([2] * len(MANY), MANY)
    of_photos = [(s, t) for s, t in zip(shown, told, strict=True) if s == 2]
    others = [t for s, t in of_photos if t != s]
    assert 0.25 < len(others) / len(of_photos) < 0.35
    assert set(others) == {0, 1, 4, 5}
    # A composite's background is another's already.
    assert all(t == s for s, t in zip(shown, told, strict=True) if s >= 6)
    assert 2 not in Rows(views(), other_background=1.0).at([2] * 99, range(99))[1]


def test_it_is_a_function_of_seed_and_place() -> None:
    rows = Rows(views(composites=4), 4, 0.5, 0.5, seed=1)
    whole = rows.at([1] * 64, range(64))
    parts = [rows.at([1], [place]) for place in range(64)]
    assert whole == ([s for (s,), _ in parts], [t for _, (t,) in parts])
    assert replace(rows, seed=2).at([1] * 64, range(64)) != whole


def test_processes_share_no_place_and_lose_none() -> None:
    found = [
        place
        for position in range(3)
        for rank in range(2)
        for place in places(position, 4, rank, 2)
    ]
    assert found == list(range(24))
    one, two = EndlessOrder(5, 4, 0), [EndlessOrder(5, 2, 0, rank, 2) for rank in range(2)]
    assert one.indices(3) == [item for order in two for item in order.indices(3)]
