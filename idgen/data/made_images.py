"""The pictures that are drawn or pasted before training, where that is asked for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from lightning.pytorch.utilities import rank_zero_info

from idgen.backbones.backbone import Backbone
from idgen.data.class_images import ClassImageFolder, ClassImages
from idgen.data.composites import CompositeFolder, Composites
from idgen.data.pairs import PairFolder, Pairs
from idgen.data.scene_images import SceneFolder, SceneImages
from idgen.data.subject_photos import SubjectPhotos, all_photos
from idgen.masks import Picture
from idgen.prepare import Preparation
from idgen.prepare.store import CONTACT_PAGE


@dataclass(frozen=True)
class MadeImages:
    """Class images, scene images, composites and pairs of some subjects.

    Attributes:
        sets: The subjects' photos; all but pairs are of the first.
        preparation: What makes features of pictures.
        backbone: Who draws.
        prior: How class images are drawn; None for none, as of the others.
        scenes: How scene images are.
        composites: How composites are pasted.
        pairs: How pairs are.
    """

    sets: Sequence[SubjectPhotos]
    preparation: Preparation
    backbone: Backbone
    prior: ClassImages | None = None
    scenes: SceneImages | None = None
    composites: Composites | None = None
    pairs: Pairs | None = None

    @property
    def of_class(self) -> ClassImageFolder | None:
        """The class images on disk, None where no prior is preserved."""
        if self.prior is None:
            return None
        subject = self.sets[0].subject
        return self.prior.of(subject.class_noun, self.backbone, subject.prepared_folder)

    @cached_property
    def of_scenes(self) -> SceneFolder | None:
        """The scene images on disk, None where there are none."""
        if self.scenes is None:
            return None
        subject, parts = self.sets[0].subject, self.preparation
        return self.scenes.of(subject.class_noun, self.backbone, subject.prepared_folder, parts)

    def composed(self) -> CompositeFolder | None:
        """The composites on disk, of photos and scene images that are prepared."""
        scenes = self.of_scenes
        if self.composites is None or scenes is None:
            return None
        return self.composites.of(self.sets[0].open(), self._pixels(), scenes)

    def paired(self) -> PairFolder | None:
        """The pairs on disk, of photos that are prepared; None where no row shows any."""
        if self.pairs is None or not self.pairs.share:
            return None
        prepared = [one.open() for one in self.sets]
        return PairFolder(self.pairs, prepared, self._pixels(), self.preparation, self.backbone)

    def _pixels(self) -> Callable[[str], Picture]:
        """What reads the photo of a digest, of any of the subjects."""
        photos = all_photos(self.sets)
        return lambda digest: photos[digest].pixels()

    def check(self) -> None:
        """Raises a UserError, before any work, if what is to be drawn names the subject's token."""
        token = self.sets[0].subject.token
        for folder in (self.of_class, self.of_scenes):
            if folder is not None:
                folder.check(token)

    def check_writable(self) -> None:
        """Raises a UserError if a folder of what is missing cannot be written."""
        for folder in (self.of_class, self.of_scenes):
            if folder is not None and not folder.is_complete():
                folder.check_writable()
        prepared = self.sets[0].subject.prepared_folder
        if self.composites is not None:
            self.composites.check_writable(prepared)
        if self.pairs is not None and self.pairs.share:
            self.pairs.check_writable(prepared)

    def make(self, device: torch.device) -> None:
        """Makes what is missing, once photos are prepared.

        Args:
            device: Where models run.

        Raises:
            UserError: If something cannot be made.
        """
        images, scenes = self.of_class, self.of_scenes
        if images is not None and not images.is_complete():
            images.draw(device)
            rank_zero_info(f"drew class images: look at {images.folder}")
        if scenes is not None and not scenes.is_ready():
            scenes.make(device)
            rank_zero_info(f"made scene images: look at {scenes.prepared / CONTACT_PAGE}")
        for pasted in (self.composed(), self.paired()):
            if pasted is not None and not pasted.is_complete():
                pasted.make(device)
                rank_zero_info(f"made {pasted.what}: look at {pasted.folder}")
