"""Concept preservation and prompt following, judged by a vision-language model.

The two questions of DreamBench++ (Peng et al., 2025, arXiv 2406.16855, section 3), from 0 to 4
each, which its authors found to agree with people better than DINO and CLIP do. The criteria here
are worded anew, and any model can be the judge: compare only what one model judged.
"""

import re
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import torch
from PIL import Image
from torch import Tensor

from idgen.errors import UserError
from idgen.evaluation.observed import Observed
from idgen.evaluation.score import DrawingScore, Values
from idgen.fingerprint import fingerprint_fields
from idgen.metrics.similarity import MeanScore
from idgen.models.vision_language import VisionLanguageModel
from idgen.sampling import DrawingRequest

HIGHEST = 4
_ANSWER = (
    "Name what agrees and what differs, in two or three short sentences. Then end with a line of "
    "its own: 'Score: N', where N is 0, 1, 2, 3 or 4."
)

CONCEPT_PRESERVATION = (
    "The first picture is a photo of one particular {class_noun}. The second is a drawing by a "
    "computer, meant to show the same {class_noun} somewhere else. Judge only whether it is the "
    "same one. Look at its shape and proportions, its colours, its patterns and material, and the "
    "details that set it apart, such as a face or a label. Place, pose, light, size and what is "
    "around it do not matter.\n"
    "0: it is something else, or not there. 1: the kind of thing is right, hardly anything else. "
    "2: some features are the same, others clearly not. 3: nearly the same, with small "
    "differences. 4: it cannot be told from the one in the photo.\n" + _ANSWER
)

PROMPT_FOLLOWING = (
    "The picture is a drawing by a computer for this text: '{prompt}'. Judge only whether it shows "
    "what the text says. Look at each thing that the text names, at the place, at colours and what "
    "is worn, at how things stand to each other, and whether the whole fits the text. How well it "
    "is drawn does not matter.\n"
    "0: it has nothing to do with the text. 1: one thing is there, most are missing. 2: about half "
    "is there. 3: nearly all is there, with a small fault. 4: all is there, and right.\n" + _ANSWER
)

_VERDICT = re.compile(r"score\W*(?:is|of)?\W*(\d+)(?![.,]?\d)(?:\s*/\s*(\d+))?", re.IGNORECASE)
_ALONE = re.compile(r"\W*(\d)\W*")


def read_verdict(answer: str) -> int | None:
    """The number from 0 to 4 that a judge came to.

    The last `Score: N` counts, also as `N/4`, for a judge may repeat the question; else an answer
    that is nothing but a number.

    Returns:
        It; None of an answer that names no such number.
    """
    verdicts = list(_VERDICT.finditer(answer))
    if verdicts:
        number, of = int(verdicts[-1][1]), verdicts[-1][2]
        return number if number <= HIGHEST and of in (None, str(HIGHEST)) else None
    alone = _ALONE.fullmatch(answer)
    return int(alone[1]) if alone and int(alone[1]) <= HIGHEST else None


class JudgedScore(DrawingScore):
    """A question that a judge answers for each drawing, from 0 to 1: its verdict over 4.

    An answer without a verdict gives no score; `note` says how many there were.

    Attributes:
        question: What the judge is asked.
    """

    question: str

    def __init__(self, judge: VisionLanguageModel) -> None:
        """Takes the judge; nothing is loaded yet.

        Args:
            judge: Any image-text-to-text model. Two scores of one model share its weights.
        """
        self.judge = judge

    @property
    def identity(self) -> str:
        """Hash of the judge and of what it is asked."""
        return fingerprint_fields(
            score=super().identity, judge=self.judge.identity, question=self.question
        )

    def check(self) -> None:
        """Finds the judge's files, from the hub where they are not there yet."""
        _ = self.judge.folder

    def start(self, photos: Observed, prompts: int, device: torch.device) -> Self:
        """Loads the judge, and starts at no drawing; a UserError if it takes no instructions."""
        if not self.judge.load(device).chats:
            raise UserError(
                f"{type(self).__name__}.judge: {self.judge.model!r} has no chat template, and so "
                "takes no instructions; give another model"
            )
        self._failures = MeanScore().to(device)
        return super().start(photos, prompts, device)

    def each(self, drawings: Observed) -> Values:
        """Asks about every drawing."""
        shown = zip(drawings.images, drawings.requests, strict=True)
        values = [self._judged(_picture(image), request) for image, request in shown]
        failed = [float(value is None) for value in values]
        self._failures.update(torch.tensor(failed, dtype=torch.float64))
        return values

    def note(self) -> str | None:
        """How many drawings got no verdict, where some did not; to be called on every process."""
        share = self._failures.mean()
        if not share:
            return None
        return (
            f"{self.name}: {share:.0%} of the drawings have no score, for {self.judge.model!r} "
            f"gave no verdict from 0 to {HIGHEST}; give a model that follows instructions"
        )

    def release(self) -> None:
        """Frees the judge."""
        self.judge.release()

    @abstractmethod
    def asked(
        self, drawing: Image.Image, request: DrawingRequest
    ) -> list[tuple[Sequence[Image.Image], str]]:
        """The pictures and the question, once for each verdict on a drawing."""

    def _judged(self, drawing: Image.Image, request: DrawingRequest) -> float | None:
        """The mean of the verdicts that there are, None of none."""
        answers = [self.judge.ask(shown, text) for shown, text in self.asked(drawing, request)]
        verdicts = [v for v in map(read_verdict, answers) if v is not None]
        return sum(verdicts) / len(verdicts) / HIGHEST if verdicts else None


class ConceptPreservation(JudgedScore):
    """Whether a drawing shows the very subject of the photos; range [0, 1], higher is better."""

    name = "concept_preservation"
    question = CONCEPT_PRESERVATION

    def __init__(
        self, judge: VisionLanguageModel, class_noun: str = "subject", photos: int = 1
    ) -> None:
        """Takes the judge; nothing is loaded yet.

        Args:
            judge: Any image-text-to-text model that takes two pictures.
            class_noun: What the subject is called.
            photos: Photos that each drawing is compared with, the first ones; one as in
                DreamBench++, or more for a mean of verdicts.

        Raises:
            UserError: If `photos` is below 1.
        """
        if photos < 1:
            raise UserError(f"ConceptPreservation.photos must be 1 or more; it is {photos}")
        super().__init__(judge)
        self.class_noun = class_noun
        self.photos_compared = photos

    @property
    def identity(self) -> str:
        """Hash of the judge, of what it is asked, and of how many photos."""
        return fingerprint_fields(
            judged=super().identity, class_noun=self.class_noun, photos=self.photos_compared
        )

    def asked(
        self, drawing: Image.Image, request: DrawingRequest
    ) -> list[tuple[Sequence[Image.Image], str]]:
        """Each of some photos beside the drawing."""
        text = self.question.format(class_noun=self.class_noun)
        count = min(self.photos_compared, len(self.photos))
        return [((_picture(self.photos.images[n]), drawing), text) for n in range(count)]


class PromptFollowing(JudgedScore):
    """Whether a drawing shows what its prompt says; range [0, 1], higher is better."""

    name = "prompt_following"
    question = PROMPT_FOLLOWING

    def asked(
        self, drawing: Image.Image, request: DrawingRequest
    ) -> list[tuple[Sequence[Image.Image], str]]:
        """The drawing and its prompt without the subject's token."""
        return [((drawing,), self.question.format(prompt=request.plain_prompt))]


def _picture(image: Tensor) -> Image.Image:
    pixels: Any = image.permute(1, 2, 0).cpu().contiguous().numpy()
    return Image.fromarray(pixels)
