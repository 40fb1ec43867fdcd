"""The LightningDataModule: a prepared subject's batches, and prompts to draw."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities import rank_zero_info, rank_zero_warn
from numpy.typing import NDArray
from torch import Tensor

from idgen.backbones.backbone import Backbone
from idgen.data.batch import ShownPhotos, SubjectBatch
from idgen.data.captions import Captions, TrainingPrompts, composite_name, usual_prompt
from idgen.data.cast import Cast
from idgen.data.class_images import ClassImages, ClassRows
from idgen.data.composites import Composites
from idgen.data.drawing_data import DrawingData, Suite
from idgen.data.joint_prompts import JointPrompts
from idgen.data.made_images import MadeImages
from idgen.data.pairs import Pairs
from idgen.data.rows import Rows
from idgen.data.scene_images import SceneImages, SceneRows
from idgen.data.stream import EndlessOrder, SubjectStream, places
from idgen.data.subject import Subject
from idgen.data.subject_photos import SubjectPhotos
from idgen.errors import UserError
from idgen.masks import Mask
from idgen.models.decoupling import PhotoFeatures
from idgen.prepare import Photo, Preparation, read_photo
from idgen.prepare.segmenters.segmenter import check_reference
from idgen.prepare.subject import pick
from idgen.sources import MINI, is_mini_backbone

_MOST_REFERENCE = 10.0
_MINI_PHOTO = 128  # pixels; the mini world's pictures are 64


class SubjectDataModule(DrawingData):
    """One subject's photos as cached features, and the prompts to draw it for.

    `prepare_data` runs the offline preparation where the prepared subject is missing or stale.
    """

    def __init__(
        self,
        subject: Subject,
        backbone: Backbone,
        preparation: Preparation | None = None,
        batch_size: int = 1,
        steps_per_epoch: int = 1000,
        validation_prompts: Suite = MINI,
        validation_images: int = 2,
        test_prompts: Suite = MINI,
        test_images: int = 4,
        predict_prompts: Suite = MINI,
        predict_images: int = 4,
        drawing_batch_size: int = 16,
        drawing_seed: int = 0,
        reference: Path | None = None,
        reference_weight: float = 1.0,
        prior: ClassImages | None = None,
        seed: int = 0,
        captions: Captions | None = None,
        other_background: float = 0.0,
        scenes: SceneImages | None = None,
        composites: Composites | None = None,
        companion: Subject | None = None,
        pairs: Pairs | None = None,
    ) -> None:
        """Checks prompts; no model is loaded, and photos are first looked for when needed.

        Args:
            subject: What is learnt.
            backbone: Whose latents the batches hold; the module's own, so that it knows a word that
                the tuning has added.
            preparation: How photos become features; None for the mini models' way.
            batch_size: Views a step on each process.
            steps_per_epoch: Steps of the optimizer that are called an epoch; the photos' order runs
                on across.
            validation_prompts: `mini`, a file in DreamBench's form, or a list of prompts with
                [V] in them, in which `{class_noun}` is filled in.
            validation_images: Images of each in validation.
            test_prompts: The same for `test`.
            test_images: Images of each in `test`.
            predict_prompts: The same for `predict`.
            predict_images: Images of each in `predict`.
            drawing_batch_size: Images drawn at once; fixed whatever the number of processes.
            drawing_seed: Seed of the drawings' starting noise.
            reference: `predict` only: a photo whose scene and pose are to be kept.
            reference_weight: How much of it, 1 as much as in training.
            prior: Class images, drawn by the backbone before training, that a batch holds as many
                of as of views; None for none. `idgen.terms.PriorPreservation` is their loss.
            seed: Of the order of the photos.
            captions: Training prompts of each photo's own; None for the subject's training prompt.
            other_background: With which probability a row of a batch is told the features of
                another photo's view: the subject must not depend on the background that is told.
            scenes: Images of the class in many scenes, drawn by the backbone before training, that
                a batch holds as many of as of views; `idgen.terms.SceneDiffusion` is their loss.
            composites: The subject pasted into the backgrounds of `scenes`: more views, which take
                the turns of some of the photos'.
            companion: A second subject, learnt together with the first: [V2] in prompts, where the
                first is [V1] or [V]; None for one alone.
            pairs: Pictures that show both, made of their photos, which take the turns of some of
                those; None for the usual ones where there is a companion.

        Raises:
            UserError: If prompts cannot be used.
        """
        super().__init__()
        self.subject = subject
        self.backbone = backbone
        self.preparation = preparation or Preparation()
        self.preparation.look_for(subject.class_noun)
        self.batch_size = batch_size
        self.steps_per_epoch = steps_per_epoch
        self.validation_images = validation_images
        self.test_images = test_images
        self.predict_images = predict_images
        self.drawing_batch_size = drawing_batch_size
        self.drawing_seed = drawing_seed
        self.reference = reference
        self.reference_weight = reference_weight
        self.prior = prior
        self.seed = seed
        self.other_background = other_background
        self.scenes = scenes
        self.composites = composites
        self.companion = companion
        self.pairs = pairs if companion is None else pairs or Pairs()
        self._check_sizes()
        self.cast = Cast(subject, companion)
        self.cast.check(backbone)
        if self.pairs is not None:
            self.pairs.check(self.cast, backbone)
        self._sets = [SubjectPhotos(s, self.preparation, backbone) for s in self.cast.subjects]
        self._made = MadeImages(
            self._sets, self.preparation, backbone, prior, scenes, composites, self.pairs
        )
        self.captions = captions
        self._prompts: TrainingPrompts | JointPrompts
        self._prompts = TrainingPrompts(usual_prompt(subject), {})
        for one in self.cast.subjects:
            backbone.tokenize(usual_prompt(one))
        self.read_suites(validation_prompts, test_prompts, predict_prompts)
        self._reference_photo = None if reference is None else read_photo(reference)
        self._rows: Rows | None = None
        self._prior: ClassRows | None = None
        self._scenes: SceneRows | None = None

    @property
    def photos(self) -> list[Photo]:
        """The photos of all subjects, but for those that their preparation left out.

        Raises:
            UserError: If there is none, or one cannot be used and may not be left out.
        """
        return [photo for one in self._sets for photo in one.photos]

    def check(self) -> None:
        """Checks what training and scoring need beyond prompts, before any work.

        Raises:
            UserError: If photos or masks cannot be used.
        """
        self.preparation.check_sizes(self.backbone)
        for one in self._sets:
            one.check()
        digests = [{photo.digest for photo in one.photos} for one in self._sets]
        if self.companion is not None and digests[0] & digests[1]:
            raise UserError("data.companion.photos: a photo is one of data.subject.photos too")
        self._made.check()

    def check_rows(self) -> None:
        """Checks, before any training, that there is a photo for what a row is to be told.

        Raises:
            UserError: If there is not.
        """
        if self.other_background and len(self.photos) < 2:
            raise UserError(
                "data.other_background: there is one photo and no other; add photos, or set it to 0"
            )

    def check_captions(self) -> None:
        """Checks, before any work, that there can be captions, and those that the user wrote.

        Raises:
            UserError: If there can be none, one cannot be used, or the captioner lacks its model.
        """
        captioner = self.preparation.captioner
        if captioner is not None:
            _ = captioner.identity
        for one in self._sets if self.captions is not None else ():
            assert self.captions is not None
            one.check_captions(self.captions)

    def check_reference(self) -> None:
        """Checks, before any work, that the reference photo can have a mask of its own.

        Raises:
            UserError: If it cannot.
        """
        if self._reference_photo is not None:
            segmenter = self.preparation.segmenter_for(self.backbone)
            check_reference(self._reference_photo, self.subject.photos_folder, segmenter)

    def _check_sizes(self) -> None:
        names = ("batch_size", "steps_per_epoch", "drawing_batch_size")
        images = ("validation_images", "test_images", "predict_images")
        for name in (*names, *images):
            if getattr(self, name) < 1:
                raise UserError(f"data.{name} must be 1 or more")
        if not 0 <= self.reference_weight <= _MOST_REFERENCE:
            raise UserError(f"data.reference_weight must be from 0 to {_MOST_REFERENCE}")
        if not 0 <= self.other_background <= 1:
            raise UserError("data.other_background must be from 0 to 1")
        if self.composites is not None and self.scenes is None:
            raise UserError("data.composites: the backgrounds are those of data.scenes; set it too")
        pasted = {"composites": self.composites, "pairs": self.pairs and self.pairs.share}
        for name in (name for name, made in pasted.items() if made):
            if self.preparation.buckets is not None:
                raise UserError(
                    f"data.{name}: they are square pictures among the photos' views; leave "
                    "preparation.buckets, or them, out"
                )
        if self.pairs is not None and self.companion is None:
            raise UserError("data.pairs: there is one subject; set data.companion, or leave it out")
        if self.companion is not None:
            self._check_companion(self.companion)

    def _check_companion(self, companion: Subject) -> None:
        """Refuses what is of one subject alone, and one folder for two."""
        alone = ("prior", "scenes", "composites", "other_background")
        for name in (name for name in alone if getattr(self, name)):
            raise UserError(f"data.{name} is for one subject; leave it, or data.companion, out")
        folders = [one.prepared_folder.absolute() for one in (self.subject, companion)]
        if folders[0] == folders[1]:
            raise UserError(
                f"data.companion.prepared: both subjects would be prepared in {folders[0]}; name "
                "another folder for one of them"
            )

    # Preparation

    def prepare_data(self) -> None:
        """Prepares photos, draws class and scene images, makes composites, where they are missing.

        On one process.

        Only training needs it: what draws with a checkpoint takes nothing from it.
        """
        if self.trainer is not None and self.trainer.state.fn != TrainerFn.FITTING:
            return
        self._made.check_writable()
        for one in self._sets:
            one.prepare(self._device())
        self._made.make(self._device())

    def setup(self, stage: str) -> None:
        """Reads the prepared subject, or the features of the reference photo.

        Args:
            stage: `fit`, `validate`, `test` or `predict`.
        """
        if stage == "fit":
            self._warn_of_real_photos()
        if stage == "fit" and self._rows is None:
            self._load()
        if stage == "predict" and self._reference_photo is not None:
            self.check_reference()
            photo, background = self.preparation.reference(
                self._reference_photo, self.backbone, self._device()
            )
            self.reference_features = PhotoFeatures(photo, background)

    def _load(self) -> None:
        if self.companion is not None:
            self._load_both()
            return
        [one] = self._sets
        prepared = one.open()
        views, pasted, share = one.views(prepared), [], 0.0
        self._prompts = self._say(one.prompts(prepared, views, self.captions, self.seed))
        folder = self._made.composed()
        if folder is not None:
            composites = folder.load()
            pasted, share = composites.prompts, folder.share
            self._prompts = self._prompts.with_composites(pasted, self.subject)
            views = views.then(composites.views)
        self._rows = Rows(views, len(pasted), share, self.other_background, self.seed)
        if (images := self._made.of_class) is not None:
            latents = images.load()
            order = self._order(len(latents.latent_mean))
            self._prior = ClassRows(latents, images.prompt, order)
        if (scenes := self._made.of_scenes) is not None:
            of_scenes = scenes.load()
            order = self._order(len(of_scenes.photo_digests))
            self._scenes = SceneRows(of_scenes, scenes.prompt, order)

    def _load_both(self) -> None:
        prepared = [one.open() for one in self._sets]
        both = [one.views(of_one) for one, of_one in zip(self._sets, prepared, strict=True)]
        first, second = (
            self._say(one.prompts(of_one, views, self.captions, self.seed))
            for one, of_one, views in zip(self._sets, prepared, both, strict=True)
        )
        views, count, prompts, folder = both[0].then(both[1]), 0, {}, self._made.paired()
        if folder is not None:
            views, count = views.then(folder.load_views()), folder.count
            captioned = bool(first.of_photos or second.of_photos)
            of_pairs = folder.prompts(self.cast, captioned)
            prompts = {composite_name(n): prompt for n, prompt in enumerate(of_pairs)}
        assert self.pairs is not None
        self._rows = Rows(views, count, self.pairs.share, 0.0, self.seed)
        self._prompts = JointPrompts(first, second, frozenset(both[1].photo_digests), prompts)

    def _say(self, prompts: TrainingPrompts) -> TrainingPrompts:
        if prompts.note:
            rank_zero_info(prompts.note)
        return prompts

    def _order(self, items: int) -> EndlessOrder:
        return EndlessOrder(items, self.batch_size, self.seed, *self._process())

    def _warn_of_real_photos(self) -> None:
        if not is_mini_backbone(self.backbone.source):
            return
        largest = max(max(photo.size()) for photo in self.photos)
        if largest > _MINI_PHOTO:
            rank_zero_warn(
                "the mini backbone knows only its drawn world: drawings of these photos mean "
                "nothing; take a real one, such as --config configs/backbone/sd21.yaml"
            )

    # Training

    def train_dataloader(self) -> Iterable[SubjectBatch]:
        """The endless stream of views, from the batch that training is at."""
        assert self._rows is not None, "setup('fit') comes first"
        rank, world_size = self._process()
        return SubjectStream(
            self._collate,
            shapes=self._rows.views.shapes[: self._rows.of_photos],
            batch_size=self.batch_size,
            # An epoch's end would step the optimizer before its gradients are all gathered.
            steps_per_epoch=self.steps_per_epoch * self._batches_a_step,
            seed=self.seed,
            rank=rank,
            world_size=world_size,
            position=self._batches_done,
        )

    def _collate(self, indices: Sequence[int], position: int) -> SubjectBatch:
        rows = self._rows
        assert rows is not None
        views = rows.views
        where = places(position, len(indices), *self._process())
        shown, told = rows.at(indices, where)
        prompts = [self._prompts.of(rows.source(v), at) for v, at in zip(shown, where, strict=True)]
        return SubjectBatch(
            pick(views.latent_mean, shown),
            pick(views.latent_log_variance, shown),
            pick(views.subject_mask, shown),
            PhotoFeatures(views.photo_embedding[told], views.background_embedding[told]),
            tuple(prompt.spoken for prompt in prompts),
            tuple(prompt.plain for prompt in prompts),
            position,
            prior=None if self._prior is None else self._prior.batch(position),
            photos=ShownPhotos.of(views.photo_digests, shown),
            scenes=None if self._scenes is None else self._scenes.batch(position),
            framing=None if views.framing is None else views.framing[shown],
        )

    def training_texts(self) -> list[str]:
        """All that is read in training once `setup` is done: prompts, with and without the token.

        Of class and scene images too, and the empty prompt.
        """
        made = [rows.prompt for rows in (self._prior, self._scenes) if rows is not None]
        return ["", *made, *(text for prompt in self._prompts.every() for text in prompt)]

    def _device(self) -> torch.device:
        return torch.device("cpu") if self.trainer is None else self.trainer.strategy.root_device

    @property
    def _batches_a_step(self) -> int:
        return 1 if self.trainer is None else int(self.trainer.accumulate_grad_batches)

    @property
    def _batches_done(self) -> int:
        """Batches that were trained on, in a resumed run too: a loader may be built anew in it."""
        if self.trainer is None:
            return 0
        return int(self.trainer.fit_loop.epoch_loop.batch_progress.total.ready)

    def reference_photos(self) -> list[Tensor]:
        """The photos of all subjects, each `3 H W` uint8, for scores and grids.

        Raises:
            UserError: If they are not there.
        """
        return [picture for one in self._sets for picture in one.pictures()]

    def reference_parts(self) -> tuple[list[Mask], list[NDArray[np.uint8]]]:
        """The photos' masks `H W` and backgrounds `H W 3`, as they were prepared.

        Raises:
            UserError: If they are missing, or stale.
        """
        parts = [one.parts() for one in self._sets]
        return [m for masks, _ in parts for m in masks], [b for _, found in parts for b in found]
