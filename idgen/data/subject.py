"""What the user says about the subject."""

from dataclasses import dataclass
from pathlib import Path

from idgen.backbones.backbone import Backbone
from idgen.data.prompts import with_token, without_token
from idgen.errors import UserError
from idgen.placeholders import PLACEHOLDER, check_words, filled
from idgen.prepare import subject_name
from idgen.prepare.captioners.captioner import USUAL_PROMPT
from idgen.prepare.kohya_folders import KohyaFolder, kohya_folder, kohya_root

_MINI = "mini:"


@dataclass
class Subject:
    """A subject to learn.

    Attributes:
        photos: A folder of its photos, or `mini:NAME` for a demo subject that ships with idgen. A
            folder called as kohya's trainers have it, `10_sks dog`, or the root of one, also says
            the noun.
        class_noun: What it is, such as `dog`; a demo subject's own if empty.
        token: The rare word that stands for [V] in prompts; one token of the backbone's
            tokenizer that no caption uses, such as `sks`. A new word, such as `<new1>`, needs a
            tuning that trains its embedding (`TokenTuning`).
        live: Whether it is alive, which decides DreamBench's list of prompts.
        prepared: The folder of its prepared features; by default `prepared/` and the name of the
            photos' folder.
        training_prompt: The prompt of all photos, with [V] in it and `{class_noun}`; with
            `data.captions`, each photo's caption goes on it, or stands for it.
    """

    photos: str
    class_noun: str = ""
    token: str = "sks"
    live: bool = False
    prepared: str | None = None
    training_prompt: str = USUAL_PROMPT

    def __post_init__(self) -> None:
        """Fills in what is known of a demo subject.

        Raises:
            UserError: If a folder's name is blank, there is no such demo subject, or the folder is
                a kohya root of several.
        """
        for name, folder in (("photos", self.photos), ("prepared", self.prepared)):
            if folder is not None and not folder.strip('" '):
                raise UserError(f"subject.{name} is blank; name a folder")
        if self.photos.startswith(_MINI) and not self.class_noun:
            from idgen.mini.subjects import DEMO_SUBJECTS, subject_path

            name = self.photos.removeprefix(_MINI)
            subject_path(name)
            self.class_noun = DEMO_SUBJECTS[name].noun
        elif (kohya := self._kohya) is not None and not self.class_noun:
            self.class_noun = kohya.noun

    @property
    def _kohya(self) -> KohyaFolder | None:
        """What the folder's name says where it is one of kohya's, or the only one in its root."""
        folder = Path(self.photos).expanduser()
        found = [one] if (one := kohya_folder(folder)) is not None else kohya_root(folder)
        if len(found) > 1:
            names = ", ".join(repr(str(one.path)) for one in found)
            raise UserError(f"subject.photos: {self.photos!r} holds several subjects: {names}")
        return found[0] if found else None

    @property
    def photos_folder(self) -> Path:
        """The folder of photos.

        Raises:
            UserError: If there is no such demo subject.
        """
        if self.photos.startswith(_MINI):
            from idgen.mini.subjects import subject_path

            return subject_path(self.photos.removeprefix(_MINI))
        kohya = self._kohya
        return Path(self.photos).expanduser() if kohya is None else kohya.path

    @property
    def prepared_folder(self) -> Path:
        """The folder of prepared features."""
        if self.prepared is not None:
            return Path(self.prepared).expanduser()
        return Path("prepared") / subject_name(self.photos_folder)

    @property
    def prompt(self) -> str:
        """The training prompt, with [V] in it and the class noun filled in.

        Raises:
            UserError: If anything else stands in braces.
        """
        return filled(self.training_prompt, self.class_noun, "subject.training_prompt")

    def spoken(self, prompt: str) -> str:
        """A prompt as the backbone reads it, [V] replaced by the token.

        Raises:
            UserError: If the prompt lacks [V].
        """
        return with_token(prompt, self.token)

    def check(self, backbone: Backbone) -> None:
        """Checks words against the backbone's tokenizer.

        Raises:
            UserError: If words hold placeholders, the token is no single token of its own, part of
                the class noun or of the training prompt, or the prompt does not name the subject.
        """
        if not self.class_noun.strip():
            raise UserError(
                f"subject.class_noun: say what the photos in {self.photos} show, such as dog"
            )
        check_words(self.class_noun, "subject.class_noun")
        check_words(self.token, "subject.token")
        ids = backbone.word_ids(self.token)
        is_one = len(ids) == 1 or (bool(ids) and not backbone.words_are_tokens)
        if not is_one or ids[0] == backbone.unknown_id:
            raise UserError(
                f"subject.token {self.token!r} is "
                f"{'unknown' if len(ids) == 1 else f'{len(ids)} tokens'} to the tokenizer of "
                f"{backbone.source!r}; choose a rare word that is one token, such as 'sks', "
                "or train a new one with TokenTuning"
            )
        if PLACEHOLDER not in self.training_prompt:
            raise UserError(f"subject.training_prompt lacks {PLACEHOLDER}")
        beside = {
            f"the class noun {self.class_noun!r}": self.class_noun,
            f"the training prompt {self.prompt!r}": without_token(self.prompt),
        }
        for name, words in beside.items():
            if backbone.says(words, self.token):
                raise UserError(
                    f"subject.token {self.token!r} is part of {name}; choose a rare word, "
                    "such as 'sks'"
                )
