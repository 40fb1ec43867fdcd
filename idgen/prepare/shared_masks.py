"""Masks by name that two subjects would share: no photo gets the mask of another subject's."""

from collections.abc import Sequence
from pathlib import Path

from idgen.errors import UserError
from idgen.prepare.jobs import Job
from idgen.prepare.photos import Photo
from idgen.prepare.segmenters.mask_files import shared_mask
from idgen.prepare.segmenters.segmenter import Segmenter
from idgen.prepare.state import mask_key
from idgen.prepare.store import Store
from idgen.prepare.subject import read_index


def keep_apart(looked: Sequence[Job | UserError], segmenter: Segmenter) -> list[Job | UserError]:
    """Puts an error in the place of subjects that would share a mask file with another.

    That may be one of the same run, or one that an earlier run prepared beside it: photos of two
    subjects are often called alike, and a mask without a subject's name fits both.

    Args:
        looked: The subjects of a run.
        segmenter: Whose masks they have.
    """
    apart = list(looked)
    owners: dict[Path, tuple[int, Photo]] = {}
    for at, job in enumerate(looked):
        for photo in [] if isinstance(job, UserError) else job.state.photos:
            if (path := segmenter.path(photo)) is not None:
                first_at, first = owners.setdefault(path, (at, photo))
                if first_at != at:
                    apart[first_at] = apart[at] = shared_mask(path, first, photo)
    own = {_place(job.state.store) for job in looked if isinstance(job, Job)}
    for at, job in enumerate(apart):
        if isinstance(job, Job) and (error := _beside(job, segmenter, own)) is not None:
            apart[at] = error
    return apart


def _beside(job: Job, segmenter: Segmenter, own: set[Path]) -> UserError | None:
    """What to say if a mask without the subject's name is one of a subject prepared beside it."""
    masks = {photo: path for photo in job.state.photos if (path := segmenter.path(photo))}
    nameless = {photo: path for photo, path in masks.items() if path.parent.name != photo.subject}
    folder = job.state.store.folder.parent
    if not nameless or not folder.is_dir():
        return None
    digests = {photo.digest for photo in job.state.photos}
    keys = {photo: segmenter.key(photo) for photo in nameless}
    for store in map(Store, sorted(folder.iterdir())):
        index = None if _place(store) in own else read_index(store)
        for other in index.photos if index else []:
            for photo, path in nameless.items():
                same = mask_key(other.digest, keys[photo]) == other.mask.key
                if same and other.digest not in digests:
                    return UserError(
                        f"the mask {path} is that of {other.name!r} in {store.folder} too: name "
                        f"each mask after its subject, that of {photo.name!r} "
                        f"{f'{photo.subject}/{path.name}'!r}"
                    )
    return None


def _place(store: Store) -> Path:
    return store.folder.resolve()
