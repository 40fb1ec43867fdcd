"""Embeddings of line-ups, kept from run to run: they are the same for every cell of a subject.

It belongs to what scores, as `truth` does.
"""

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from idgen import __version__
from idgen.files import atomic_write
from idgen.fingerprint import cache_folder, fingerprint_fields, fingerprint_path
from idgen.metrics.encoders import DinoScorer
from idgen.mini.subjects import MiniSubject

_PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class LineupCache:
    """One line-up's file; losing it costs time only, so that whatever is wrong with it is no error.

    Attributes:
        path: The file, existing or not; None for a user who has no home.
    """

    path: Path | None

    @classmethod
    def of(cls, subject: MiniSubject, dino: DinoScorer, device: torch.device) -> Self:
        """Names the file after all that decides the embeddings, the code that draws included.

        Raises:
            UserError: If DINO's files are missing.
        """
        code = {name: fingerprint_path(_PACKAGE / name, ["*.py"]) for name in ("mini", "metrics")}
        key = fingerprint_fields(
            noun=subject.noun,
            identity_seed=subject.identity_seed,
            dino=dino.identity,
            device=device.type,
            torch=torch.__version__,
            version=__version__,
            **code,
        )
        try:
            return cls(cache_folder() / "lineups" / f"{key}.safetensors")
        except RuntimeError:
            return cls(None)

    def read(self) -> Tensor | None:
        """The embeddings `I K E` on the CPU; None where they are not there, or damaged."""
        try:
            return None if self.path is None else load(self.path.read_bytes())["lineup"]
        except (OSError, SafetensorError, KeyError):
            return None

    def write(self, lineup: Tensor) -> None:
        """Keeps embeddings, where that is possible."""
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.parent.mkdir(parents=True, exist_ok=True)
                atomic_write(self.path, save({"lineup": lineup.cpu().contiguous()}))
