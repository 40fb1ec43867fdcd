"""Masks by segment-anything (Kirillov et al., 2023, arXiv 2304.02643), prompted automatically."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from idgen import opencv as cv2
from idgen.errors import UserError
from idgen.fingerprint import fingerprint_fields
from idgen.masks import Mask, Picture, cut_out, reduced_size, tidy
from idgen.metrics.encoders import ClipScorer
from idgen.metrics.scorer import ImageScorer
from idgen.placeholders import check_words
from idgen.prepare.photos import Photo
from idgen.prepare.segmenters.candidates import (
    Candidates,
    choose,
    is_chosen_alone,
    keep_best,
    score_candidates,
)
from idgen.prepare.segmenters.class_noun import NOUN_FILE, ClassNouns
from idgen.prepare.segmenters.detector import BoxDetector, Detect
from idgen.prepare.segmenters.finding import Find, Finding
from idgen.prepare.segmenters.promptable import PromptableNetwork
from idgen.prepare.segmenters.prompts import (
    PromptedSegmenter,
    Prompts,
    placed_prompts,
    prompted_key,
    prompts_of,
)
from idgen.prepare.segmenters.sam_weights import Architecture, SamWeights
from idgen.prepare.segmenters.segmenter import Segment
from idgen.sources import MINI

_VERSION = 2
_GRID = (0.3, 0.5, 0.7)
_BOX = (0.1, 0.1, 0.9, 0.9)
_SCORING_SIDE = 256
_OF_THE_SET = "by itself the photo would have another mask: the set's other photos decided"


class SamSegmenter(PromptedSegmenter):
    """Any segment-anything checkpoint, or the mini one, prompted by the user or automatically.

    Automatic prompts are nine points, the centre and a grid of eight around it, and a box around
    the middle 80 %; each gives three candidate masks. `candidates.choose` says which is taken: by
    its size, place and quality and, where the models for that are given, by how alike it is to
    the other photos' candidates and by the class noun. Where a detector finds the noun, its box
    stands in for the automatic prompts. Photos with prompts in `prompts.yaml` are prompted with
    those alone. Islands and holes under 1 % of the mask's area are removed.
    """

    _parameter = "SamSegmenter.checkpoint"

    def __init__(
        self,
        checkpoint: str = MINI,
        architecture: Architecture | None = None,
        encoder: ImageScorer | None = None,
        clip: ClipScorer | None = None,
        detector: BoxDetector | None = None,
        class_noun: str | None = None,
        class_nouns: Path | None = None,
        revision: str | None = None,
    ) -> None:
        """Notes the checkpoint; the weights are loaded by `loaded`.

        Args:
            checkpoint: `mini` (ships with idgen), the path of one of Meta's files (`.pth` or
                `.safetensors`), or a folder or hub id of transformers, such as
                `facebook/sam-vit-base`.
            architecture: Of one of Meta's files: its image encoder; None to read it off the
                weights.
            encoder: Embeds what candidates cut out, to find what the photos share, such as
                `DinoScorer`; None to judge each photo by itself.
            clip: Compares what candidates cut out with the class noun; None to do without.
            detector: Finds a box around what the class noun names; None to do without.
            class_noun: What the subject is, such as `dog`, for `clip` and `detector`; of all
                subjects that `class_nouns` does not list and whose photos have no
                `class_noun.txt` beside them.
            class_nouns: A file of lines `subject,noun`, the subject being the name of its folder
                of photos; such as DreamBench's `prompts_and_classes.txt`.
            revision: For a hub id: its commit, tag or branch.

        Raises:
            UserError: If there is a class noun and nothing that takes it.
        """
        self._takes_noun = clip is not None or detector is not None
        if not self._takes_noun and (class_noun, class_nouns) != (None, None):
            raise UserError(
                f"{type(self).__name__}: a class noun belongs with clip or detector, which look "
                "for it: give one of them, or leave class_noun and class_nouns out"
            )
        self.weights = SamWeights(checkpoint, self._parameter, revision, architecture)
        self.encoder = encoder
        self.clip = clip
        self.detector = detector
        if class_noun is not None:
            check_words(class_noun, f"{type(self).__name__}.class_noun")
        self.nouns = ClassNouns(class_noun, class_nouns)

    @cached_property
    def identity(self) -> str:
        """Hash of all weights and of how they are used, but for the class noun."""
        models = {"encoder": self.encoder, "clip": self.clip, "detector": self.detector}
        return fingerprint_fields(
            segmenter="sam",
            version=_VERSION,
            weights=self.weights.identity,
            **{name: None if model is None else model.identity for name, model in models.items()},
        )

    def key(self, photo: Photo) -> str:
        """The identity, with the user's prompts for this photo, or else its class noun."""
        if not self._takes_noun or prompts_of(photo) is not None:
            return prompted_key(self.identity, photo)
        return fingerprint_fields(segmenter=self.identity, class_noun=self.nouns.of(photo))

    def check(self, photos: Sequence[Photo]) -> None:
        """Checks the user's prompts, and that there is a class noun where one is needed."""
        super().check(photos)
        if self._takes_noun:
            for photo in photos:
                if prompts_of(photo) is None:
                    self.nouns.of(photo)

    def check_foreign(self, photo: Photo, subject: str) -> None:
        """Refuses a reference photo from elsewhere whose class noun would be the subject's."""
        if self._takes_noun and prompts_of(photo) is None and self.nouns.own(photo) is None:
            raise UserError(
                f"the reference {str(photo.path)!r} is no photo of the trained subject, whose "
                f"class noun is {self.nouns.of(photo)!r}: write what it shows, such as dog, in "
                f"{NOUN_FILE} beside it"
            )

    @contextmanager
    def loaded(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Segment]:
        """Loads the models; with `encoder`, photos that have their masks are looked at too."""
        with self.finding(device, photos) as find:
            yield lambda photo: find(photo).mask

    @contextmanager
    def finding(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Find]:
        """The same; a mask is doubtful where the photo by itself would have given another.

        And where a detector finds nothing of its noun.
        """
        network = self.weights.load(device)
        with ExitStack() as models:
            encoder = self.encoder and models.enter_context(self.encoder.loaded(device))
            clip = self.clip and models.enter_context(self.clip.loaded(device))
            detect = None
            if self.detector is not None:
                detect = models.enter_context(self.detector.loaded(device))
            look = _Look(network, encoder, clip, detect)
            del network
            seen: dict[str, Candidates] = {}
            # The set's own, for drawings too, which lie elsewhere; only where one is looked for.
            noun = cache(lambda: self.nouns.of(photos[0]) if self._takes_noun else "")

            def find(photo: Photo) -> Finding:
                prompts = placed_prompts(photo)
                if prompts is not None:
                    mask = look.prompted(photo.pixels(), prompts)  # noqa: F821 (see below)
                    return Finding(mask, f"{self.title}, your prompts")
                # Candidates come from automatic prompts alone and of the whole set, whatever masks
                # there are already: so a run that goes on ends as an undisturbed one.
                known = any(photo.digest == other.digest for other in photos)
                group = [*photos, *([] if known else [photo])] if encoder else [photo]
                for other in group:
                    if other.digest not in seen:
                        seen[other.digest] = look.candidates(other.pixels(), noun())  # noqa: F821
                of_set = {p.digest: seen[p.digest] for p in group}
                index = choose(photo.digest, of_set)
                mask = look.mask(photo.size(), seen[photo.digest].logits[index])  # noqa: F821
                doubts = []
                if not seen[photo.digest].is_found:
                    doubts.append(f"no {noun()!r} was found")
                if not is_chosen_alone(photo.digest, of_set, index):
                    doubts.append(_OF_THE_SET)
                return Finding(mask, self.title, tuple(doubts))

            try:
                yield find
            finally:
                del look  # also from `find`, which the caller may still hold


class Sam2Segmenter(SamSegmenter):
    """SAM 2 (Ravi et al., 2024, arXiv 2408.00714) or EdgeTAM by transformers, prompted likewise."""

    _parameter = "Sam2Segmenter.model"

    def __init__(
        self,
        model: str = "facebook/sam2.1-hiera-small",
        revision: str | None = None,
        encoder: ImageScorer | None = None,
        clip: ClipScorer | None = None,
        detector: BoxDetector | None = None,
        class_noun: str | None = None,
        class_nouns: Path | None = None,
    ) -> None:
        """Notes the model; the weights are loaded by `loaded`. See `SamSegmenter`.

        Args:
            model: A folder that transformers saved, or a hub id.
            revision: For a hub id: its commit, tag or branch.
            encoder: Embeds what candidates cut out.
            clip: Compares what candidates cut out with the class noun.
            detector: Finds a box around what the class noun names.
            class_noun: What the subject is.
            class_nouns: A file of lines `subject,noun`.
        """
        super().__init__(
            model,
            encoder=encoder,
            clip=clip,
            detector=detector,
            class_noun=class_noun,
            class_nouns=class_nouns,
            revision=revision,
        )


@dataclass(frozen=True)
class _Look:
    """The loaded models, and how photos are looked at with them."""

    network: PromptableNetwork
    encoder: ImageScorer | None
    clip: ClipScorer | None
    detect: Detect | None

    @torch.inference_mode()
    def candidates(self, picture: Picture, noun: str) -> Candidates:
        """The best candidates of the automatic prompts in a picture `H W 3` of such a thing."""
        small = self.network.show(picture)
        box = None if self.detect is None else self.detect(small, noun)
        low, quality = _automatic(self.network) if box is None else self.network.box(np.array(box))
        masks = _reduced(self.network.sized(low.flatten(0, 1))) > 0
        scores = score_candidates(masks.view(*low.shape[:2], *masks.shape[1:]), quality)
        kept = keep_best(masks, scores)
        logits = low.flatten(0, 1)[kept]
        embeddings = likely = None
        cut_outs = []
        if self.encoder is not None or self.clip is not None:
            full = (self.network.sized(logits) > 0).cpu().numpy()
            cut_outs = [cut_out(small, mask) for mask in full]
        if self.encoder is not None:
            embeddings = self.encoder.embed_images(cut_outs).cpu()
        if self.clip is not None:
            named = self.clip.embed_texts([f"a photo of a {noun}"])[0]
            likely = (self.clip.embed_images(cut_outs) @ named).cpu()
        is_found = self.detect is None or box is not None
        return Candidates(logits.cpu(), scores[kept].cpu(), embeddings, likely, is_found)

    @torch.inference_mode()
    def prompted(self, picture: Picture, prompts: Prompts) -> Mask:
        """The mask, `H W`, that the user's prompts give in a picture `H W 3`."""
        return prompted_mask(self.network, picture, prompts)

    def mask(self, size: tuple[int, int], logits: Tensor) -> Mask:
        """Logits `h w` at the model's size, as a tidy mask of a photo of that height and width."""
        return full_mask(self.network, size, logits)


@torch.inference_mode()
def prompted_mask(network: PromptableNetwork, picture: Picture, prompts: Prompts) -> Mask:
    """The mask, `H W`, that a network gives for a user's prompts in a picture `H W 3`."""
    small = network.show(picture)
    height, width = picture.shape[:2]
    scale = np.array([small.shape[1] / width, small.shape[0] / height])
    points = np.array((*prompts.points, *prompts.background_points)).reshape(-1, 2) * scale
    labels = np.array([1] * len(prompts.points) + [0] * len(prompts.background_points))
    box = None if prompts.box is None else np.array(prompts.box) * np.tile(scale, 2)
    low, quality = network.together(points, labels, box)
    return full_mask(network, (height, width), low[0, int(quality[0].argmax())])


def full_mask(network: PromptableNetwork, size: tuple[int, int], logits: Tensor) -> Mask:
    """A network's logits `h w`, as a tidy mask of a photo of that height and width."""
    fitted = network.sized(logits[None], reduced_size(*size, network.side))[0]
    shape = (size[1], size[0])
    values = fitted.float().cpu().numpy()
    return tidy(cv2.resize(values, shape, interpolation=cv2.INTER_LINEAR) > 0)


def _automatic(network: PromptableNetwork) -> tuple[Tensor, Tensor]:
    """Mask logits `P C h w` and predicted IoU `P C` of P prompts with C candidates each."""
    height, width = network.size
    extent = np.array([width, height])
    low, quality = network.points(np.array([(x, y) for y in _GRID for x in _GRID]) * extent)
    of_box, quality_of_box = network.box(np.array(_BOX) * np.tile(extent, 2))
    return torch.cat([low, of_box]), torch.cat([quality, quality_of_box])


def _reduced(logits: Tensor) -> Tensor:
    """Logits `K H W`, no larger than scoring needs."""
    height, width = logits.shape[-2:]
    size = reduced_size(height, width, _SCORING_SIDE)
    if size == (height, width):
        return logits
    return interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]
