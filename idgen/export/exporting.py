"""An export as a whole: written beside its place, compared, then moved there at once."""

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor

from idgen.errors import UserError, first_line
from idgen.export.card import Card
from idgen.export.exported_run import ExportedRun
from idgen.export.format import ExportFormat
from idgen.export.verification import StandaloneDrawer, verify
from idgen.files import TEMPORARY_PREFIX, check_writable
from idgen.pictures import save_png

DRAWING = Path("images") / "drawing.png"


@dataclass(frozen=True)
class Exported:
    """What was exported.

    Attributes:
        folder: Where it is.
        difference: The largest difference from idgen's own drawing in grey levels; None where it
            was not compared.
    """

    folder: Path
    difference: int | None


def export(
    run: ExportedRun,
    form: ExportFormat,
    folder: Path,
    dtype: torch.dtype,
    card: Card,
    drawer: StandaloneDrawer | None,
) -> Exported:
    """Writes a run in a format, all or nothing.

    Args:
        run: Loaded.
        form: The format.
        folder: A new or empty one.
        dtype: Of the weights.
        card: What its README.md says beside.
        drawer: Draws from the files, to compare; None does not.

    Raises:
        UserError: If the folder cannot be used, the format cannot hold the run, or the files do
            not draw what idgen draws.
    """
    check_folder(folder)
    with _beside(folder) as made:
        try:
            written = form.write(run, made, dtype)
        except SafetensorError as error:
            raise UserError(
                f"--output: cannot write the weights ({first_line(error)}); free some space, or "
                "name another folder"
            ) from error
        difference = None
        if drawer is not None:
            ours = form.own_drawing(run, written)
            with tempfile.TemporaryDirectory() as work:
                difference = verify(run, written, ours, drawer, Path(work))
            _save(ours, made / DRAWING)
        card.write(made, run, written, difference)
        # An empty folder may be replaced; one that has been filled meanwhile is not.
        os.replace(made, folder)
    return Exported(folder, difference)


def check_folder(folder: Path) -> None:
    """Refuses a folder that holds something or cannot be written.

    Raises:
        UserError: If it does.
    """
    check_writable(folder, "--output")
    if folder.is_symlink() or (folder.exists() and any(folder.iterdir())):
        raise UserError(f"--output: {folder} is not empty; name a new folder")


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A folder beside another, gone at the end unless it was moved."""
    folder.absolute().parent.mkdir(parents=True, exist_ok=True)
    made = folder.absolute().with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
    made.mkdir()
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _save(picture: Tensor, path: Path) -> None:
    path.parent.mkdir(exist_ok=True)
    save_png(picture, path)
