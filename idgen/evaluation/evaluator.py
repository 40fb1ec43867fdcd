"""Scores a suite's drawings, over all processes: loads, observes, scores, finishes."""

from contextlib import ExitStack
from dataclasses import asdict

import torch

from idgen import __version__
from idgen.errors import UserError
from idgen.evaluation.drawing import Evaluation, Means, ScoredDrawing, of_all_processes
from idgen.evaluation.fidelity import FidelityScores
from idgen.evaluation.observed import Observed, Observer
from idgen.evaluation.protocol import PAIRING, Protocol
from idgen.evaluation.score import Score, Values
from idgen.evaluation.scores import (
    FIDELITY,
    TEST_SCORES,
    copying_scores,
    fidelity_scores,
    overfitting_scores,
    photo_scores,
)
from idgen.evaluation.suite import Suite
from idgen.metrics.balance import balance
from idgen.mini.truth import PAIR_SCORES, TRUE_MASKS, MiniTruth, PairTruth, Shown
from idgen.prepare import Inpainter, MaskFiles, Segmenter
from idgen.prepare.segmenters.own_masks import without_own
from idgen.prepare.segmenters.segmenter import of_drawings
from idgen.sampling import Drawings

_OF_PHOTOS = "leakage, masked DINO, masked CLIP-I"
_OF_ONE = (
    "leakage, masked DINO and masked CLIP-I are left empty: a drawing of two subjects has no mask "
    "of one"
)
_OF_MASKS = f"{_OF_PHOTOS}, identity accuracy and other true scores of subjects"


class Evaluator:
    """Turns drawings into scores: `start` or `start_test`, `add` batches, `finish`.

    Every process adds its own share. The encoders stay out of the LightningModule, so that
    neither its checkpoints nor its optimizer see them, and on the device only while images are
    scored. Between a fit's validations they rest in the host's memory.

    Attributes:
        undefined: Why some scores do not exist, for the user: in what was started, or once it is
            finished, of some drawings.
    """

    def __init__(self, fidelity: FidelityScores) -> None:
        """Takes what to score with; nothing is loaded yet."""
        self.fidelity = fidelity
        self.undefined: list[str] = []
        self._truth: MiniTruth | None = None
        self._pair_truth: PairTruth | None = None
        self._scores: list[Score] = []
        self._scored: list[ScoredDrawing] = []
        self._photo_scores: Means = {}
        self._protocol: Protocol | None = None
        self._names: tuple[str, ...] = ()
        self._observer = Observer(fidelity.clip, fidelity.dino)
        self._loaded = ExitStack()

    def learn_truth(self, suite: Suite, device: torch.device, shown: Shown = iter) -> None:
        """Does, before any other work of `test`, what `MiniTruth.of` or `PairTruth.of` does."""
        dino, other = self.fidelity.dino, suite.companion
        if other is None:
            self._truth = MiniTruth.of(suite.folder, dino, device, shown)
        else:
            folders = (suite.folder, other.folder)
            self._pair_truth = PairTruth.of(folders, other.tokens, dino, self.fidelity.clip, device)

    def start(self, suite: Suite, device: torch.device) -> None:
        """Loads the encoders for the scores that validation shows.

        Args:
            suite: What is drawn.
            device: Where to score.

        Raises:
            UserError: If a model cannot be had, or the photos cannot be used.
        """
        self._load_encoders(device)
        photos = Observed(suite.pictures(), self._observer)
        self._begin(fidelity_scores(), photos, suite, device)

    def start_test(self, suite: Suite, device: torch.device) -> None:
        """Does what `start` does for `test`; `undefined` says which scores there cannot be."""
        self._load_encoders(device)
        segmenter = self._load_segmenter(suite, device)
        photos, taken_apart_by = self._observe_photos(suite)
        truth, scores = self._truth, fidelity_scores()
        if suite.companion is not None:
            self._say(_OF_ONE)
            scores += copying_scores()
            scores += [] if self._pair_truth is None else self._pair_truth.scores()
        elif truth is None:
            scores += overfitting_scores()
        else:
            scores += [*overfitting_scores(truth.wants_a_photos_scene), *truth.scores()]
        self._begin([*scores, *self.fidelity.scores], photos, suite, device)
        of_two = () if self._pair_truth is None else PAIR_SCORES
        self._names = (*TEST_SCORES, *of_two, *(score.name for score in self.fidelity.scores))
        self._photo_scores = photo_scores(photos)
        self._protocol = self._describe(suite, segmenter, taken_apart_by)

    def add(self, drawings: Drawings) -> None:
        """Scores and keeps a batch, perhaps empty; UserError if a score lacks a drawing's value."""
        seen = Observed(drawings.images, self._observer, drawings.requests)
        scored = ScoredDrawing.each(drawings)
        for score in self._scores:
            values = score.add(seen)
            if len(values) != len(scored):
                gave = f"{score.name!r} gave {len(values)} values for {len(scored)} drawings"
                raise UserError(f"fidelity.scores: {gave}; it has to give one each, or None")
            for drawing, value in zip(scored, values, strict=True):
                drawing.scores[score.name] = value
        self._scored += scored

    def finish(self, rests: bool = False) -> Evaluation:
        """Computes the scores over all processes and frees what was loaded; call it on all.

        Args:
            rests: Whether the encoders stay in the host's memory, for the next time, until
                `release`.
        """
        # The states are summed over processes here.
        found = {score.name: score.result() for score in self._scores}
        requests = [drawing.request for drawing in self._scored]
        for score in self._scores:
            column: Values = [drawing.scores[score.name] for drawing in self._scored]
            completed = score.completed(requests, column)
            for drawing, value in zip(self._scored, completed, strict=True):
                drawing.scores[score.name] = value
        dino, clip_t = found["dino"], found["clip_t"]
        scores: Means = {
            **{name: found[name] for name in FIDELITY},
            "balance": None if dino is None or clip_t is None else balance(dino, clip_t),
            **{name: found.get(name) for name in self._names if name not in FIDELITY},
        }
        self.undefined = [note for score in self._scores if (note := score.note())]
        drawings = of_all_processes(self._scored)
        self._let_go()
        for encoder in (self.fidelity.clip, self.fidelity.dino):
            encoder.rest() if rests else encoder.release()
        return Evaluation(drawings, scores, self._photo_scores, self._protocol)

    def release(self) -> None:
        """Frees what was loaded."""
        self._let_go()
        self.fidelity.clip.release()
        self.fidelity.dino.release()

    def _let_go(self) -> None:
        """Frees all but the encoders."""
        for score in self._scores:
            score.release()
        self._scores, self._scored, self._truth, self._pair_truth = [], [], None, None
        self._observer = Observer(self.fidelity.clip, self.fidelity.dino)
        self._loaded.close()

    def _begin(
        self, scores: list[Score], photos: Observed, suite: Suite, device: torch.device
    ) -> None:
        self._scores = [score.start(photos, suite.prompts, device) for score in scores]
        self._names, self._scored = FIDELITY, []
        self._photo_scores, self._protocol = {}, None

    def _load_encoders(self, device: torch.device) -> None:
        self.undefined = []
        clip, dino = self.fidelity.clip.load(device), self.fidelity.dino.load(device)
        self._observer = Observer(clip, dino)

    def _load_segmenter(self, suite: Suite, device: torch.device) -> Segmenter | None:
        """Loads what takes drawings apart, and returns what finds the subject in them."""
        segmenter = without_own(self.fidelity.segmenter or suite.segmenter)
        if isinstance(segmenter, MaskFiles):
            self._say_undefined(
                "drawings have no mask files; give fidelity.segmenter, such as "
                "idgen.prepare.GrabCutSegmenter",
                _OF_MASKS,
            )
            return None
        try:
            segment = self._loaded.enter_context(segmenter.loaded(device, suite.photos()))
            inpaint = self._loaded.enter_context(self._inpainter(suite).loaded(device))
        except UserError as error:
            if self.fidelity.segmenter is not None:
                raise
            self._say_undefined(str(error), _OF_MASKS)
            return None
        clip, dino = self.fidelity.clip, self.fidelity.dino
        self._observer = Observer(clip, dino, of_drawings(segment), inpaint)
        return segmenter

    def _inpainter(self, suite: Suite) -> Inpainter:
        return self.fidelity.inpainter or suite.inpainter

    def _observe_photos(self, suite: Suite) -> tuple[Observed, str | None]:
        """The photos, and the identity of what found their masks; None if they have none."""
        pictures = suite.pictures()
        if self._truth is not None and (parts := self._truth.parts(pictures)) is not None:
            return Observed(pictures, self._observer, (), *parts), TRUE_MASKS
        try:
            masks, backgrounds = suite.parts()
        except UserError as error:
            self._say_undefined(str(error), _OF_PHOTOS)
            nothing = [None] * len(pictures)
            return Observed(pictures, self._observer, (), nothing, nothing), None
        return Observed(pictures, self._observer, (), masks, backgrounds), suite.segmenter.identity

    def _say_undefined(self, reason: str, scores: str) -> None:
        self._say(f"{scores} are left empty: {reason}")

    def _say(self, note: str) -> None:
        self.undefined.append(note)

    def _describe(
        self, suite: Suite, segmenter: Segmenter | None, taken_apart_by: str | None
    ) -> Protocol:
        clip, dino, sampler = self.fidelity.clip, self.fidelity.dino, suite.sampler
        return Protocol(
            dino=dino.model,
            dino_revision=dino.revision,
            dino_identity=dino.identity,
            dino_preprocessing=asdict(dino.preprocessing),
            clip=clip.model,
            clip_revision=clip.pretrained,
            clip_identity=clip.identity,
            clip_preprocessing=asdict(clip.preprocessing),
            pairing=PAIRING,
            photo_segmenter=taken_apart_by,
            segmenter=None if segmenter is None else segmenter.identity,
            inpainter=None if segmenter is None else self._inpainter(suite).identity,
            sampler={"name": type(sampler).__name__, **sampler.settings},
            drawing_seed=suite.drawing_seed,
            prompts=suite.prompts_identity,
            images_per_prompt=suite.images_per_prompt,
            idgen_version=__version__,
            scores={score.name: score.identity for score in self.fidelity.scores},
            limit=suite.limit,
        )
