"""The last stage of a subject: its contact sheet and its index."""

import json

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from idgen.fingerprint import file_digest
from idgen.prepare.features import plain_embeddings
from idgen.prepare.sheet.page import draw_contact_page
from idgen.prepare.sheet.picture import SheetRow, draw_contact_sheet
from idgen.prepare.sheet.review import Look, look_of, mask_warnings, set_warnings
from idgen.prepare.state import State, Target
from idgen.prepare.store import CONTACT_PAGE, CONTACT_SHEET, INDEX, KINDS, png_bytes
from idgen.prepare.subject import Index, PreparedFile, PreparedPhoto

_SHOWN = 960
"""Pixels of a picture's longer side that are enough for the sheets."""


def finish(state: State) -> None:
    """Draws the contact sheet; then what is left over goes; last of all, writes the index.

    Args:
        state: Of a subject whose masks, backgrounds and features are all there.

    Raises:
        UserError: If a file cannot be read or written.
    """
    looks = _looks(state)
    warnings = _warnings(state, looks)
    _contact_sheet(state, warnings)
    photos = [
        PreparedPhoto(
            name=target.photo.name,
            digest=target.photo.digest,
            mask=mask,
            background=background,
            features=features,
            look=look,
            warnings=warned,
        )
        for target, look, warned in zip(state.targets, looks, warnings, strict=True)
        for mask, background, features in [_files(state, target)]
    ]
    state.tidy()
    names = [view.name for view in state.recipe.views]
    index = Index(photos, names, state.recipe.resolution, state.left_out)
    if index != state.index:
        content = json.dumps(index.to_json(), indent=1) + "\n"
        state.store.write(state.store.folder / INDEX, content.encode())


def _files(state: State, target: Target) -> list[PreparedFile]:
    paths = {kind: state.path(target, kind) for kind in KINDS}
    return [
        PreparedFile(f"{kind}/{path.name}", target.key(kind), file_digest(path))
        for kind, path in paths.items()
    ]


def _looks(state: State) -> list[Look]:
    """Sums each photo up; what was seen before is not read again."""
    before = state.index.photos if state.index else []
    known = {(photo.digest, photo.mask.key): photo.look for photo in before}
    return [
        known.get((target.photo.digest, target.mask_key))
        or look_of(target.photo.pixels(), state.mask(target))
        for target in state.targets
    ]


def _warnings(state: State, looks: list[Look]) -> list[list[str]]:
    names = [target.photo.name for target in state.targets]
    embeddings = [plain_embeddings(state.path(target, "features")) for target in state.targets]
    subjects = torch.stack([photo - background for photo, background in embeddings])
    return [
        mask_warnings(state.mask(target)) + beside_others
        for target, beside_others in zip(
            state.targets, set_warnings(names, looks, subjects), strict=True
        )
    ]


def _contact_sheet(state: State, warnings: list[list[str]]) -> None:
    lacking, key = state.missing_sheets(), state.sheet_key()
    if not lacking:
        return
    rows = [
        SheetRow(
            target.photo.name,
            _reduced(target.photo.pixels()),
            _reduced(state.mask(target).astype(np.uint8) * 255) >= 128,
            _reduced(state.background(target)),
            warned,
        )
        for target, warned in zip(state.targets, warnings, strict=True)
    ]
    if CONTACT_SHEET in lacking:
        content = png_bytes(draw_contact_sheet(rows), key)
        state.store.write(state.store.folder / CONTACT_SHEET, content)
    if CONTACT_PAGE in lacking:
        state.store.write(state.store.folder / CONTACT_PAGE, draw_contact_page(rows, key))


def _reduced(image: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A picture at a size that many of fit into memory, `H W` or `H W 3`."""
    reduced = Image.fromarray(image)
    reduced.thumbnail((_SHOWN, _SHOWN), Image.Resampling.BOX)
    return np.array(reduced)
