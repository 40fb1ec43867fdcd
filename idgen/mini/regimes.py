"""Regimes: what the photos of a mini subject have in common, and how good their masks are."""

from dataclasses import dataclass, fields
from typing import Self

from idgen.errors import UserError

MOST_SCENES = 5
MOST_PHOTOS = 10
MASKS = ("found", "exact", "wide", "eroded", "grabcut", "wrong", "none")
POSES = ("varied", "same")
CAPTIONS = ("none", "right", "vague", "wrong")
PLAIN_LABEL = "plain"
_MOST_DIGITS = 4


@dataclass(frozen=True)
class Regime:
    """How a subject's photos come about; the default is what `mini:NUMBER` alone means.

    It is written as a subject's query, `mini:12?scenes=1&masks=wide`. What is not given has its
    default.

    Attributes:
        scenes: How many places the photos show, 1 to 5. With 1 all photos show one place, pixel for
            pixel, and the subject in different poses: five photos on one rug.
        photos: How many photos, 1 to 10; with more than `scenes` the places repeat in turn.
        masks: Those of training: `found` by the config's segmenter, as in any run; `exact`, the
            truth; `wide`, 4 to 8 pixels too large on sides drawn by chance; `eroded`, as much too
            small; `grabcut`, GrabCut's; `wrong`, exact but for one photo of five, whose mask lies
            on its background; `none`, for methods that use no mask.
        pose: `varied`, or the `same` in all photos.
        captions: Files beside the photos that name their scenes: `none`; `right` ones; `vague`
            ones, which name no scene; `wrong` ones, right but for one photo of five.
    """

    scenes: int = MOST_SCENES
    photos: int = MOST_SCENES
    masks: str = "found"
    pose: str = "varied"
    captions: str = "none"

    def __post_init__(self) -> None:
        """Refuses what does not exist, or contradicts itself.

        Raises:
            UserError: If it does.
        """
        for name, most in (("scenes", MOST_SCENES), ("photos", MOST_PHOTOS)):
            if not 1 <= getattr(self, name) <= most:
                raise UserError(f"{name} is from 1 to {most}, not {getattr(self, name)}")
        for name, known in (("masks", MASKS), ("pose", POSES), ("captions", CAPTIONS)):
            if getattr(self, name) not in known:
                raise UserError(f"{name} is one of {', '.join(known)}, not {getattr(self, name)!r}")
        if self.scenes > self.photos:
            raise UserError(
                f"scenes={self.scenes} contradicts photos={self.photos}: a photo shows one scene"
            )
        if self.pose == "same" and self.scenes < self.photos:
            raise UserError(
                f"pose=same contradicts scenes={self.scenes} with photos={self.photos}: photos of "
                "one place in one pose would be copies of each other"
            )
        for name in ("masks", "captions"):
            if getattr(self, name) == "wrong" and self.photos < 2:
                raise UserError(f"{name}=wrong leaves photos=1 nothing right; give 2 or more")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Reads `scenes=1&masks=wide`; an empty text, or `plain`, is the default.

        Without `scenes` there are as many as photos, 5 at most.

        Raises:
            UserError: If a key or a value is unknown, given twice, or contradicts another.
        """
        given: dict[str, str] = {}
        known = [entry.name for entry in fields(cls)]
        for part in text.split("&") if text not in ("", PLAIN_LABEL) else []:
            key, equals, value = part.partition("=")
            if key not in known or not equals:
                raise UserError(
                    f"regime {text!r}: {part!r} is no part of one; write KEY=VALUE joined by '&', "
                    f"with the keys {', '.join(known)}"
                )
            if key in given:
                raise UserError(f"regime {text!r}: {key} is given twice")
            given[key] = value
        try:
            numbers = {key: _number(key, given.pop(key)) for key in known[:2] if key in given}
            photos = numbers.setdefault("photos", MOST_SCENES)
            numbers.setdefault("scenes", max(1, min(MOST_SCENES, photos)))
            return cls(**numbers, **given)  # type: ignore[arg-type]
        except UserError as error:
            raise UserError(f"regime {text!r}: {error}") from error

    def __str__(self) -> str:
        """What `parse` reads: the parts that differ from the default; empty if none does."""
        default = type(self)(scenes=min(MOST_SCENES, self.photos), photos=self.photos)
        parts = {entry.name: getattr(self, entry.name) for entry in fields(self)}
        return "&".join(
            f"{name}={value}"
            for name, value in parts.items()
            if value != (MOST_SCENES if name == "photos" else getattr(default, name))
        )

    @property
    def label(self) -> str:
        """What tables call it."""
        return str(self) or PLAIN_LABEL

    @property
    def is_plain(self) -> bool:
        """Whether it is what `mini:NUMBER` alone means."""
        return self == type(self)()

    @property
    def writes_masks(self) -> bool:
        """Whether its masks are files beside the photos."""
        return self.masks in ("exact", "wide", "eroded", "wrong")


PLAIN = Regime()


def _number(key: str, value: str) -> int:
    if not (value.isascii() and value.isdecimal() and len(value) <= _MOST_DIGITS):
        raise UserError(f"{key} is a whole number, not {value[:20]!r}")
    return int(value)
