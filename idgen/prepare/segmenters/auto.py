"""The default for photographs: the best of what is at hand, which look at each other's masks."""

import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from idgen.errors import UserError
from idgen.fingerprint import fingerprint_fields
from idgen.masks import Mask, Picture, overlap, tidy
from idgen.placeholders import check_words
from idgen.prepare.photos import Photo
from idgen.prepare.segmenters.class_noun import ClassNouns
from idgen.prepare.segmenters.detector import BoxDetector, Detect
from idgen.prepare.segmenters.finding import Find, Finding
from idgen.prepare.segmenters.grabcut import GrabCutSegmenter
from idgen.prepare.segmenters.promptable import PromptableNetwork
from idgen.prepare.segmenters.prompts import (
    Box,
    PromptedSegmenter,
    placed_prompts,
    prompted_key,
    prompts_of,
)
from idgen.prepare.segmenters.saliency import (
    Looks,
    Salience,
    SaliencySegmenter,
    box_of,
    look_twice,
    prompted,
    within,
)
from idgen.prepare.segmenters.sam import Sam2Segmenter, SamSegmenter, full_mask, prompted_mask
from idgen.prepare.segmenters.segmenter import Segment

DETECTOR = "IDEA-Research/grounding-dino-tiny"
_VERSION = 1
_AGREE = 0.7
"""Below this IoU, two masks are of different things, or of a thing and a part of it."""
_log = logging.getLogger(__name__)


class AutoSegmenter(PromptedSegmenter):
    """A noun's box, what is salient in it, and SAM 2's answer to it, as far as they are at hand.

    With a class noun, a detector's box around it says where to look. What is salient there, and
    what SAM 2 answers to that box, are candidates; the one is taken that fills the box best and
    agrees most with the others. Where they disagree, that is a doubt on the contact sheet.
    Without a noun, what is salient stands in for the box. Whatever cannot be had is named once,
    and the others go on; without any of them, GrabCut is used, with a warning.

    `prompts.yaml` wins: SAM 2 answers it, or else `SaliencySegmenter`, or else GrabCut.
    """

    def __init__(
        self,
        saliency: SaliencySegmenter | None = None,
        detector: BoxDetector | None = None,
        sam: SamSegmenter | None = None,
        class_noun: str | None = None,
        class_nouns: Path | None = None,
    ) -> None:
        """Notes the parts; their weights are loaded by `loaded`.

        Args:
            saliency: Finds salient objects; None for ISNet.
            detector: Finds the noun's box; None for Grounding DINO (tiny).
            sam: Answers the box; None for SAM 2.1 (small).
            class_noun: What the subject is, such as `dog`; of all subjects that `class_nouns` does
                not list and whose photos have no `class_noun.txt` beside them. Without any, none
                is looked for.
            class_nouns: A file of lines `subject,noun`.

        Raises:
            UserError: If the noun is none.
        """
        if class_noun is not None:
            check_words(class_noun, "AutoSegmenter.class_noun")
        self.saliency = saliency or SaliencySegmenter()
        self.detector = detector or BoxDetector(DETECTOR)
        self.sam = sam or Sam2Segmenter()
        self.nouns = ClassNouns(class_noun, class_nouns)
        self._grabcut = GrabCutSegmenter()
        self._given = [
            name
            for name, part in (("saliency", saliency), ("detector", detector), ("sam", sam))
            if part is not None
        ]

    @cached_property
    def _here(self) -> dict[str, str]:
        """The identities of the parts that can be had, by name; the others are named.

        Raises:
            UserError: If one that was asked for cannot be had.
        """
        parts: dict[str, Callable[[], str]] = {
            "saliency": self._saliency_identity,
            "detector": lambda: self.detector.identity,
            "sam": lambda: self.sam.identity,
        }
        here, missing = {}, []
        for name, identity in parts.items():
            try:
                here[name] = identity()
            except UserError as error:
                if name in self._given:
                    raise
                missing.append(str(error))
        if here.keys() & {"saliency", "sam"} and missing:
            _log.warning("masks without %s", "; without ".join(missing))
        self.missing = missing
        return here

    def _saliency_identity(self) -> str:
        self.saliency.weights.check_runtime()  # before a download that nothing could run
        return self.saliency.identity

    @property
    def parts(self) -> list[str]:
        """Names of the parts that are at hand."""
        return list(self._here)

    @property
    def is_grabcut(self) -> bool:
        """Whether nothing better than GrabCut is at hand."""
        return not self._here.keys() & {"saliency", "sam"}

    @property
    def is_parallel(self) -> bool:
        """Where it is GrabCut."""
        return self.is_grabcut

    @property
    def identity(self) -> str:
        """Hash of all weights that are at hand; GrabCut's own identity where none are."""
        if self.is_grabcut:
            return self._grabcut.identity
        return fingerprint_fields(segmenter="auto", version=_VERSION, **self._here)

    def key(self, photo: Photo) -> str:
        """The identity, with the user's prompts for this photo, or else its class noun."""
        noun = self.noun_of(photo)
        if prompts_of(photo) is not None or noun is None:
            return prompted_key(self.identity, photo)
        return fingerprint_fields(segmenter=self.identity, class_noun=noun)

    def noun_of(self, photo: Photo) -> str | None:
        """What is looked for in a photo; None where nothing can be."""
        if "detector" not in self._here or self.is_grabcut:
            return None
        return self.nouns.own(photo) or self.nouns.noun

    def check_foreign(self, photo: Photo, subject: str) -> None:
        """Nothing: where a reference does not show the noun, what is salient there is taken."""

    @contextmanager
    def loaded(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Segment]:
        """Loads what is at hand."""
        with self._looking(device, photos, judged=False) as find:
            yield lambda photo: find(photo).mask

    @contextmanager
    def finding(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Find]:
        """The same, with what each mask was taken from, and what makes it doubtful."""
        with self._looking(device, photos, judged=True) as find:
            yield find

    @contextmanager
    def _looking(
        self, device: torch.device, photos: Sequence[Photo], judged: bool
    ) -> Iterator[Find]:
        if self.is_grabcut:
            with self._grabcut.finding(device, photos) as find:
                yield find
            return
        with ExitStack() as models:
            salience = detect = network = None
            if "saliency" in self._here:
                salience = models.enter_context(self.saliency.network(device))
            if "detector" in self._here:
                detect = models.enter_context(self.detector.loaded(device))
            if "sam" in self._here:
                network = self.sam.weights.load(device)
            yield _Look(salience, detect, network, self, photos, judged).find
            del network


@dataclass(frozen=True)
class _Candidate:
    """One network's mask of a photo."""

    source: str
    mask: Mask


@dataclass(frozen=True)
class _Look:
    """The loaded networks, and how photos are looked at with them."""

    salience: Salience | None
    detect: Detect | None
    network: PromptableNetwork | None
    segmenter: AutoSegmenter
    photos: Sequence[Photo]
    judged: bool

    def find(self, photo: Photo) -> Finding:
        """The subject of a photo."""
        picture, prompts = photo.pixels(), placed_prompts(photo)
        if prompts is not None:
            if self.network is not None:
                mask = prompted_mask(self.network, picture, prompts)
                return Finding(mask, "SAM, your prompts")
            assert self.salience is not None  # or it were GrabCut
            return Finding(prompted(self.salience, picture, prompts), "saliency, your prompts")
        noun = self._noun(photo)
        box = self.detect(picture, noun) if noun and self.detect is not None else None
        found = self._of_box(picture, box)
        if not self.judged:
            return found
        if noun and self.detect is not None and box is None:
            return _doubted(found, f"no {noun!r} was found")
        if noun and box is not None and self._is_left(picture, found.mask, box, noun):
            return _doubted(found, f"a {noun} is still seen outside the mask")
        return found

    def _noun(self, photo: Photo) -> str | None:
        known = any(photo.digest == other.digest for other in self.photos)
        # A drawing lies elsewhere; it shows what the photos show.
        return self.segmenter.noun_of(photo if known or not self.photos else self.photos[0])

    @torch.inference_mode()
    def _of_box(self, picture: Picture, box: Box | None) -> Finding:
        looks: Looks | None = None
        candidates = []
        if self.salience is not None and box is None:
            looks = look_twice(self.salience, picture)
            candidates.append(_Candidate("saliency", looks.mask))
            if looks.mask.any():
                box = box_of(looks.mask)
        elif self.salience is not None and box is not None:
            mask = tidy(within(self.salience, picture, box) > 0.5)
            candidates.append(_Candidate("saliency in the noun's box", mask))
        if self.network is not None:
            height, width = picture.shape[:2]
            frame = box or (0.1 * width, 0.1 * height, 0.9 * width, 0.9 * height)
            candidates += _answers(self.network, picture, frame)
        taken = _best(candidates, box)
        return Finding(taken.mask, taken.source, tuple(self._doubts(picture, looks, candidates)))

    def _doubts(
        self, picture: Picture, looks: Looks | None, candidates: list[_Candidate]
    ) -> list[str]:
        """What makes the photo's mask doubtful."""
        if self.salience is None or not self.judged:
            return []
        first, *others = candidates
        if others:
            same = max(overlap(first.mask, other.mask) for other in others)
            if same < _AGREE:
                return [f"saliency and SAM disagree about the subject (IoU {same:.2f})"]
            return []
        if looks is not None:
            return looks.doubts()
        same = overlap(first.mask, tidy(self.salience(picture) > 0.5))
        if same < _AGREE:
            return [f"something else stands out more than the noun (IoU {same:.2f})"]
        return []

    def _is_left(self, picture: Picture, mask: Mask, box: Box, noun: str) -> bool:
        """Whether the noun is still found where it was, with what the mask holds greyed out."""
        if self.detect is None:
            return False
        rest = picture.copy()
        rest[mask] = 127
        again = self.detect(rest, noun)
        return again is not None and _boxes_overlap(box, again) > _AGREE


def _answers(network: PromptableNetwork, picture: Picture, box: Box) -> list[_Candidate]:
    """The three masks that a network gives for a box in a picture's pixels."""
    small = network.show(picture)
    height, width = picture.shape[:2]
    scale = np.array([small.shape[1] / width, small.shape[0] / height])
    low, _ = network.box(np.array(box) * np.tile(scale, 2))
    return [_Candidate("SAM", full_mask(network, (height, width), logits)) for logits in low[0]]


def _best(candidates: list[_Candidate], box: Box | None) -> _Candidate:
    """The one that fills the box best and agrees most with the others.

    ``fill + agreement``: IoU of its own box with the box, and its mean IoU with the other
    candidates. Of equal ones the first is taken.
    """

    def score(at: int) -> float:
        mask = candidates[at].mask
        if not mask.any():
            return -1.0
        fill = 0.0 if box is None else _boxes_overlap(box_of(mask), box)
        others = [overlap(mask, c.mask) for i, c in enumerate(candidates) if i != at]
        return fill + (float(np.mean(others)) if others else 0.0)

    return candidates[max(range(len(candidates)), key=score)]


def _boxes_overlap(one: Box, other: Box) -> float:
    """IoU of two boxes (left, top, right, bottom)."""
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(b[2] - b[0]) * (b[3] - b[1]) for b in (one, other)]
    union = sum(areas) - width * height
    return width * height / union if union > 0 else 0.0


def _doubted(found: Finding, doubt: str) -> Finding:
    return Finding(found.mask, found.source, (doubt, *found.doubts), found.matte)
