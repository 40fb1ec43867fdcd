"""The subjects of a benchmark: held-out ones of the mini world, demo ones, folders of photos."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from idgen.benchmark.config import DreamBench, SubjectPhotos, check_distinct, folder_name
from idgen.dreambench import read_class_nouns
from idgen.errors import UserError
from idgen.files import TEMPORARY_PREFIX
from idgen.mini.classes import subject_class
from idgen.mini.regimes import PLAIN, Regime
from idgen.mini.subjects import (
    DEMO_SUBJECTS,
    MASKS_FOLDER,
    MiniSubject,
    read_subject,
    sample_subject,
    subject_path,
    write_subject,
)
from idgen.placeholders import check_words
from idgen.prepare import GrabCutSegmenter, MaskFiles
from idgen.prepare.captioners.caption_files import caption_path, read_caption_file
from idgen.prepare.photos import Photo, find_photos
from idgen.prepare.segmenters.segmenter import Segmenter
from idgen.texts import read_text

_MINI = "mini:"
_MOST_DIGITS = 18


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
        regime: How such a subject's photos come about.
    """

    name: str
    photos: Path
    class_noun: str
    live: bool
    number: int | None = None
    regime: Regime = PLAIN

    def write_photos(self) -> None:
        """Draws a numbered subject's photos where they are not there yet, all or none.

        Raises:
            UserError: If captions lie beside the photos of a regime that has none, or photos that
                are there are not those that the number and the regime mean.
        """
        if self.number is None:
            return
        subject = sample_subject(self.number, regime=self.regime)
        if self.photos.exists():
            self._check_written(subject)
            for photo in self._found if self.regime.captions == "none" else ():
                if (path := caption_path(photo, self._found)) is not None:
                    captioned = replace(self.regime, captions="right")
                    raise UserError(
                        f"{path} is a caption of a regime without captions: delete it, or name the "
                        f"subject as mini:{self.number}?{captioned}"
                    )
            return
        self.photos.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self.photos.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}")
        write_subject(subject, unfinished)
        unfinished.rename(self.photos)

    def _check_written(self, subject: MiniSubject) -> None:
        """Refuses photos that are none of the subject's, some of them, or more."""
        named = [f"{number:02d}.png" for number in range(1, self.regime.photos + 1)]
        if read_subject(self.photos) != subject or [p.name for p in self._found] != named:
            raise UserError(
                f"{self.photos} does not hold what mini:{self.number}?{self.regime} is: delete it, "
                "it is drawn again"
            )

    @cached_property
    def _found(self) -> list[Photo]:
        """The photos, looked at once for all methods."""
        return find_photos(self.photos)

    @property
    def segmenter(self) -> dict[str, Any] | None:
        """Where training gets its masks, as a config says it; None for what the config says."""
        if self.regime.writes_masks:
            folder = str(self.photos / MASKS_FOLDER)
            return {"class_path": "idgen.prepare.MaskFiles", "init_args": {"folder": folder}}
        if self.regime.masks == "grabcut":
            return {"class_path": "idgen.prepare.GrabCutSegmenter"}
        return None

    def described(self, segmenter: Segmenter) -> dict[str, Any]:
        """What a cell's record says of it: everything but the place.

        Args:
            segmenter: What finds it in its photos, where its regime does not say.

        Returns:
            Name, class, the photos' hashes; those of masks, prompts and captions that the
            user or a regime made for some of the photos; a regime.

        Raises:
            UserError: If it has no photo, or one cannot be used, or lacks its mask.
        """
        photos = self._found
        if self.regime.writes_masks:
            segmenter = MaskFiles(self.photos / MASKS_FOLDER)
        elif self.regime.masks == "grabcut":
            segmenter = GrabCutSegmenter()
        texts = {photo.digest: caption_path(photo, photos) for photo in photos}
        captions = {digest: read_caption_file(path) for digest, path in texts.items() if path}
        keys = {photo.digest: segmenter.key(photo) for photo in photos}
        by_hand = {digest: key for digest, key in keys.items() if key != segmenter.identity}
        return {
            "name": self.name,
            "class_noun": self.class_noun,
            "live": self.live,
            "photos": list(keys),
            **({"masks": by_hand} if by_hand else {}),
            **({} if self.regime.is_plain else {"regime": str(self.regime)}),
            **({"captions": captions} if captions else {}),
        }


def find_benchmark_subjects(
    given: list[str | SubjectPhotos],
    dreambench: DreamBench | None,
    output: Path,
    regimes: Sequence[str] = (),
) -> list[BenchmarkSubject]:
    """Resolves what the config names.

    Args:
        given: The config's subjects.
        dreambench: Its DreamBench folder.
        output: The benchmark's folder, where drawn photos go.
        regimes: Those that each subject is compared in; empty for what each subject says.

    Returns:
        The subjects; nothing has been written yet.

    Raises:
        UserError: If one does not exist, or two share a name.
    """
    entries = _in_regimes(given, dreambench, regimes) if regimes else given
    subjects = [
        _mini(entry, output) if isinstance(entry, str) else _folder(entry) for entry in entries
    ]
    if dreambench is not None:
        subjects += _dreambench(dreambench)
    check_distinct("subjects", [subject.name for subject in subjects])
    return subjects


def _in_regimes(
    given: list[str | SubjectPhotos], dreambench: DreamBench | None, regimes: Sequence[str]
) -> list[str | SubjectPhotos]:
    """Every numbered subject in every regime, a regime after the other."""
    for entry in given:
        numbered = isinstance(entry, str) and entry.removeprefix(_MINI).isdecimal()
        if not numbered:
            raise UserError(
                f"regimes: {entry if isinstance(entry, str) else entry.photos!r} takes none; they "
                "are for numbered mini subjects without a regime of their own, such as mini:12"
            )
    if dreambench is not None:
        raise UserError("regimes: DreamBench's photos are what they are; leave one of the two out")
    seen: dict[Regime, str] = {}
    for text in regimes:
        try:
            regime = Regime.parse(text)
        except UserError as error:
            raise UserError(f"regimes: {error}") from error
        if regime in seen:
            raise UserError(f"regimes: {seen[regime]!r} and {text!r} are one regime; name it once")
        seen[regime] = text
    return [f"{entry}?{regime}" for regime in regimes for entry in given]


def _mini(entry: str, output: Path) -> BenchmarkSubject:
    name, query, text = entry.removeprefix(_MINI).partition("?")
    if not entry.startswith(_MINI):
        raise UserError(
            f"subjects: {entry!r} is neither mini:NUMBER nor mini:NAME; give a folder of photos "
            f"as {{photos: {entry}, class_noun: dog}}"
        )
    if name.isdecimal():
        if len(name) > _MOST_DIGITS:
            raise UserError(f"subjects: mini:{name[:20]}... has more than {_MOST_DIGITS} digits")
        try:
            regime = Regime.parse(text)
        except UserError as error:
            raise UserError(f"subjects: {entry}: {error}") from error
        number = int(name)
        noun = sample_subject(number).noun
        label = f"{noun} {number} {regime}".rstrip()
        photos = output / "subjects" / folder_name(label)
        return BenchmarkSubject(label, photos, noun, subject_class(noun).live, number, regime)
    if query:
        raise UserError(f"subjects: {entry}: a regime is for numbered subjects, such as mini:12")
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
