"""What drawings are scored with, as a config says it."""

from collections import Counter

from idgen.errors import UserError
from idgen.evaluation.files import PLACES
from idgen.evaluation.score import Score
from idgen.evaluation.scores import TEST_SCORES
from idgen.metrics.encoders import ClipScorer, DinoScorer
from idgen.pages.scores import FACTS
from idgen.prepare import Inpainter, MaskFiles, Segmenter


class FidelityScores:
    """The models that score drawings against the photos and their prompts.

    Validation computes DINO, CLIP-I and CLIP-T; `test` also the scores that tell overfitting
    from fidelity, what the photos score among themselves, the user's own scores and, of a mini
    subject, how often drawings are truly right.
    """

    def __init__(
        self,
        clip: ClipScorer | None = None,
        dino: DinoScorer | None = None,
        segmenter: Segmenter | None = None,
        scores: list[Score] | None = None,
        inpainter: Inpainter | None = None,
    ) -> None:
        """Takes the scores' encoders, which are never the one that trains.

        Args:
            clip: For CLIP-I and CLIP-T; None for the mini world's. Published numbers use
                `ViT-B-32` with `openai`.
            dino: For DINO; None for the mini world's. Published numbers use
                `facebook/dino-vits16`.
            segmenter: Finds the subject in drawings, for `test`; None for the preparation's.
                Where that takes masks from files, one is needed here for leakage, masked DINO,
                masked CLIP-I and identity accuracy.
            scores: Scores of your own, for `test`.
            inpainter: Takes the subject out of drawings, for `test`; None for the preparation's,
                or where that has none of its own, OpenCV's.
        """
        self.clip = clip or ClipScorer()
        self.dino = dino or DinoScorer()
        self.segmenter = segmenter
        self.scores = scores or []
        self.inpainter = inpainter

    def check(self) -> None:
        """Finds the models' files, encoders' from the hub where they are not there yet.

        Raises:
            UserError: If there is no such model, it cannot be fetched, the segmenter of drawings
                takes masks from files, a score has no name or lacks what it needs, or two have one
                name.
        """
        if isinstance(self.segmenter, MaskFiles):
            raise UserError(
                "fidelity.segmenter: drawings have no mask files; give another than "
                "MaskFiles, such as idgen.prepare.SamSegmenter, or leave it out"
            )
        names = [getattr(score, "name", None) for score in self.scores]
        taken = Counter([*TEST_SCORES, "balance", *FACTS, *PLACES, *names])
        for score, name in zip(self.scores, names, strict=True):
            if not isinstance(name, str) or not name.strip():
                kind = type(score).__name__
                raise UserError(f"fidelity.scores: {kind} has no name; set `name`, such as 'mine'")
            if not isinstance(score.identity, str):
                raise UserError(f"fidelity.scores: the identity of {name!r} has to be a text")
            if taken[name] > 1:
                raise UserError(f"fidelity.scores: the name {name!r} is taken; give yours another")
        self.clip.fetch()
        self.dino.fetch()
        for score in self.scores:
            score.check()
        if self.segmenter is not None:
            _ = self.segmenter.identity
