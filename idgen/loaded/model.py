"""What every model that is drawn with has, wherever it comes from."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor

from idgen.backbones.backbone import Backbone
from idgen.errors import UserError
from idgen.models.conditioning import Conditioning
from idgen.models.decoupling import PhotoFeatures
from idgen.placeholders import filled
from idgen.sampling import DrawingRequest, Sampler

_AUTOCAST = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}


@dataclass(frozen=True)
class ModelRecord:
    """What tells a model from others, for the pictures that it draws.

    Attributes:
        kind: `checkpoint`, `export` or `backbone`.
        path: Where it was, or the name that a backbone goes by.
        digest: Hash of its weights.
        backbone: Where its backbone was, or that one's name.
        backbone_identity: Hash of the backbone's files.
        step: Steps that it was trained for; None where that is not known.
        token: What [V] was asked to become; None for what the model says.
    """

    kind: str
    path: str
    digest: str
    backbone: str
    backbone_identity: str
    step: int | None = None
    token: str | None = None


@dataclass(frozen=True)
class Reference:
    """A photo whose scene and pose are kept.

    Attributes:
        photo: Its file.
        weight: How much of it, 1 as much as in training.
    """

    photo: str
    weight: float = 1.0


class LoadedModel(ABC):
    """A model that draws. Opening one loads no weights; `load` brings them in.

    Attributes:
        name: For captions and folders.
        record: What tells it from others.
        backbone: The frozen model under it.
        sampler: How it draws if nothing else is asked for.
        batch_size: Pictures drawn at once.
        precision: As Lightning calls it, such as `bf16-mixed`.
        class_noun: What its subject is; empty where that is not known.
        photos: Of its subject, `3 H W` uint8, for grids; none where they are not there.
    """

    name: str
    record: ModelRecord
    backbone: Backbone
    sampler: Sampler
    batch_size: int = 16
    precision: str = "32-true"
    class_noun: str = ""
    photos: Sequence[Tensor] = ()

    @abstractmethod
    def spoken(self, prompt: str) -> tuple[str, str]:
        """A prompt as the backbone reads it, and without the subject's token.

        Args:
            prompt: With [V] in it.

        Raises:
            UserError: If it cannot be used.
        """

    @abstractmethod
    def check(self) -> None:
        """Refuses what could not be drawn with; loads nothing.

        Raises:
            UserError: If files are missing or damaged, or the sampler does not fit.
        """

    @abstractmethod
    def load(self, device: torch.device) -> None:
        """Brings the weights in.

        Raises:
            UserError: If some are missing or do not fit.
        """

    @property
    @abstractmethod
    def conditioning(self) -> Conditioning:
        """How prompts become conditions."""

    @property
    def reference(self) -> tuple[PhotoFeatures | None, float]:
        """Features of the photo whose scene is kept, and how much of it."""
        return None, 0.0

    def filled(self, prompt: str) -> str:
        """A prompt with its class nouns filled in; [V] stays.

        Raises:
            UserError: If anything else stands in braces.
        """
        return filled(prompt, self.class_noun)

    def requests(self, prompts: Sequence[str], number: int, seed: int) -> list[DrawingRequest]:
        """Every picture of some prompts.

        Args:
            prompts: With [V] in them.
            number: Pictures of each.
            seed: Of their noise.

        Raises:
            UserError: If a prompt cannot be used.
        """
        found = []
        for index, prompt in enumerate(prompts):
            spoken, plain = self.spoken(self.filled(prompt))
            self.backbone.tokenize([spoken])
            found += [DrawingRequest(spoken, plain, index, n, seed) for n in range(number)]
        return found

    def draw(
        self, requests: Sequence[DrawingRequest], sampler: Sampler, device: torch.device
    ) -> Tensor:
        """Draws one batch, `B 3 H W` uint8 on the CPU.

        Args:
            requests: The pictures.
            sampler: How.
            device: Where the weights are.

        Raises:
            UserError: If what comes out is no picture, as of a run that diverged.
        """
        features, weight = self.reference
        with torch.inference_mode(), self._autocast(device):
            drawn = sampler.draw(
                self.backbone, self.conditioning, requests, device, features, weight
            )
        if not drawn.finite:
            raise UserError(
                f"{self.record.path} draws nothing that is finite, as a run does that diverged; "
                "take an earlier checkpoint, or train again with a lower lr"
            )
        return drawn.images

    def _autocast(self, device: torch.device) -> AbstractContextManager[object]:
        dtype = _AUTOCAST.get(self.precision)
        return nullcontext() if dtype is None else torch.autocast(device.type, dtype)
