"""Scene images: the subject's class in many scenes, by which f'_i comes to mean a scene."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from idgen.backbones.backbone import Backbone
from idgen.backbones.latents import Autoencoder
from idgen.data.backbone_drawings import BackboneDrawings, drawn_by
from idgen.data.batch import SceneBatch
from idgen.data.shard import drawing_requests
from idgen.data.stream import EndlessOrder
from idgen.errors import UserError
from idgen.files import atomic_write
from idgen.fingerprint import fingerprint_fields
from idgen.masks import Picture
from idgen.mini.scenes import SCENES
from idgen.models.decoupling import PhotoFeatures
from idgen.pictures import save_png
from idgen.placeholders import CLASS_NOUN, filled
from idgen.prepare import MaskFiles, Photo, Preparation, Segmenter, SubjectViews
from idgen.prepare.photos import SMALLEST_SIDE
from idgen.prepare.segmenters.class_noun import NOUN_FILE
from idgen.prepare.subject import PreparedSubject, pick
from idgen.sampling import DrawingRequest, Sampler
from idgen.seeds import seed_of

_PICTURES = "pictures"


def usual_scenes() -> list[str]:
    """A prompt a scene of the mini world: ordinary ones, which any backbone can draw."""
    return [f"a {CLASS_NOUN} {scene.phrases[0]}" for scene in SCENES.values()]


class SceneRows(NamedTuple):
    """What batches take scene images from.

    Attributes:
        views: Of all of them.
        prompt: Their training prompt, which names no scene.
        order: Whose turn it is.
    """

    views: SubjectViews
    prompt: str
    order: EndlessOrder

    def batch(self, position: int) -> SceneBatch:
        """The scene images of this process's batch at a position."""
        chosen = self.order.indices(position)
        views = self.views
        return SceneBatch(
            pick(views.latent_mean, chosen),
            pick(views.latent_log_variance, chosen),
            pick(views.subject_mask, chosen),
            PhotoFeatures(views.photo_embedding[chosen], views.background_embedding[chosen]),
            (self.prompt,) * len(chosen),
        )


class SceneBackground(NamedTuple):
    """A scene with nobody in it.

    Attributes:
        picture: `H W 3`, the subject inpainted away.
        prompt: What was drawn there before.
        key: Hash of what made it.
    """

    picture: Picture
    prompt: str
    key: str


@dataclass
class SceneImages:
    """Images of the subject's class in many scenes, each with an f_p and an f'_i of its own.

    A set of photos shows few backgrounds, and f'_i of five photos is no more than their numbers.
    These images, under f_com = f_s("a photo of a robot") + f'_i, say what f'_i means in general.
    The frozen backbone draws them once; then they are prepared as photos are.

    Attributes:
        prompts: What is drawn, `{class_noun}` and a scene in each.
        prompt: Their training prompt, which names no scene: f'_i is to say that.
        per_prompt: Images of each of the prompts.
        segmenter: Finds the subject in them; None for the preparation's, but for masks that the
            user made, which belong to photos alone: then what finds the others, or the default.
        sampler: How they are drawn; None for idgen's usual way.
        seed: Of the drawings.
        batch_size: Images drawn at once.
        folder: Where they are kept, a folder in it for each class, backbone and way of drawing;
            by default `scene_images/` beside the prepared subject.
    """

    prompts: list[str] = field(default_factory=usual_scenes)
    prompt: str = f"a photo of a {CLASS_NOUN}"
    per_prompt: int = 8
    segmenter: Segmenter | None = None
    sampler: Sampler | None = None
    seed: int = 0
    batch_size: int = 8
    folder: str | None = None

    def __post_init__(self) -> None:
        """Refuses numbers below 1, and no or equal prompts.

        Raises:
            ValueError: If there is one.
        """
        if self.per_prompt < 1 or self.batch_size < 1:
            raise ValueError("data.scenes: per_prompt and batch_size must be 1 or more")
        if not self.prompts or len(set(self.prompts)) < len(self.prompts):
            raise ValueError("data.scenes: prompts must name one scene or more, each once")

    def of(
        self, class_noun: str, backbone: Backbone, prepared: Path, preparation: Preparation
    ) -> "SceneFolder":
        """The folder of a class's images.

        Args:
            class_noun: Such as `dog`.
            backbone: Who draws them, and whose latents are kept.
            prepared: The prepared subject's folder.
            preparation: How photos become features; images become them the same way.
        """
        parent = prepared.parent / "scene_images" if self.folder is None else Path(self.folder)
        prompts = [filled(prompt, class_noun, "data.scenes.prompts") for prompt in self.prompts]
        sampler, seed = self.sampler or Sampler(), seed_of("scene images", self.seed)
        # The prompts and their number too: all pictures in the folder are prepared together.
        drawn = "\n".join(prompts)
        key = drawn_by(backbone, sampler, prompts=drawn, per_prompt=self.per_prompt, seed=seed)
        noun = re.sub(r"\W+", "-", class_noun)
        requests = drawing_requests([(p, p) for p in prompts], self.per_prompt, seed)
        return SceneFolder(
            parent.expanduser() / f"{noun}-{key[:12]}",
            requests,
            sampler,
            self.batch_size,
            backbone,
            self._preparation(preparation, class_noun),
            class_noun,
            filled(self.prompt, class_noun, "data.scenes.prompt"),
        )

    def _preparation(self, preparation: Preparation, class_noun: str) -> Preparation:
        segmenter = self.segmenter or preparation.segmenter
        if isinstance(segmenter, MaskFiles):
            segmenter = segmenter.others
        parts = Preparation(
            segmenter=segmenter,
            inpainter=preparation.inpainter,
            image_encoder=preparation.image_encoder,
            flip=preparation.flip,
            resolution=preparation.resolution,
            # Where the subject cannot be found in an image, there are others.
            skip_bad=True,
        )
        parts.look_for(class_noun)
        return parts


class SceneFolder(BackboneDrawings):
    """One class's images on disk: `pictures/`, and prepared.

    Attributes:
        prompt: Their training prompt.
        preparation: How they are prepared.
    """

    key = "data.scenes"
    what = "scene images"

    def __init__(
        self,
        folder: Path,
        requests: Sequence[DrawingRequest],
        sampler: Sampler,
        batch_size: int,
        backbone: Backbone,
        preparation: Preparation,
        class_noun: str,
        prompt: str,
    ) -> None:
        """Looks at nothing yet.

        Args:
            folder: Existing or not.
            requests: The pictures.
            sampler: How they are drawn.
            batch_size: Pictures drawn at once.
            backbone: Who draws them, and encodes them.
            preparation: How they are prepared.
            class_noun: What they show.
            prompt: Their training prompt.
        """
        super().__init__(folder, requests, sampler, batch_size, backbone)
        self.preparation = preparation
        self.prompt = prompt
        self._class_noun = class_noun

    @property
    def pictures(self) -> Path:
        """Where the pictures lie."""
        return self.folder / _PICTURES

    @property
    def prepared(self) -> Path:
        """Where they lie prepared; named after what prepares them, so that nothing is undone."""
        parts = self.preparation
        key = fingerprint_fields(
            segmenter=parts.segmenter_for(self.backbone).identity,
            inpainter=parts.inpainter_for(self.backbone).identity,
            image_encoder=parts.image_encoder.identity,
            dtype=str(self.backbone.dtype),
            flip=parts.flip,
            resolution=parts.resolution,
        )
        return self.folder / f"prepared-{key[:12]}"

    def check(self, token: str) -> None:
        """Refuses what could not be drawn.

        Args:
            token: The subject's.

        Raises:
            UserError: If the sampler or a prompt do not fit the backbone, or a prompt is blank or
                names the subject, or the pictures would be too small.
        """
        super().check(token)
        if self.backbone.resolution < SMALLEST_SIDE:
            raise UserError(
                f"{self.key}: the backbone draws {self.backbone.resolution} pixels a side, and "
                f"pictures of less than {SMALLEST_SIDE} cannot be prepared; leave it out"
            )
        self.check_prompt("prompt", self.prompt, token)
        for prompt in dict.fromkeys(request.prompt for request in self._requests):
            self.check_prompt("prompts", prompt, token)

    def path(self, request: DrawingRequest) -> Path:
        """The file of a picture."""
        return self.pictures / f"{request.prompt_index:03d}-{request.number:04d}.png"

    def keep(
        self,
        images: Tensor,
        batch: Sequence[DrawingRequest],
        autoencoder: Autoencoder,
        device: torch.device,
    ) -> None:
        """Writes pictures, and what they show, which segmenters may ask for."""
        self.pictures.mkdir(exist_ok=True)
        atomic_write(self.pictures / NOUN_FILE, f"{self._class_noun}\n".encode())
        for request, image in zip(batch, images, strict=True):
            save_png(image, self.path(request))

    def is_ready(self) -> bool:
        """Whether all pictures are there and prepared.

        Raises:
            UserError: If nothing can be made of any of them.
        """
        if not self.is_complete():
            return False
        return self.preparation.is_fresh(self.pictures, self.prepared, self.backbone)

    def make(self, device: torch.device, progress: bool = True) -> None:
        """Draws and prepares what is missing; a killed run is gone on with.

        Args:
            device: Where models run.
            progress: Whether to show progress bars on the terminal (stderr).

        Raises:
            UserError: If the folder cannot be written, the weights cannot be loaded, or nothing can
                be made of any picture.
        """
        self.draw(device, progress)
        # One model at a time is on the device.
        self.backbone.to("cpu")
        try:
            self.preparation.run(self.pictures, self.prepared, self.backbone, device, progress)
        except UserError as error:
            raise UserError(
                f"{error}; these are scene images: for another segmenter set {self.key}.segmenter"
            ) from error

    def _open(self) -> PreparedSubject:
        found: list[Photo] = self.preparation.find(self.pictures, self.backbone)
        photos = self.preparation.but_left_out(found, self.prepared)
        return self.preparation.open(photos, self.prepared)

    def load(self) -> SubjectViews:
        """Reads the features of all images, one view a row.

        Raises:
            UserError: If a file is missing or damaged.
        """
        return self._open().load_views()

    def backgrounds(self) -> list[SceneBackground]:
        """The images with their subjects inpainted away.

        Raises:
            UserError: If a file is missing or damaged.
        """
        subject = self._open()
        prompts = {self.path(request).name: request.prompt for request in self._requests}
        return [
            SceneBackground(
                subject.background(photo),
                prompts[photo.name],
                photo.files["backgrounds"].key,
            )
            for photo in subject.photos
        ]
