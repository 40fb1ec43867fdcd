"""The last stage of a subject: its contact sheet and its index."""

import torch

from idgen.prepare.index import Index, PreparedPhoto
from idgen.prepare.sheet.page import SheetRow, draw_contact_page
from idgen.prepare.sheet.review import Look, look_of, mask_warnings, set_warnings
from idgen.prepare.state import State
from idgen.prepare.store import CONTACT_PAGE, INDEX, read_features


def finish(state: State) -> None:
    """Draws the contact sheet; then what is left over goes; last of all, writes the index.

    Args:
        state: Of a subject whose masks, backgrounds and features are all there.

    Raises:
        UserError: If a file cannot be read or written.
    """
    looks = _looks(state)
    warnings = _warnings(state, looks)
    if not state.has_sheet():
        rows = (
            SheetRow(
                target.photo.name,
                target.photo.pixels(),
                state.mask(target),
                state.background(target),
                warned,
            )
            for target, warned in zip(state.targets, warnings, strict=True)
        )
        page = draw_contact_page(rows, state.sheet_key())
        state.store.write(state.store.folder / CONTACT_PAGE, page)
    photos = [
        PreparedPhoto(target.photo.name, target.photo.digest, state.files(target), look, warned)
        for target, look, warned in zip(state.targets, looks, warnings, strict=True)
    ]
    state.tidy()
    names = [view.name for view in state.recipe.views]
    index = Index(photos, names, state.recipe.resolution, state.left_out)
    if index != state.index:
        state.store.write(state.store.folder / INDEX, index.to_bytes())


def _looks(state: State) -> list[Look]:
    """Sums each photo up; what was seen before is not read again."""
    before = state.index.photos if state.index else []
    known = {(photo.digest, photo.files["masks"].key): photo.look for photo in before}
    return [
        known.get((target.photo.digest, target.keys["masks"]))
        or look_of(target.photo.pixels(), state.mask(target))
        for target in state.targets
    ]


def _warnings(state: State, looks: list[Look]) -> list[list[str]]:
    subjects = []
    for target in state.targets:
        tensors = read_features(state.path(target, "embeddings"), target.keys["embeddings"])
        # Of the plain view, which is the first.
        subjects.append(tensors["photo_embedding"][0] - tensors["background_embedding"][0])
    names = [target.photo.name for target in state.targets]
    beside_others = set_warnings(names, looks, torch.stack(subjects))
    return [
        mask_warnings(state.mask(target)) + warned
        for target, warned in zip(state.targets, beside_others, strict=True)
    ]
