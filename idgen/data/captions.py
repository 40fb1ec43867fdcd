"""Captions: a training prompt of its own for each photo, so that [V] need not carry its scene."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import NamedTuple

from torch import Tensor
from torch.nn.functional import normalize

from idgen.backbones.backbone import Backbone
from idgen.data.cast import Prompt
from idgen.data.prompts import without_token
from idgen.data.subject import Subject
from idgen.errors import UserError
from idgen.placeholders import PLACEHOLDER, filled
from idgen.prepare import Photo, PreparedSubject, SubjectViews
from idgen.prepare.captioners.caption_files import caption_path, read_caption_file
from idgen.prepare.captioners.captioner import with_scene
from idgen.seeds import seed_of

_SEEDS = 2**56
"""How many seeds there are."""


class CaptionUse(Enum):
    """When captions are used."""

    never = "never"
    always = "always"
    auto = "auto"


class TrainingPrompts(NamedTuple):
    """The training prompts of a subject's views.

    Attributes:
        usual: The one of photos without a caption.
        of_photos: By the digest of a photo, or a composite's name, its own.
        dropout: Share of rows that get the usual one all the same.
        seed: Decides which.
        note: One line on what is used, empty where there is nothing to say.
    """

    usual: Prompt
    of_photos: Mapping[str, Prompt]
    dropout: float = 0.0
    seed: int = 0
    note: str = ""

    def of(self, source: str, place: int) -> Prompt:
        """The prompt of a row.

        Args:
            source: The digest of its photo, or the number of its composite (`composite_name`).
            place: The row's place among all rows of the endless stream, of all processes.
        """
        return self.usual if self.dropped(place) else self.of_photos.get(source, self.usual)

    def every(self) -> list[Prompt]:
        """All of them."""
        return [self.usual, *self.of_photos.values()]

    def with_composites(self, drawn: Sequence[str], subject: Subject) -> "TrainingPrompts":
        """The same, with the prompts of composites: where photos have captions, they have too.

        Args:
            drawn: What the scene that each stands in was drawn for, such as `a robot in the snow`.
            subject: What is pasted.
        """
        if not self.of_photos:
            return self
        found = {}
        for number, words in enumerate(drawn):
            prompt = with_subject(words, subject.class_noun)
            found[composite_name(number)] = Prompt(subject.spoken(prompt), without_token(prompt))
        return self._replace(of_photos={**self.of_photos, **found})

    def dropped(self, place: int) -> bool:
        """Whether a row at a place goes without its caption."""
        return seed_of("caption dropout", self.seed, place) < self.dropout * _SEEDS


def composite_name(number: int) -> str:
    """What stands for a composite in the place of a photo's digest."""
    return f"composite {number}"


@dataclass
class Captions:
    """Each photo's own training prompt, in place of `subject.training_prompt` for all.

    A photo's text file (`NAME.txt` beside it, as kohya's tools have it) is its whole prompt. For
    others the captioner's phrase (`preparation.captioner`) goes on the training prompt.

    Attributes:
        use: `always`, `never`, or `auto`: where the photos share a scene.
        files: Whether text files beside photos are read.
        shared_scene: Photos share a scene if the mean cosine of each two photos' f'_i, of their
            backgrounds, is at least so much. In the mini world sets of one scene come to 0.86 at
            least, sets of five to 0.81 at most; sets of two lie between.
        dropout: Share of a step's photos, in [0, 1), that get the training prompt without caption.
    """

    use: CaptionUse = CaptionUse.always
    files: bool = True
    shared_scene: float = 0.85
    dropout: float = 0.0

    def __post_init__(self) -> None:
        """Refuses numbers out of their range.

        Raises:
            ValueError: If there is one.
        """
        if not 0 <= self.dropout < 1:
            raise ValueError(f"data.captions.dropout must be in [0, 1); it is {self.dropout}")
        if not -1 <= self.shared_scene <= 1:
            raise ValueError(
                f"data.captions.shared_scene is a cosine, from -1 to 1; it is {self.shared_scene}"
            )

    def check(
        self, photos: Sequence[Photo], subject: Subject, backbone: Backbone, has_captioner: bool
    ) -> None:
        """Checks, before any work, the user's captions and that there can be any.

        Args:
            photos: The subject's.
            subject: What they show.
            backbone: Who reads the prompts.
            has_captioner: Whether the preparation has one.

        Raises:
            UserError: If a text file cannot be used, or nothing gives captions.
        """
        if self.use is CaptionUse.never:
            return
        if not self._written(photos, subject, backbone) and not has_captioner:
            where = ", put NAME.txt beside the photos" if self.files else ""
            raise UserError(
                f"data.captions: no photo in {photos[0].path.parent} has a caption{where}, set "
                "data.preparation.captioner, or leave data.captions out"
            )

    def prompts(
        self,
        prepared: PreparedSubject,
        photos: Sequence[Photo],
        views: SubjectViews,
        subject: Subject,
        backbone: Backbone,
        seed: int,
    ) -> TrainingPrompts:
        """The prompts to train on.

        Args:
            prepared: Where the captioner's phrases are.
            photos: The subject's.
            views: Of the photos, whose f'_i tell whether they share a scene.
            subject: What they show.
            backbone: Who reads the prompts.
            seed: Of the dropout.

        Raises:
            UserError: If a caption cannot be used, or is missing.
        """
        usual = usual_prompt(subject)
        if self.use is CaptionUse.never:
            return TrainingPrompts(usual, {}, note="captions: not used (use: never)")
        likeness = scene_likeness(views.plain_backgrounds())
        if self.use is CaptionUse.auto and likeness < self.shared_scene:
            note = f"captions: not used, the photos' scenes differ (f'_i {likeness:.2f} alike"
            return TrainingPrompts(usual, {}, note=f"{note}, shared from {self.shared_scene:g} on)")
        written = self._written(photos, subject, backbone)
        named = {
            photo.digest: _checked(
                with_scene(subject.prompt, phrase),
                subject,
                backbone,
                f"the caption of photo {photo.name!r}",
            )
            for photo in prepared.photos
            if photo.digest not in written and (phrase := prepared.caption(photo))
        }
        plain = len(photos) - len(written) - len(named)
        counts = {"from text files": written, "by the captioner": named}
        parts = [f"{len(found)} {whence}" for whence, found in counts.items() if found]
        parts += [f"{plain} photo{'s' * (plain > 1)} without"] if plain else []
        note = f"captions: {', '.join(parts)}"
        return TrainingPrompts(usual, written | named, self.dropout, seed, note)

    def _written(
        self, photos: Sequence[Photo], subject: Subject, backbone: Backbone
    ) -> dict[str, Prompt]:
        """The prompts of photos that have a text file, by their digests."""
        found = {}
        for photo in photos if self.files else ():
            if (path := caption_path(photo, photos)) is not None:
                whose = f"the caption {path}"
                prompt = with_subject(read_caption_file(path), subject.class_noun, whose)
                found[photo.digest] = _checked(prompt, subject, backbone, whose)
        return found


def usual_prompt(subject: Subject) -> Prompt:
    """The training prompt of photos without a caption."""
    return Prompt(subject.spoken(subject.prompt), without_token(subject.prompt))


def scene_likeness(backgrounds: Tensor) -> float:
    """The mean cosine of each two of P photos' f'_i, `P D`; 1 for a single photo."""
    count = len(backgrounds)
    if count < 2:
        return 1.0
    directions = normalize(backgrounds.double(), dim=1)
    cosines = directions @ directions.T
    return float((cosines.sum() - cosines.trace()) / (count * (count - 1)))


def with_subject(caption: str, class_noun: str, whose: str = "caption") -> str:
    """A caption with [V] in it: `a dog on a sofa` becomes `a [V] dog on a sofa`.

    [V] goes before the first place where the class noun stands as a word. Where it stands nowhere,
    the subject is put in front: `on a sofa` becomes `a [V] dog, on a sofa`.

    Args:
        caption: The user's words; `{class_noun}` is filled in.
        class_noun: Such as `dog`.
        whose: What the caption is called, for the error.

    Raises:
        UserError: If anything else stands in braces.
    """
    text = filled(caption, class_noun, whose)
    text = re.sub(re.escape(PLACEHOLDER), PLACEHOLDER, text, flags=re.IGNORECASE)
    if PLACEHOLDER in text:
        return text
    noun = rf"(?<!\w)(?:(?P<article>a)n?\s+)?(?P<noun>{re.escape(class_noun)})(?!\w)"
    found = re.search(noun, text, re.IGNORECASE)
    if found is None:
        return f"a {PLACEHOLDER} {class_noun}, {text}"
    words = [found["article"], PLACEHOLDER, found["noun"]]
    return text[: found.start()] + " ".join(filter(None, words)) + text[found.end() :]


def _checked(prompt: str, subject: Subject, backbone: Backbone, whose: str) -> Prompt:
    """A prompt with [V], as it is trained on.

    Raises:
        UserError: If it is too long for a text encoder, names the token itself, or [V] is no word
            of its own in it.
    """
    checked = Prompt(subject.spoken(prompt), without_token(prompt))
    try:
        backbone.tokenize([checked.spoken])
    except UserError as error:
        raise UserError(f"{whose}: {error}") from error
    if backbone.says(checked.plain, subject.token):
        raise UserError(
            f"{whose} names the token {subject.token!r}: write {PLACEHOLDER} in its place"
        )
    if not backbone.says(checked.spoken, subject.token):
        raise UserError(
            f"{whose} does not name the subject: {PLACEHOLDER} has to stand as a word of its own, "
            f"such as in 'a {PLACEHOLDER} dog'"
        )
    return checked
