"""The subjects of a benchmark: held-out ones of the mini world, demo ones, folders of photos."""

import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idgen.benchmark.config import DreamBench, SubjectPhotos, check_distinct, folder_name
from idgen.dreambench import read_class_nouns
from idgen.errors import UserError
from idgen.files import TEMPORARY_PREFIX
from idgen.placeholders import check_words
from idgen.prepare.segmenters.segmenter import Segmenter
from idgen.texts import read_text

_MINI = "mini:"


@dataclass(frozen=True)
class BenchmarkSubject:
    """One subject.

    Attributes:
        name: What tables call it.
        photos: Its folder of photos.
        class_noun: Such as `dog`.
        live: Whether it is alive.
        number: Of a held-out subject of the mini world, whose photos are yet to be written;
            None for photos that are there.
    """

    name: str
    photos: Path
    class_noun: str
    live: bool
    number: int | None = None

    def write_photos(self) -> None:
        """Draws a numbered subject's photos where they are not there yet, all or none."""
        if self.number is None or self.photos.exists():
            return
        from idgen.mini.subjects import sample_subject, write_subject

        self.photos.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.photos.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
        write_subject(sample_subject(self.number), unfinished)
        unfinished.rename(self.photos)

    def described(self, segmenter: Segmenter) -> dict[str, Any]:
        """What a cell's record says of it: everything but the place.

        Args:
            segmenter: What finds it in its photos.

        Returns:
            Name, class, the photos' hashes; and those of masks and prompts that the user made for
            some of the photos.

        Raises:
            UserError: If it has no photo, or one cannot be used, or lacks its mask.
        """
        from idgen.prepare import find_photos

        photos = find_photos(self.photos)
        keys = {photo.digest: segmenter.key(photo) for photo in photos}
        by_hand = {digest: key for digest, key in keys.items() if key != segmenter.identity}
        return {
            "name": self.name,
            "class_noun": self.class_noun,
            "live": self.live,
            "photos": list(keys),
            **({"masks": by_hand} if by_hand else {}),
        }


def find_benchmark_subjects(
    given: list[str | SubjectPhotos], dreambench: DreamBench | None, output: Path
) -> list[BenchmarkSubject]:
    """Resolves what the config names.

    Args:
        given: The config's subjects.
        dreambench: Its DreamBench folder.
        output: The benchmark's folder, where drawn photos go.

    Returns:
        The subjects; nothing has been written yet.

    Raises:
        UserError: If one does not exist, or two share a name.
    """
    subjects = [
        _mini(entry, output) if isinstance(entry, str) else _folder(entry) for entry in given
    ]
    if dreambench is not None:
        subjects += _dreambench(dreambench)
    check_distinct("subjects", [subject.name for subject in subjects])
    return subjects


def _mini(entry: str, output: Path) -> BenchmarkSubject:
    from idgen.mini.classes import subject_class
    from idgen.mini.subjects import DEMO_SUBJECTS, sample_subject, subject_path

    name = entry.removeprefix(_MINI)
    if not entry.startswith(_MINI):
        raise UserError(
            f"subjects: {entry!r} is neither mini:NUMBER nor mini:NAME; give a folder of photos "
            f"as {{photos: {entry}, class_noun: dog}}"
        )
    if name.isdecimal():
        number = int(name)
        noun = sample_subject(number).noun
        label = f"{noun} {number}"
        photos = output / "subjects" / folder_name(label)
        return BenchmarkSubject(label, photos, noun, subject_class(noun).live, number)
    photos = subject_path(name)
    noun = DEMO_SUBJECTS[name].noun
    return BenchmarkSubject(name, photos, noun, subject_class(noun).live)


def _folder(entry: SubjectPhotos) -> BenchmarkSubject:
    photos = Path(entry.photos).expanduser()
    if not photos.is_dir():
        raise UserError(f"subjects: there is no folder {entry.photos}")
    if not entry.class_noun.strip():
        raise UserError(f"subjects: {entry.photos} needs a class_noun, such as dog")
    check_words(entry.class_noun, f"subjects: {entry.photos}: class_noun")
    from idgen.prepare import subject_name

    name = entry.name or subject_name(photos)
    return BenchmarkSubject(name, photos, entry.class_noun, entry.live)


def read_classes(path: Path) -> dict[str, str]:
    """Each subject's class noun in DreamBench's file, in order; a UserError if there is none."""
    lines = read_text(path, "dreambench.classes", "name the data set's own list").splitlines()
    classes = read_class_nouns(lines)
    if not classes:
        raise UserError(f"dreambench.classes: {path} has no line such as 'dog6,dog'")
    return classes


def _dreambench(given: DreamBench) -> list[BenchmarkSubject]:
    folder = Path(given.folder).expanduser()
    if not folder.is_dir():
        raise UserError(f"dreambench.folder: there is no folder {given.folder}")
    classes = read_classes(given.classes_file)
    subjects = [
        BenchmarkSubject(name, folder / name, noun, noun in given.live_classes)
        for name, noun in classes.items()
        if (folder / name).is_dir()
    ]
    for subject in subjects:
        check_words(subject.class_noun, f"{given.classes_file}: {subject.name}:")
    if not subjects:
        raise UserError(
            f"dreambench.folder: {given.folder} has no folder for any of the {len(classes)} "
            f"subjects of {given.classes_file}, such as {next(iter(classes))}"
        )
    return subjects
