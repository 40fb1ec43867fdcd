"""Judged scores, by a judge whose answers are known, and by a whole small model."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from idgen.errors import UserError
from idgen.evaluation.fidelity import FidelityScores
from idgen.evaluation.judge import (
    ConceptPreservation,
    JudgedScore,
    PromptFollowing,
    read_verdict,
)
from idgen.evaluation.observed import Observed, Observer
from idgen.models.vision_language import VisionLanguageModel
from idgen.sampling import DrawingRequest
from tests.models.tiny_judge import save_judge

CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ("The shape agrees.\nScore: 3", 3),
        ("**Score:** 4", 4),
        ("You asked for 'Score: N'. Score: 2/4.", 2),
        ("score is 0", 0),
        ("Score: 1. Then again, Score: 2", 2),
        (" 3. ", 3),
        ("3/5", None),
        ("Score: 3.5", None),
        ("Score: 7", None),
        ("Score: 3/10", None),
        ("Score: 10", None),
        ("It has 3 legs.", None),
        ("9", None),
        ("", None),
    ],
)
def test_what_an_answer_says(answer: str, verdict: int | None) -> None:
    assert read_verdict(answer) == verdict


class Judge(VisionLanguageModel):
    """Answers by a picture's red, and notes what it was asked."""

    def __init__(self) -> None:
        super().__init__("known")
        self.questions: list[tuple[list[Any], str]] = []
        self.released = 0

    chats = True

    def load(self, device: torch.device) -> "Judge":
        return self

    def release(self) -> None:
        self.released += 1

    def ask(self, pictures: Sequence[Image.Image], question: str) -> str:
        reds = [picture.getpixel((0, 0)) for picture in pictures]
        self.questions.append((reds, question))
        level = reds[-1][0]  # type: ignore[index]
        return f"I see.\nScore: {level}" if level < 200 else "I would rather not say."


def pictures(*reds: int) -> Observed:
    images = torch.zeros(len(reds), 3, 8, 8, dtype=torch.uint8)
    images[:, 0] = torch.tensor(reds, dtype=torch.uint8)[:, None, None]
    requests = [DrawingRequest("a sks cat {}", "a cat {}", 0, n, 0) for n in range(len(reds))]
    observer = Observer(None, None)  # type: ignore[arg-type]
    return Observed(images, observer, requests)


def test_verdicts_are_averaged_and_missing_ones_are_counted() -> None:
    judge = Judge()
    score = PromptFollowing(judge).start(pictures(7), 1, CPU)
    assert score.add(pictures(4, 250, 1)) == [1.0, None, 0.25]
    assert score.add(pictures(9)) == [None]
    assert score.add(pictures()) == []
    assert score.result() == pytest.approx((1 + 0.25) / 2)
    note = score.note()
    assert note is not None
    assert note.startswith("prompt_following: 50% of the drawings have no score, for 'known'")
    assert {question for _, question in judge.questions} == {judge.questions[0][1]}
    assert "'a cat {}'" in judge.questions[0][1]
    score.release()
    assert judge.released == 1


def test_a_drawing_is_compared_with_each_of_some_photos() -> None:
    judge = Judge()
    score = ConceptPreservation(judge, "cat", photos=2).start(pictures(7, 8, 9), 1, CPU)
    assert score.add(pictures(3)) == [0.75]
    assert [[red[0] for red in reds] for reds, _ in judge.questions] == [[7, 3], [8, 3]]
    assert "one particular cat" in judge.questions[0][1]
    assert score.note() is None
    lone = ConceptPreservation(judge, "cat", photos=5).start(pictures(7), 1, CPU)
    assert lone.add(pictures(2)) == [0.5]
    with pytest.raises(UserError, match=r"ConceptPreservation\.photos must be 1 or more"):
        ConceptPreservation(judge, photos=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_judge(tmp_path_factory.mktemp("judge"))


def test_a_model_of_transformers_judges(folder: Path) -> None:
    judges = [VisionLanguageModel(str(folder), max_tokens=4) for _ in range(2)]
    scores: list[JudgedScore] = [
        PromptFollowing(judges[0]),
        ConceptPreservation(judges[1], "cat"),
    ]
    FidelityScores(scores=[*scores]).check()
    assert scores[0].identity != scores[1].identity
    for score in scores:
        # Random weights: what it says is no verdict, but it says it to the end.
        values = score.start(pictures(7), 1, CPU).add(pictures(3, 250))
        assert values == [None, None]
        assert score.result() is None
        assert "100%" in (score.note() or "")
    answer = judges[0].ask([Image.new("RGB", (900, 20))], "where ?")
    assert answer == judges[1].ask([Image.new("RGB", (900, 20))], "where ?")
    assert judges[0]._network is judges[1]._network
    for score in scores:
        score.release()
    with pytest.raises(RuntimeError, match="call load"):
        judges[0].ask([], "where ?")


def test_what_is_no_judge_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^VisionLanguageModel.model: there is no folder './none'"):
        FidelityScores(scores=[PromptFollowing(VisionLanguageModel("./none"))]).check()
    with pytest.raises(UserError, match=r"config.json is missing"):
        FidelityScores(scores=[PromptFollowing(VisionLanguageModel(str(tmp_path)))]).check()
    with pytest.raises(UserError, match="max_tokens must be 1 or more"):
        VisionLanguageModel("x", max_tokens=0)
    silent = save_judge(tmp_path / "silent", chat=False)
    with pytest.raises(UserError, match=r"^PromptFollowing.judge: .* has no chat template"):
        PromptFollowing(VisionLanguageModel(str(silent))).start(pictures(7), 1, CPU)
    judge = VisionLanguageModel(str(folder)).load(CPU)
    with pytest.raises(UserError, match="cannot answer to pictures and a question"):
        judge.ask([], "<image> <image>")
