"""A subject's photos, and what preparation makes of them."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from lightning.pytorch.utilities import rank_zero_info
from numpy.typing import NDArray
from torch import Tensor

from idgen.backbones.backbone import Backbone
from idgen.data.captions import Captions, TrainingPrompts, usual_prompt
from idgen.data.subject import Subject
from idgen.masks import Mask
from idgen.prepare import Photo, Preparation, PreparedSubject, SubjectViews, find_photos
from idgen.prepare.store import CONTACT_PAGE


class SubjectPhotos:
    """One subject's photos; first looked for when needed.

    Attributes:
        subject: What they show.
    """

    def __init__(self, subject: Subject, preparation: Preparation, backbone: Backbone) -> None:
        """Takes what prepares them, and whose latents they become."""
        self.subject = subject
        # The companion is another thing than what `preparation` was told to look for.
        self._preparation = preparation.of(subject.class_noun)
        self._backbone = backbone

    @property
    def photos(self) -> list[Photo]:
        """The photos, but for those that the preparation left out.

        Raises:
            UserError: If there is none, or one cannot be used and may not be left out.
        """
        return self._preparation.but_left_out(self._found, self.subject.prepared_folder)

    @cached_property
    def _found(self) -> list[Photo]:
        folder = self.subject.photos_folder
        if self._preparation.skip_bad:
            return self._preparation.find(folder, self._backbone)
        return find_photos(folder)

    def check(self) -> None:
        """Raises a UserError, before any work, if photos or masks cannot be used."""
        self._preparation.segmenter_for(self._backbone).check(self.photos)

    def check_captions(self, captions: Captions) -> None:
        """Raises a UserError, before any work, if there can be no captions, or one is unfit."""
        has_captioner = self._preparation.captioner is not None
        captions.check(self.photos, self.subject, self._backbone, has_captioner)

    def prepare(self, device: torch.device) -> None:
        """Prepares them, where that is missing or stale.

        Args:
            device: Where models run.

        Raises:
            UserError: If that cannot be done.
        """
        photos, folder = self.subject.photos_folder, self.subject.prepared_folder
        if self._preparation.is_fresh(photos, folder, self._backbone):
            return
        self._preparation.run(photos, folder, self._backbone, device)
        sheet = folder / CONTACT_PAGE
        rank_zero_info(f"prepared {len(self.photos)} photos: look at {sheet}")

    def open(self) -> PreparedSubject:
        """What is prepared; a UserError if it is missing or stale."""
        return self._preparation.open(self.photos, self.subject.prepared_folder)

    def views(self, prepared: PreparedSubject) -> SubjectViews:
        """The features of all views, with their framing where the backbone is told of it.

        Args:
            prepared: Of `open`.

        Raises:
            UserError: If a file is missing, damaged, or another's.
        """
        views = prepared.load_views()
        if not self._backbone.reads_framing:
            return views
        return replace(views, framing=prepared.load_framing())

    def prompts(
        self, prepared: PreparedSubject, views: SubjectViews, captions: Captions | None, seed: int
    ) -> TrainingPrompts:
        """The training prompts of the photos.

        Args:
            prepared: Of `open`.
            views: Its features.
            captions: How captions are used; None for the training prompt alone.
            seed: Of their dropout.

        Raises:
            UserError: If a caption cannot be used, or is missing.
        """
        if captions is None:
            note = "captions: made and not used, since data.captions is not set"
            made = self._preparation.captioner is not None
            return TrainingPrompts(usual_prompt(self.subject), {}, note=note if made else "")
        return captions.prompts(prepared, self.photos, views, self.subject, self._backbone, seed)

    def pictures(self) -> list[Tensor]:
        """The photos, each `3 H W` uint8; a UserError if they are not there."""
        return [torch.from_numpy(photo.pixels()).permute(2, 0, 1) for photo in self.photos]

    def parts(self) -> tuple[list[Mask], list[NDArray[np.uint8]]]:
        """Masks `H W` and backgrounds `H W 3` as prepared; a UserError if missing or stale."""
        parts = self._preparation.masks_and_backgrounds(
            self.subject.photos_folder, self.subject.prepared_folder, self._backbone
        )
        of_photos = [parts[photo.digest] for photo in self.photos]
        return [mask for mask, _ in of_photos], [background for _, background in of_photos]


def all_photos(sets: Sequence[SubjectPhotos]) -> dict[str, Photo]:
    """The photos of all subjects by their digests."""
    return {photo.digest: photo for one in sets for photo in one.photos}
