"""What every format of an export is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from idgen.export.exported_run import ExportedRun
from idgen.module import PersonalizationModule


@dataclass(frozen=True)
class Written:
    """What a format wrote, by what loads it.

    Attributes:
        word: What stands for the subject in prompts of these files.
        dtype: Of the weights.
        base: A whole pipeline folder; None where the run's base is needed.
        lora: For `load_lora_weights`.
        embedding: For `load_textual_inversion`.
        embeds: Finished states of prompts.
        fusion: The folder of the fusion and its Python file.
    """

    word: str
    dtype: torch.dtype
    base: Path | None = None
    lora: Path | None = None
    embedding: Path | None = None
    embeds: Path | None = None
    fusion: Path | None = None


class ExportFormat(Protocol):
    """Files that other tools load."""

    @property
    def name(self) -> str:
        """As the command line has it."""
        ...

    def check(self, module: PersonalizationModule, reference: bool) -> None:
        """Refuses, before weights are loaded, what it cannot hold.

        Args:
            module: Light.
            reference: Whether a photo's scene is to be kept.

        Raises:
            UserError: If it cannot hold the run; it names another format.
        """
        ...

    def write(self, run: ExportedRun, folder: Path, dtype: torch.dtype) -> Written:
        """Writes the files.

        Args:
            run: Loaded.
            folder: An empty one.
            dtype: Of the weights.

        Raises:
            UserError: If it cannot hold what was trained.
        """
        ...

    def own_drawing(self, run: ExportedRun, written: Written) -> Tensor:
        """Idgen's drawing with the weights as they were written, `3 H W` uint8."""
        ...
