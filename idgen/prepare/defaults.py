"""What finds the subject and what takes it out, for a backbone, where the user does not say."""

import logging
from collections.abc import Sequence
from functools import cached_property

from idgen.devices import best_device
from idgen.prepare.features import LatentBackbone
from idgen.prepare.inpainters.backbone import BackboneInpainter
from idgen.prepare.inpainters.hole import Hole
from idgen.prepare.inpainters.inpainter import Inpainter
from idgen.prepare.inpainters.opencv import INSTALL_XPHOTO, OpenCVInpainter, has_fsr
from idgen.prepare.segmenters.auto import AutoSegmenter
from idgen.prepare.segmenters.drawn_or_photo import DrawnOrPhotoSegmenter
from idgen.prepare.segmenters.own_masks import OwnMasks
from idgen.prepare.segmenters.saliency_weights import INSTALL
from idgen.prepare.segmenters.segmenter import Segmenter
from idgen.prepare.state import State
from idgen.prepare.store import CONTACT_PAGE
from idgen.sources import is_mini_backbone

_log = logging.getLogger(__name__)
_HOLE_OF_PHOTOS = Hole(grow=1.0, frames=True)


class Choice:
    """The segmenter and the inpainter for a backbone: the user's, or else what suits it.

    Attributes:
        given_segmenter: The user's segmenter, if there is one.
        given_inpainter: The user's inpainter, if there is one.
        class_noun: What the subject is, for a segmenter that is not given.
    """

    def __init__(
        self,
        segmenter: Segmenter | None,
        inpainter: Inpainter | None,
        class_noun: str | None = None,
    ) -> None:
        """Notes what is given; nothing is loaded.

        Args:
            segmenter: Finds the subject; None for `AutoSegmenter`, and with the mini backbone for
                the mini segment-anything on drawn pictures.
            inpainter: Takes it out; None for `BackboneInpainter` where there is a GPU; else, and
                with the mini backbone, for OpenCV's.
            class_noun: What the subject is, for a segmenter that is not given.
        """
        self.given_segmenter = segmenter
        self.given_inpainter = inpainter
        self.class_noun = class_noun
        self._segmenters: dict[Segmenter, OwnMasks] = {}

    def of(self, class_noun: str) -> "Choice":
        """The same choice for photos of something else; itself if it is the same noun."""
        if (class_noun or None) == self.class_noun:
            return self
        return Choice(self.given_segmenter, self.given_inpainter, class_noun or None)

    def segmenter(self, backbone: LatentBackbone) -> OwnMasks:
        """What finds the subject, wherever a photo does not bring its own mask (`OwnMasks`).

        The mini segment-anything knows the drawn world alone, as the mini backbone does; photos
        for a real backbone are real.
        """
        by_default = self._of_mini if is_mini_backbone(backbone.source) else self._auto
        inner = self.given_segmenter or by_default
        # Kept, since it remembers which photos bring a mask.
        return self._segmenters.setdefault(inner, OwnMasks(inner))

    def inpainter(self, backbone: LatentBackbone) -> Inpainter:
        """What takes the subject out of photos for this backbone."""
        return self.inpainters(backbone)[0]

    def inpainters(self, backbone: LatentBackbone) -> list[Inpainter]:
        """The same, then those whose backgrounds are as good: another machine's default.

        A prepared subject that moves between a machine with a GPU and one without keeps its
        backgrounds so.
        """
        if self.given_inpainter is not None:
            return [self.given_inpainter.of(backbone)]
        if is_mini_backbone(backbone.source):
            return [OpenCVInpainter()]
        without = OpenCVInpainter(
            method="fsr" if has_fsr() else "navier-stokes",
            grow=_HOLE_OF_PHOTOS.grow,
            frames=_HOLE_OF_PHOTOS.frames,
        )
        by_backbone = BackboneInpainter(hole=_HOLE_OF_PHOTOS).of(backbone)
        on_cpu = best_device().type == "cpu"
        return [without, by_backbone] if on_cpu else [by_backbone, without]

    def inpainter_of_drawings(self, backbone: LatentBackbone) -> Inpainter:
        """What takes the subject out of drawings: the one that was given, else OpenCV's.

        A drawing more costs no second drawing so, and scores of one machine compare with another's.
        """
        return OpenCVInpainter() if self.given_inpainter is None else self.inpainter(backbone)

    def say_of_inpainter(self, inpainter: Inpainter) -> None:
        """Says, before it makes backgrounds, that a better default is not at hand.

        Args:
            inpainter: What makes them.
        """
        if self.given_inpainter is not None or not isinstance(inpainter, OpenCVInpainter):
            return
        if inpainter.hole.grow and not has_fsr():
            _log.warning(
                "backgrounds by Navier-Stokes, which smears; for OpenCV's `fsr`: %s",
                INSTALL_XPHOTO,
            )

    def say(self, states: Sequence[State], segmenter: Segmenter) -> None:
        """Says, before it makes masks, that GrabCut was not asked for, or mini models no photos.

        Args:
            states: The subjects at work.
            segmenter: What finds them.
        """
        if self.given_segmenter is not None:
            return
        work = [(state, target.photo) for state in states for target in state.lacking("masks")]
        own = [(s, photo) for s, photo in work if segmenter.key(photo) == self._auto.key(photo)]
        if not own:
            return
        if segmenter is self._segmenters.get(self._of_mini):
            _log.warning(
                "%s holds photographs, and the mini models know the drawn world alone: give the "
                "backbone that is to be trained, as in --config configs/backbone/sd21.yaml",
                own[0][0].photos_folder,
            )
        if self._auto.is_grabcut:
            folders = list(dict.fromkeys(state.store.folder for state, _ in own))
            sheets = f"{folders[0] / CONTACT_PAGE}{' and its like' if len(folders) > 1 else ''}"
            _log.warning(
                "masks by GrabCut, which tells colours apart and is wrong on about one photo in "
                "three: look at %s; for better ones %s, or set preparation.segmenter (%s)",
                sheets,
                INSTALL,
                "; ".join(self._auto.missing),
            )

    @cached_property
    def _of_mini(self) -> DrawnOrPhotoSegmenter:
        return DrawnOrPhotoSegmenter(self._auto)

    @cached_property
    def _auto(self) -> AutoSegmenter:
        return AutoSegmenter(class_noun=self.class_noun)
