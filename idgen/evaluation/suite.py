"""What an evaluation has to know of what is drawn, and of what draws."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from idgen.errors import UserError
from idgen.masks import Mask, Picture
from idgen.prepare import Inpainter, Photo, Segmenter
from idgen.sampling import Sampler


@dataclass(frozen=True)
class Companion:
    """The second of two subjects that are drawn together.

    Attributes:
        folder: Of its photos.
        tokens: The words of the first and of the second in prompts.
    """

    folder: Path
    tokens: tuple[str, str]


@dataclass(frozen=True)
class Suite:
    """A subject, and the prompts that it is drawn for; files are read when they are needed.

    Attributes:
        class_noun: What the subject is.
        folder: Of its photos; its name is the subject's.
        photos: Finds them.
        pictures: Reads them, each `3 H W` uint8.
        parts: Reads their masks `H W` and backgrounds `H W 3` as they were prepared.
        segmenter: Finds the subject in photos.
        inpainter: Takes it away.
        prompts: How many there are.
        prompts_identity: Hash of their templates.
        images_per_prompt: Drawings of each.
        drawing_seed: Of the drawings' starting noise.
        sampler: How they are drawn.
        limit: How much of it is drawn, as `protocol.limit_of` has it; None for all.
        companion: Who is drawn together with the subject; None for nobody.
    """

    class_noun: str
    folder: Path
    photos: Callable[[], list[Photo]]
    pictures: Callable[[], list[Tensor]]
    parts: Callable[[], tuple[list[Mask], list[Picture]]]
    segmenter: Segmenter
    inpainter: Inpainter
    prompts: int
    prompts_identity: str
    images_per_prompt: int
    drawing_seed: int
    sampler: Sampler
    limit: float | None = None
    companion: Companion | None = None

    @property
    def name(self) -> str:
        """The subject's; of two, both."""
        own = self.folder.name
        return own if self.companion is None else f"{own} and {self.companion.folder.name}"

    def pictures_if_there(self) -> list[Tensor]:
        """The photos for grids and pages; none where a checkpoint that moved draws without them."""
        try:
            return self.pictures()
        except UserError:
            return []


@dataclass(frozen=True)
class Drawer:
    """What drew.

    Attributes:
        checkpoint: Its file, None for the untrained model.
        step: Steps that it was trained for.
        method: Its tuning and conditioning.
        backbone: Name of its backbone.
        backbone_identity: Hash of that one's files.
    """

    checkpoint: str | None
    step: int
    method: str
    backbone: str
    backbone_identity: str
