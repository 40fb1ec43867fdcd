"""Photos to prepared subject: what is missing or stale is made, the rest is kept."""

import warnings
from collections.abc import Sequence
from contextlib import ExitStack
from copy import copy
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from idgen.errors import UserError
from idgen.masks import Mask, Picture
from idgen.models.encoders import ImageEncoder
from idgen.prepare.apart import allow_locks, keep_masks_apart, keep_outputs_apart
from idgen.prepare.buckets import AspectBuckets, Size, closest
from idgen.prepare.captioners.captioner import Captioner
from idgen.prepare.defaults import Choice
from idgen.prepare.features import FeatureRecipe, LatentBackbone, view_sizes
from idgen.prepare.folder_contents import passed_over
from idgen.prepare.index import LeftOut
from idgen.prepare.inpainters.inpainter import Inpainter
from idgen.prepare.kohya_folders import kohya_folder
from idgen.prepare.memory import Memory
from idgen.prepare.outcome import Outcome
from idgen.prepare.photos import Photo, find_photos, lone_photo_note
from idgen.prepare.reference import encode_reference
from idgen.prepare.segmenters.own_masks import OwnMasks
from idgen.prepare.segmenters.segmenter import Segmenter, maskable
from idgen.prepare.stages import Stages
from idgen.prepare.state import State, list_targets
from idgen.prepare.store import Store
from idgen.prepare.subject import PreparedSubject
from idgen.prepare.views import list_views

_SMALLEST_RESOLUTION = 8


class Preparation:
    """Prepares a subject: masks, backgrounds, captions and features of its photos, each made once.

    Everything is keyed by its photo's content and by what it is made with:

    - a mask by the photo and the segmenter;
    - a background by the mask and the inpainter;
    - a caption by the background and the captioner, if there is one;
    - latents by photo, mask (it places the views), views, their size and backbone;
    - embeddings (f_p and f'_i) by photo, background, views, their size, image encoder and its
      precision, which is the backbone's.

    So a change makes anew exactly what depends on it. Models are loaded one after the other, each
    only if something is missing, and freed before the next.

    Its methods take `photos_folder`, a subject's photos, which are only read; `output`, the
    prepared subject's folder, existing or not; the `backbone`, whose autoencoder encodes the
    photos; and the `device` that models run on.
    """

    def __init__(
        self,
        segmenter: Segmenter | None = None,
        inpainter: Inpainter | None = None,
        image_encoder: ImageEncoder | None = None,
        flip: bool = True,
        resolution: int | None = None,
        views: int = 0,
        skip_bad: bool = False,
        captioner: Captioner | None = None,
        buckets: AspectBuckets | None = None,
    ) -> None:
        """Puts the parts together; no model is loaded yet.

        Args:
            segmenter: Finds the subject where the user has no mask; None for `AutoSegmenter`, and
                with the mini backbone for the mini segment-anything on drawn pictures.
            inpainter: Takes it out; None for `BackboneInpainter` where there is a GPU; else, and
                with the mini backbone, for OpenCV's.
            image_encoder: E_I, the image twin of the backbone's text encoder; None for the mini
                one.
            flip: Whether each photo's mirror image is a training view too; off for subjects
                with writing on them.
            resolution: Pixels on a side of a view, a multiple of the backbone's patch; None for
                the backbone's own.
            views: How many augmented views each photo has beside these, of another scale, place
                and direction each, so that cached features vary as uncached photos would.
            skip_bad: Whether a photo that cannot be used, or of which nothing can be made, is left
                out with a warning; otherwise one such photo stops its subject, before any work
                where that shows it.
            captioner: Names the scene of each photo, for `data.captions`; None for none.
            buckets: Views keep the shape of their photo, at about the area of a square of the
                resolution; None for squares.

        Raises:
            UserError: If a number is out of its range.
        """
        if views < 0:
            raise UserError(f"preparation.views: {views} is below 0; give 0 for none")
        if resolution is not None and resolution < _SMALLEST_RESOLUTION:
            raise UserError(
                f"preparation.resolution: {resolution} pixels are too few; "
                f"give {_SMALLEST_RESOLUTION} or more, or null for the backbone's own"
            )
        self.image_encoder = image_encoder or ImageEncoder()
        self.captioner = None if captioner is None else captioner.beside(self.image_encoder)
        self.flip = flip
        self.resolution = resolution
        self.views = views
        self.skip_bad = skip_bad
        self.buckets = buckets
        self._choice = Choice(segmenter, inpainter)
        self._decoded: set[str] = set()
        self._said: set[str] = set()

    @property
    def segmenter(self) -> Segmenter | None:
        """What was given to find the subject; None for the default."""
        return self._choice.given_segmenter

    @segmenter.setter
    def segmenter(self, segmenter: Segmenter | None) -> None:
        self._choice.given_segmenter = segmenter

    @property
    def inpainter(self) -> Inpainter | None:
        """What was given to take it out; None for the default."""
        return self._choice.given_inpainter

    @inpainter.setter
    def inpainter(self, inpainter: Inpainter | None) -> None:
        self._choice.given_inpainter = inpainter

    def segmenter_for(self, backbone: LatentBackbone) -> OwnMasks:
        """What finds the subject, wherever a photo does not bring its own mask (`Choice`)."""
        return self._choice.segmenter(backbone)

    def inpainter_for(self, backbone: LatentBackbone) -> Inpainter:
        """What takes the subject out of photos for this backbone."""
        return self._choice.inpainter(backbone)

    def inpainter_of_drawings(self, backbone: LatentBackbone) -> Inpainter:
        """What takes the subject out of drawings: the one that was given, else OpenCV's."""
        return self._choice.inpainter_of_drawings(backbone)

    def look_for(self, class_noun: str) -> None:
        """Says what the subject is, before any work, for a segmenter that was not given."""
        self._choice = self._choice.of(class_noun)

    def of(self, class_noun: str) -> "Preparation":
        """The same preparation, for photos of something else."""
        choice = self._choice.of(class_noun)
        if choice is self._choice:
            return self
        other = copy(self)
        other._choice = choice
        return other

    def plan(self, photos_folder: Path, output: Path, backbone: LatentBackbone) -> list[str]:
        """Names what is missing or stale, without changing anything.

        Returns:
            One short text each, such as ``mask of '00.jpg'``; empty if all is there.

        Raises:
            UserError: On bad photos, masks, settings, or an output folder that is not ours.
        """
        return self._state(photos_folder, output, backbone, Memory()).missing()

    def is_fresh(self, photos_folder: Path, output: Path, backbone: LatentBackbone) -> bool:
        """Whether nothing is missing or stale; takes and raises what `plan` does."""
        return not self.plan(photos_folder, output, backbone)

    def run(
        self,
        photos_folder: Path,
        output: Path,
        backbone: LatentBackbone,
        device: torch.device,
        progress: bool = True,
    ) -> PreparedSubject:
        """Makes what is missing or stale, and removes what no photo needs any more.

        A killed run leaves only whole files; the next one goes on from them. Runs at the same
        time wait for each other. `progress` shows on stderr how far it is.

        Raises:
            UserError: On bad photos, masks or settings, before work starts; if a model cannot be
                loaded; if the output cannot be written.
        """
        [outcome] = self.run_all([(photos_folder, output)], backbone, device, progress)
        if outcome.error is not None:
            raise outcome.error
        return PreparedSubject(output)

    def run_all(
        self,
        subjects: Sequence[tuple[Path, Path]],
        backbone: LatentBackbone,
        device: torch.device,
        progress: bool = True,
    ) -> list[Outcome]:
        """Does what `run` does for several subjects, stage by stage: models are loaded once.

        All but the segmenter, that is, which looks at each set of photos as a whole. A subject,
        `photos_folder` and `output`, that cannot be prepared does not stop the others.

        Returns:
            What became of each, in their order.

        Raises:
            UserError: On settings or models that no subject can do with.
        """
        self._check_models(backbone)
        segmenter, memory = self.segmenter_for(backbone), Memory()
        looked = [self._look(photos, output, backbone, memory) for photos, output in subjects]
        looked = keep_masks_apart(keep_outputs_apart(looked), segmenter)
        lacking = {at: s for at, s in enumerate(looked) if isinstance(s, State) and s.missing()}
        if any(state.lacking("embeddings") for state in lacking.values()):
            # Before the others' work, lest it fail after that.
            self.image_encoder.fetch()
        if self.captioner is not None and any(s.lacking("captions") for s in lacking.values()):
            self.captioner.fetch()
        allow_locks(len(lacking))
        with ExitStack() as locks:
            # In the order of their names, or two runs might wait for each other.
            for at in sorted(lacking, key=lambda at: str(subjects[at][1].absolute())):
                try:
                    locks.enter_context(Store(subjects[at][1]).locked())
                    # Looked at anew: another run may have been at work until now.
                    looked[at] = self._look(*subjects[at], backbone, memory)
                except UserError as error:
                    looked[at] = error
            states = [state for at in lacking if isinstance(state := looked[at], State)]
            self._choice.say(states, segmenter)
            left_out = self._left_out if self.skip_bad else None
            inpainter = self.inpainter_for(backbone)
            if any(state.lacking("backgrounds") for state in states):
                self._choice.say_of_inpainter(inpainter)
            stages = Stages(states, device, progress and bool(states), left_out)
            stages.run(segmenter, inpainter, self.captioner, backbone, self.image_encoder)
        for state in looked:
            if isinstance(state, State):
                self._warn_of_one(state)
        return [Outcome.of(state, *pair) for state, pair in zip(looked, subjects, strict=True)]

    def _look(
        self, photos: Path, output: Path, backbone: LatentBackbone, memory: Memory
    ) -> State | UserError:
        try:
            return self._state(photos, output, backbone, memory)
        except UserError as error:
            return error

    def open(self, photos: Sequence[Photo], output: Path) -> PreparedSubject:
        """Opens what was prepared for exactly these photos.

        Raises:
            UserError: If nothing is prepared there, or it is of other photos.
        """
        subject = PreparedSubject(output)
        prepared = {photo.digest: photo.name for photo in subject.photos}
        lacking = [repr(photo.name) for photo in photos if photo.digest not in prepared]
        extra = prepared.keys() - {photo.digest for photo in photos}
        others = sorted(repr(prepared[digest]) for digest in extra)
        if lacking or others:
            what = f"lacks {', '.join(lacking)}" if lacking else ""
            what = what or f"holds other photos: {', '.join(others)}"
            raise UserError(f"{str(output)!r} {what}; run idgen prepare again")
        return subject

    def masks_and_backgrounds(
        self, photos_folder: Path, output: Path, backbone: LatentBackbone
    ) -> dict[str, tuple[Mask, Picture]]:
        """The photos' masks `H W` and backgrounds `H W 3`, by the photos' digests.

        Features, index and contact sheet may be missing or stale.

        Raises:
            UserError: If one is missing or stale, or where `plan` raises one.
        """
        state = self._state(photos_folder, output, backbone, Memory())
        if missing := state.missing_files(("masks", "backgrounds")):
            raise UserError(f"{output} lacks {missing[0]}: run idgen prepare")
        return {t.photo.digest: (state.mask(t), state.background(t)) for t in state.targets}

    def reference(
        self, photo: Photo, backbone: LatentBackbone, device: torch.device
    ) -> tuple[Tensor, Tensor]:
        """f_p and f'_i of one photo, whose scene a drawing is to keep; nothing is written.

        The photo may be of the subject or of anything else; `check_reference` comes first. The
        result is `1 D` each, float32 on the CPU.

        Raises:
            UserError: If all of it is taken for its subject, or a model cannot be loaded.
        """
        return encode_reference(
            photo,
            self.segmenter_for(backbone),
            self.inpainter_for(backbone),
            self.image_encoder,
            self.view_size(photo, backbone),
            backbone.dtype,
            device,
        )

    def view_size(self, photo: Photo, backbone: LatentBackbone) -> Size:
        """The size of a photo's views; takes and raises what `check_sizes` does."""
        return closest(self._sizes(backbone), *photo.size())

    def check_sizes(self, backbone: LatentBackbone) -> None:
        """Raises a UserError if views of the resolution, or of a bucket, are none for it."""
        self._sizes(backbone)

    def _sizes(self, backbone: LatentBackbone) -> tuple[Size, ...]:
        return view_sizes(self.resolution, self.buckets, backbone)

    def _state(
        self, photos_folder: Path, output: Path, backbone: LatentBackbone, memory: Memory
    ) -> State:
        self._check_models(backbone)
        store = Store(output)
        store.check()
        index = store.index()
        self._decoded |= {photo.digest for photo in index.photos} if index else set()
        photos = [replace(photo, memory=memory) for photo in self.find(photos_folder, backbone)]
        recipe = FeatureRecipe(
            autoencoder=backbone.identity,
            image_encoder=self.image_encoder.identity,
            dtype=backbone.dtype,
            resolution=self.resolution or backbone.resolution,
            views=list_views(self.flip, self.views),
            sizes=self._sizes(backbone),
        )
        first, *others = self._choice.inpainters(backbone)

        def state_with(inpainter: Inpainter) -> tuple[State, list[LeftOut]]:
            segmenter = self.segmenter_for(backbone)
            targets = list_targets(photos, segmenter, inpainter, self.captioner, recipe)
            state = State(store, index, recipe, targets, memory)
            state.note_known_faults()
            return state, state.settle(self.skip_bad)

        state, faults = state_with(first)
        if others and index and state.lacking("backgrounds") and not state.lacking("masks"):
            for other in others:
                try:
                    kept, kept_faults = state_with(other)
                except UserError:
                    continue  # there is nothing whole to keep
                # Whole, or not at all: a set's backgrounds are made by one inpainter.
                if not kept.lacking("backgrounds"):
                    self._warn(
                        f"{photos_folder}: the backgrounds of {type(other).__name__} are kept, "
                        f"which another machine made; here it would be {type(first).__name__}: "
                        "preparation.inpainter chooses"
                    )
                    state, faults = kept, kept_faults
        for fault in faults:
            self._left_out(photos_folder, fault)
        self._warn_of_one(state)
        return state

    def find(self, photos_folder: Path, backbone: LatentBackbone) -> list[Photo]:
        """The photos that can be used and can have a mask, one or more, sorted by name.

        Raises:
            UserError: If there is none, or one is bad and `skip_bad` is off.
        """
        segmenter = self.segmenter_for(backbone)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            photos = find_photos(photos_folder, self._decoded, self.skip_bad)
            self._decoded |= {photo.digest for photo in photos}
            usable, faults = maskable(photos, segmenter) if self.skip_bad else (photos, [])
            if usable:
                segmenter.check(usable)
        # What a segmenter says of its folder, it says for each photo that it is asked about.
        notes = [*dict.fromkeys(str(warning.message) for warning in caught), *faults]
        if not usable:
            raise UserError(f"no photo in {photos_folder} can have a mask; " + "; ".join(notes))
        if others := passed_over(photos_folder):
            notes = [f"passed over what is no photo: {others}", *notes]
        if (kohya := kohya_folder(photos_folder)) is not None:
            notes = [kohya.said, *notes]
        for note in notes:
            self._warn(f"{photos_folder}: {note}")
        return usable

    def but_left_out(self, photos: Sequence[Photo], output: Path) -> list[Photo]:
        """Of the photos that `find` gives, those that were not left out in preparation."""
        index = Store(output).index() if self.skip_bad else None
        left_out = {photo.digest for photo in index.left_out} if index else set()
        return [photo for photo in photos if photo.digest not in left_out]

    def _check_models(self, backbone: LatentBackbone) -> None:
        """Raises a UserError if one is missing."""
        inpainter = self.inpainter_for(backbone)
        for part in (self.segmenter_for(backbone), inpainter, self.image_encoder):
            _ = part.identity
        if self.captioner is not None:
            _ = self.captioner.identity

    def _warn(self, note: str) -> None:
        """Warns once: photos are looked at again when their folder is locked."""
        if note not in self._said:
            self._said.add(note)
            warnings.warn(note, stacklevel=3)

    def _left_out(self, photos_folder: Path, fault: LeftOut) -> None:
        self._warn(f"{photos_folder}: left out {fault}")

    def _warn_of_one(self, state: State) -> None:
        if len(state.targets) == 1:
            self._warn(lone_photo_note(state.photos_folder))
