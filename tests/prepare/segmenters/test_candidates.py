from itertools import permutations

import pytest
import torch

from idgen.prepare.segmenters.candidates import (
    KEPT,
    Candidates,
    choose,
    is_chosen_alone,
    keep_best,
    score_candidates,
)

SIDE = 32


def box(top: int, left: int, bottom: int, right: int) -> torch.Tensor:
    mask = torch.zeros(SIDE, SIDE, dtype=torch.bool)
    mask[top:bottom, left:right] = True
    return mask


SUBJECT = box(8, 9, 24, 23)


def best(*others: torch.Tensor, quality: float = 0.9) -> int:
    """Which of a prompt's candidates wins, the subject being the first, as three prompts see it."""
    candidates = torch.stack([SUBJECT, *others])
    masks = torch.stack([candidates, candidates, candidates])
    predicted = torch.full(masks.shape[:2], 0.9)
    predicted[:, 1:] = quality
    scores = score_candidates(masks, predicted)
    assert scores.shape == (masks.shape[0] * masks.shape[1],)
    return int(scores.argmax()) % len(candidates)


@pytest.mark.parametrize(
    "other",
    [
        ~SUBJECT,
        torch.ones_like(SUBJECT),
        torch.zeros_like(SUBJECT),
        box(0, 0, 6, SIDE),
        box(26, 0, SIDE, SIDE),
        box(0, 0, 12, 12),
        box(15, 15, 17, 17),
    ],
    ids=["ground", "all", "nothing", "sky", "floor", "corner", "speck"],
)
def test_the_subject_wins_at_equal_quality(other: torch.Tensor) -> None:
    assert best(other) == 0


def test_quality_decides_between_alike() -> None:
    assert best(box(8, 9, 23, 23), quality=0.99) == 1
    assert best(box(8, 9, 23, 23), quality=0.8) == 0


def test_what_more_prompts_find_wins() -> None:
    once = box(6, 16, 22, 30)
    shared = once.flip(1)
    masks = torch.stack([shared, shared, shared, once])[:, None]
    scores = score_candidates(masks, torch.full((4, 1), 0.9))
    assert scores[0] > scores[3]


def test_score_by_hand() -> None:
    masks = torch.stack([SUBJECT, ~SUBJECT])[:, None]
    scores = score_candidates(masks, torch.tensor([[0.5], [0.25]]))
    share = 16 * 14 / SIDE**2
    # Both are centred, and they are disjoint: each agrees with its own prompt alone.
    agreement = (1 + 0) / 2
    ground = (0.95 - (1 - share)) / 0.25
    expected = [0.5 + agreement + 1 + 1 - 0, ground * (0.25 + agreement + 1 + 1 - 1)]
    torch.testing.assert_close(scores, torch.tensor(expected))


def test_nearly_equal_masks_are_looked_at_once() -> None:
    masks = torch.stack([SUBJECT, box(8, 9, 24, 22), box(0, 0, 6, SIDE), SUBJECT])
    assert keep_best(masks, torch.tensor([0.5, 0.6, 0.1, 0.7])) == [3, 2]
    many = torch.stack([box(row, 0, row + 1, SIDE) for row in range(SIDE)])
    assert keep_best(many, torch.arange(SIDE).float()) == list(range(SIDE - 1, -1, -1))[:KEPT]
    assert keep_best(torch.zeros(2, 4, 4, dtype=torch.bool), torch.zeros(2))


def seen(*embeddings: tuple[float, float], scores: tuple[float, ...] = (3.0, 2.9)) -> Candidates:
    count = len(embeddings)
    embedded = torch.nn.functional.normalize(torch.tensor(embeddings), dim=1)
    return Candidates(torch.zeros(count, 4, 4), torch.tensor(scores[:count]), embedded)


SHARED, ONE, TWO, THREE = (1.0, 0.0), (0.2, 1.0), (-1.0, 0.3), (-0.5, -1.0)


def test_what_the_photos_share_wins() -> None:
    photos = {"a": seen(ONE, SHARED), "b": seen(SHARED, TWO), "c": seen(THREE, SHARED)}
    chosen = {digest: choose(digest, photos) for digest in "abc"}
    assert list(chosen.values()) == [1, 0, 1]
    # By quality alone each photo's first candidate would have been taken.
    alone = [is_chosen_alone(digest, photos, chosen[digest]) for digest in "abc"]
    assert alone == [False, True, False]


def test_a_choice_depends_on_no_order_and_not_on_itself_alone() -> None:
    photos = {"a": seen(ONE, SHARED), "b": seen(SHARED, TWO), "c": seen(THREE, SHARED)}
    for order in permutations("abc"):
        assert choose("a", {digest: photos[digest] for digest in order}) == 1
    assert choose("a", {"a": photos["a"]}) == 0


def test_incredible_candidates_of_others_do_not_count() -> None:
    weak = {"a": seen(ONE, SHARED), "b": seen(TWO, SHARED, scores=(3.0, 0.5))}
    strong = {"a": seen(ONE, SHARED), "b": seen(TWO, SHARED, scores=(3.0, 2.9))}
    assert choose("a", strong) == 1
    assert choose("a", weak) == choose("a", {"a": weak["a"]}) == 0


def test_the_noun_decides_between_alike() -> None:
    scores = torch.tensor([3.0, 2.8])
    candidates = Candidates(torch.zeros(2, 4, 4), scores, noun=torch.tensor([0.20, 0.25]))
    assert choose("a", {"a": candidates}) == 1
    assert choose("a", {"a": Candidates(candidates.logits, scores)}) == 0
