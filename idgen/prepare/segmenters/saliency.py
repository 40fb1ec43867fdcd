"""Masks of the one thing that stands out in a photo: ISNet, BiRefNet or U2-Net."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from idgen import opencv as cv2
from idgen.fingerprint import fingerprint_fields
from idgen.masks import Mask, Picture, overlap, tidy
from idgen.prepare.photos import Photo
from idgen.prepare.segmenters.finding import Find, Finding
from idgen.prepare.segmenters.grabcut import regrown
from idgen.prepare.segmenters.prompts import Box, PromptedSegmenter, Prompts, placed_prompts
from idgen.prepare.segmenters.saliency_weights import Family, SaliencyWeights
from idgen.prepare.segmenters.segmenter import Segment

SalienceMap: TypeAlias = NDArray[np.float32]
"""`H W`, how likely each pixel is the salient object's, in [0, 1]."""

Salience: TypeAlias = Callable[[Picture], SalienceMap]
"""A picture `H W 3` to its map."""

_VERSION = 2
_MEAN, _SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_SIDE = 1024
"""Pixels on a side that a network of any size is shown."""
_MARGIN = 0.08
_UNSURE = 0.25
_SAME = 0.85


class SaliencySegmenter(PromptedSegmenter):
    """The salient object of each photo, by a network trained for that; it needs no prompt.

    ISNet is that of Qin et al. (2022, arXiv 2203.03041), BiRefNet that of Zheng et al. (2024,
    arXiv 2401.03407), U2-Net that of Qin et al. (2020, arXiv 2005.09007); their weights are the
    ONNX files that rembg publishes. A photo is seen twice at the network's own size, whole and
    closer up (`look_twice`).

    A box in `prompts.yaml` is looked at alone; points there start GrabCut from what was found.
    """

    def __init__(self, model: str = "isnet-general-use", family: Family | None = None) -> None:
        """Notes the network; the weights are loaded by `loaded`.

        Args:
            model: `isnet-general-use`, `birefnet-general`, `birefnet-general-lite`, `u2net`,
                `u2netp`, or the path of an `.onnx` file.
            family: Of a file: how the network wants its colours; None to read it off the network.
        """
        self.weights = SaliencyWeights(model, family)

    @cached_property
    def identity(self) -> str:
        """Hash of the weights and of how they are used."""
        return fingerprint_fields(
            segmenter="saliency",
            version=_VERSION,
            weights=self.weights.identity,
            family=self.weights.family,
        )

    @contextmanager
    def network(self, device: torch.device) -> Iterator[Salience]:
        """Loads the network alone, and frees it when the context ends."""
        session = self.weights.session(device)
        family = self.weights.family_of(session)
        side = next((s for s in session.get_inputs()[0].shape[2:] if isinstance(s, int)), _SIDE)

        def find(picture: Picture) -> SalienceMap:
            inputs = _as_input(picture, family, side)
            values = self.weights.run(session, inputs)  # noqa: F821 (deleted on exit only)
            if values.min() < 0 or values.max() > 1:  # logits
                values = np.asarray(1 / (1 + np.exp(-values)), dtype=np.float32)
            size = (picture.shape[1], picture.shape[0])
            return np.asarray(cv2.resize(values, size, interpolation=cv2.INTER_LINEAR))

        try:
            yield find
        finally:
            del session  # also from `find`, which the caller may still hold

    @contextmanager
    def loaded(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Segment]:
        """Loads the network; each photo is looked at by itself."""
        with self.network(device) as salience:

            def segment(photo: Photo) -> Mask:
                picture, prompts = photo.pixels(), placed_prompts(photo)
                if prompts is not None:
                    return prompted(salience, picture, prompts)
                return look_twice(salience, picture).mask

            yield segment

    @contextmanager
    def finding(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Find]:
        """The same, with what makes a mask doubtful."""
        with self.network(device) as salience:

            def find(photo: Photo) -> Finding:
                picture, prompts = photo.pixels(), placed_prompts(photo)
                if prompts is not None:
                    return Finding(prompted(salience, picture, prompts), "saliency, your prompts")
                looks = look_twice(salience, picture)
                return Finding(looks.mask, "saliency", tuple(looks.doubts()))

            yield find


@dataclass(frozen=True)
class Looks:
    """What stands out in a picture, seen whole and then closer up.

    Attributes:
        whole: The map of the whole picture, `H W`.
        closer: That of what stands out there, with a margin; 0 elsewhere, `H W`.
    """

    whole: SalienceMap
    closer: SalienceMap

    @property
    def mask(self) -> Mask:
        """Where their mean is over a half, `H W`."""
        return tidy((self.whole + self.closer) / 2 > 0.5)

    def doubts(self) -> list[str]:
        """What makes the mask doubtful, one short text each."""
        first = tidy(self.whole > 0.5)
        if not first.any():
            return []
        found = []
        between = (self.whole > 0.1) & (self.whole < 0.9)
        unsure = float(between.sum()) / float(first.sum())
        if unsure > _UNSURE:
            found.append(f"the network is unsure about {100 * unsure:.0f} % of the subject's size")
        if (same := overlap(first, self.closer > 0.5)) < _SAME:
            found.append(f"seen closer up, the subject's outline is another (IoU {same:.2f})")
        return found


def look_twice(salience: Salience, picture: Picture) -> Looks:
    """Looks at a picture `H W 3` and, closer up, at what stands out in it.

    Seen closer up, what lies beside the subject stands out less, and its edge is finer; the mean
    keeps what the first look was sure of and the second missed.
    """
    whole = salience(picture)
    first = tidy(whole > 0.5)
    return Looks(whole, within(salience, picture, box_of(first)) if first.any() else whole)


def box_of(mask: Mask) -> Box:
    """(left, top, right, bottom) of a mask `H W` that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return (float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1))


def within(salience: Salience, picture: Picture, box: Box) -> SalienceMap:
    """The map of what a box shows, with a margin; 0 elsewhere, `H W`."""
    height, width = picture.shape[:2]
    left, top, right, bottom = box
    aside, above = _MARGIN * (right - left), _MARGIN * (bottom - top)
    rows = slice(max(0, int(top - above)), min(height, int(np.ceil(bottom + above))))
    columns = slice(max(0, int(left - aside)), min(width, int(np.ceil(right + aside))))
    values = np.zeros((height, width), dtype=np.float32)
    values[rows, columns] = salience(np.ascontiguousarray(picture[rows, columns]))
    return values


def prompted(salience: Salience, picture: Picture, prompts: Prompts) -> Mask:
    """What the user's prompts say, `H W`: what is salient in the box, mended at the points."""
    values = salience(picture) if prompts.box is None else within(salience, picture, prompts.box)
    mask = tidy(values > 0.5)
    if prompts.points or prompts.background_points or not mask.any():
        return regrown(picture, mask, prompts)
    return mask


def _as_input(picture: Picture, family: Family, side: int) -> NDArray[np.float32]:
    """A picture `H W 3` as a network sees it, `1 3 S S`."""
    smaller = max(picture.shape[:2]) > side
    method = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    values = cv2.resize(picture, (side, side), interpolation=method).astype(np.float32) / 255
    if family == "isnet":
        values -= 0.5
    else:
        values = (values - np.array(_MEAN, np.float32)) / np.array(_SPREAD, np.float32)
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None], dtype=np.float32)
