"""The last stage of a subject: its contact sheet and its index."""

import json

from idgen.fingerprint import file_digest
from idgen.prepare.contact_sheet import SheetRow, draw_contact_sheet
from idgen.prepare.review import mask_warnings
from idgen.prepare.state import State, Target
from idgen.prepare.store import CONTACT_SHEET, INDEX, KINDS, png_bytes, png_key
from idgen.prepare.subject import Index, PreparedFile, PreparedPhoto


def finish(state: State) -> None:
    """Draws the contact sheet; then what is left over goes; last of all, writes the index.

    Args:
        state: Of a subject whose masks, backgrounds and features are all there.

    Raises:
        UserError: If a file cannot be read or written.
    """
    warnings = _warnings(state)
    _contact_sheet(state, warnings)
    photos = [
        PreparedPhoto(
            name=target.photo.name,
            digest=target.photo.digest,
            mask=mask,
            background=background,
            features=features,
            warnings=warnings[target.mask_key],
        )
        for target in state.targets
        for mask, background, features in [_files(state, target)]
    ]
    state.tidy()
    names = [view.name for view in state.recipe.views]
    index = Index(photos, names, state.recipe.resolution)
    if index != state.index:
        content = json.dumps(index.to_json(), indent=1) + "\n"
        state.store.write(state.store.folder / INDEX, content.encode())


def _files(state: State, target: Target) -> list[PreparedFile]:
    paths = {kind: state.path(target, kind) for kind in KINDS}
    return [
        PreparedFile(f"{kind}/{path.name}", target.key(kind), file_digest(path))
        for kind, path in paths.items()
    ]


def _warnings(state: State) -> dict[str, list[str]]:
    """What looks wrong with each mask, by its key; masks seen before are not read again."""
    before = state.index.photos if state.index else []
    known = {photo.mask.key: photo.warnings for photo in before}
    for target in state.targets:
        if target.mask_key not in known:
            known[target.mask_key] = mask_warnings(state.mask(target))
    return known


def _contact_sheet(state: State, warnings: dict[str, list[str]]) -> None:
    path, key = state.store.folder / CONTACT_SHEET, state.sheet_key()
    if png_key(path) == key:
        return
    rows = (
        SheetRow(
            target.photo.name,
            target.photo.pixels(),
            state.mask(target),
            state.background(target),
            warnings[target.mask_key],
        )
        for target in state.targets
    )
    state.store.write(path, png_bytes(draw_contact_sheet(rows), key))
