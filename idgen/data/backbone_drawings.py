"""Pictures that the frozen backbone draws of a class, once, into a folder of their own."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.console import Console
from rich.progress import track
from torch import Tensor

from idgen.backbones.backbone import Backbone
from idgen.backbones.latents import Autoencoder
from idgen.devices import free
from idgen.errors import UserError
from idgen.files import check_writable
from idgen.fingerprint import fingerprint_fields
from idgen.locks import locked
from idgen.models.conditioning import TextOnly
from idgen.placeholders import PLACEHOLDER
from idgen.sampling import DrawingRequest, Sampler


class BackboneDrawings(ABC):
    """A class's pictures on disk, each drawn once.

    Attributes:
        folder: Where they lie, named after what they are made of.
        backbone: Who draws them.
    """

    key: str
    """The setting that asks for them."""
    what: str
    """What they are, for people."""

    def __init__(
        self,
        folder: Path,
        requests: Sequence[DrawingRequest],
        sampler: Sampler,
        batch_size: int,
        backbone: Backbone,
    ) -> None:
        """Looks at nothing yet.

        Args:
            folder: Existing or not.
            requests: The pictures.
            sampler: How they are drawn.
            batch_size: Pictures drawn at once.
            backbone: Who draws them.
        """
        self.folder = folder
        self._requests = list(requests)
        self._sampler = sampler
        self._batch_size = batch_size
        self.backbone = backbone

    def check(self, token: str) -> None:
        """Refuses what could not be drawn.

        Args:
            token: The subject's, which no prompt may hold.

        Raises:
            UserError: If the sampler does not fit the backbone.
        """
        try:
            self._sampler.check(self.backbone)
        except UserError as error:
            raise UserError(f"{self.key}.sampler: {error}") from error

    def check_prompt(self, name: str, prompt: str, token: str) -> None:
        """Refuses a prompt of class pictures that is blank, too long, or names the subject.

        Args:
            name: Of the setting below `key`.
            prompt: The class noun filled in.
            token: The subject's.

        Raises:
            UserError: If it does.
        """
        self.backbone.tokenize([prompt])  # which refuses one that is too long
        names_subject = PLACEHOLDER in prompt or self.backbone.says(prompt, token)
        if names_subject or not prompt.strip():
            raise UserError(
                f"{self.key}.{name} {prompt!r} has to name the class alone, without {PLACEHOLDER} "
                f"and {token!r}, such as 'a photo of a {{class_noun}}'"
            )

    def check_writable(self) -> None:
        """Refuses a folder that cannot be written, without creating anything.

        Raises:
            UserError: If it cannot, or if the disk is full.
        """
        check_writable(self.folder, f"{self.key}.folder")

    @abstractmethod
    def path(self, request: DrawingRequest) -> Path:
        """The file by which a picture counts as drawn."""

    @abstractmethod
    def keep(
        self,
        images: Tensor,
        batch: Sequence[DrawingRequest],
        autoencoder: Autoencoder,
        device: torch.device,
    ) -> None:
        """Writes pictures `B 3 H W`, uint8, and what belongs to them."""

    def _batches_to_draw(self) -> list[list[DrawingRequest]]:
        """The batches of which a picture is missing; whole ones, so that each stays the same."""
        size = self._batch_size
        batches = [self._requests[at : at + size] for at in range(0, len(self._requests), size)]
        return [b for b in batches if not all(self.path(r).exists() for r in b)]

    def is_complete(self) -> bool:
        """Whether all pictures are there."""
        return not self._batches_to_draw()

    def draw(self, device: torch.device, progress: bool = True) -> None:
        """Draws what is missing; a killed run is gone on with, runs at a time wait for each other.

        Args:
            device: Where to draw.
            progress: Whether to show a progress bar on the terminal (stderr).

        Raises:
            UserError: If the folder cannot be written or the weights cannot be loaded.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            with locked(self.folder / ".lock"):
                self._draw(device, progress)
        except OSError as error:
            raise UserError(
                f"cannot write {self.what} to {self.folder} ({error.strerror or error}); free "
                f"some space, or change {self.key}.folder"
            ) from error

    def _draw(self, device: torch.device, progress: bool) -> None:
        batches = self._batches_to_draw()
        if not batches:
            return
        backbone = self.backbone
        backbone.load()
        backbone.to(device)
        conditioning = TextOnly(backbone.features)
        shown = track(
            batches,
            description=f"drawing {self.what}: {self._requests[0].prompt}",
            console=Console(stderr=True),
            disable=not progress,
        )
        with backbone.untuned(), backbone.autoencoder(device) as autoencoder:
            for batch in shown:
                drawings = self._sampler.draw(backbone, conditioning, batch, device)
                self.keep(drawings.images, batch, autoencoder, device)
        free(device)


def drawn_by(backbone: Backbone, sampler: Sampler, **fields: str | int) -> str:
    """Hash of what makes pictures.

    Args:
        backbone: Who draws them.
        sampler: How.
        **fields: What else counts.
    """
    return fingerprint_fields(
        backbone=backbone.identity,
        sampler=type(sampler).__name__,
        settings=json.dumps(sampler.settings, sort_keys=True),
        **fields,
    )
