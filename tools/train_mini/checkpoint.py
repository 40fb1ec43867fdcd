"""Checkpoints that a kill cannot spoil."""

import os
from pathlib import Path
from typing import Any

import torch


def save_atomically(state: Any, path: Path) -> None:
    """Save ``state`` with `torch.save`, replacing the old file in one step."""
    temporary = path.with_suffix(f"{path.suffix}.tmp")
    torch.save(state, temporary)
    os.replace(temporary, path)
