"""What several subjects of one run must not share, and the files that they hold open."""

from pathlib import Path
from typing import TypeAlias

from idgen.errors import UserError
from idgen.prepare.photos import Photo
from idgen.prepare.segmenters.mask_files import shared_mask
from idgen.prepare.segmenters.segmenter import Segmenter
from idgen.prepare.state import State, mask_key, sized_key
from idgen.prepare.store import Store

Looked: TypeAlias = list[State | UserError]
_OTHER_FILES = 256
"""Files, pipes and libraries that the rest of the process holds open, with room to spare."""


def keep_outputs_apart(looked: Looked) -> Looked:
    """Puts an error in the place of subjects whose output folders are one through a link.

    A run would wait for its own lock.
    """
    apart = [*looked]
    owners: dict[Path, tuple[int, Path]] = {}
    for at, state in enumerate(looked):
        if isinstance(state, State):
            folder = state.store.folder
            first_at, first = owners.setdefault(folder.resolve(), (at, folder))
            if first_at != at:
                apart[first_at] = apart[at] = UserError(
                    f"the outputs {first} and {folder} are one folder: remove the link, so that "
                    "each subject has its own"
                )
    return apart


def keep_masks_apart(looked: Looked, segmenter: Segmenter) -> Looked:
    """Puts an error in the place of subjects that would share a mask file with another.

    That may be one of the same run, or one that an earlier run prepared beside it: photos of two
    subjects are often called alike, and a mask without a subject's name fits both.
    """
    apart = [*looked]
    owners: dict[Path, tuple[int, Photo]] = {}
    for at, state in enumerate(looked):
        for photo in [] if isinstance(state, UserError) else state.photos:
            if (path := segmenter.path(photo)) is not None:
                first_at, first = owners.setdefault(path, (at, photo))
                if first_at != at:
                    apart[first_at] = apart[at] = shared_mask(path, first, photo)
    own = {state.store.folder.resolve() for state in looked if isinstance(state, State)}
    for at, state in enumerate(apart):
        if isinstance(state, State) and (error := _beside(state, segmenter, own)) is not None:
            apart[at] = error
    return apart


def _beside(state: State, segmenter: Segmenter, own: set[Path]) -> UserError | None:
    """What to say if a mask without the subject's name is one of a subject prepared beside it."""
    masks = {photo: path for photo in state.photos if (path := segmenter.path(photo))}
    nameless = {photo: path for photo, path in masks.items() if path.parent.name != photo.subject}
    folder = state.store.folder.parent
    if not nameless or not folder.is_dir():
        return None
    digests = {photo.digest for photo in state.photos}
    keys = {photo: sized_key(photo, segmenter) for photo in nameless}
    for store in map(Store, sorted(folder.iterdir())):
        index = None if store.folder.resolve() in own else store.index()
        for other in index.photos if index else []:
            for photo, path in nameless.items():
                same = mask_key(other.digest, keys[photo]) == other.files["masks"].key
                if same and other.digest not in digests:
                    return UserError(
                        f"the mask {path} is that of {other.name!r} in {store.folder} too: name "
                        f"each mask after its subject, that of {photo.name!r} "
                        f"{f'{photo.subject}/{path.name}'!r}"
                    )
    return None


def allow_locks(count: int) -> None:
    """Raises the process's limit of open files, as far as it may, so that locks find room.

    Where the system knows no such limit, nothing is done.

    Raises:
        UserError: If the limit that an administrator set is too low.
    """
    try:
        import resource
    except ImportError:  # on Windows
        return
    needed = count + _OTHER_FILES
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= needed:
        return
    if hard != resource.RLIM_INFINITY and hard < needed:
        raise UserError(
            f"{count} subjects at once need {needed} open files, and at most {hard} are allowed "
            "(ulimit -Hn): prepare them in several calls"
        )
    resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
