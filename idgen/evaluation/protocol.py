"""What decides scores: two results can be compared where their protocols are the same."""

import json
from collections.abc import Collection
from dataclasses import MISSING, asdict, dataclass, field, fields
from typing import Any, NamedTuple, Self

from idgen.errors import UserError

PAIRING = (
    "every drawing against every photo; prompts without the subject's token; no leakage where a "
    "prompt is known to ask for a photo's scene"
)
_READ_ONLY: dict[str, Any] = {"compared": False}


class Difference(NamedTuple):
    """A field in which two protocols differ: its name, its value in the asked one, in the other."""

    field: str
    ours: Any
    theirs: Any


def limit_of(batches: float | None) -> float | None:
    """What `trainer.limit_test_batches` leaves of a suite: a whole number counts batches.

    Raises:
        UserError: If it leaves nothing.
    """
    if batches == 0:
        raise UserError("trainer.limit_test_batches is 0, and so nothing is drawn: leave it out")
    return None if isinstance(batches, float) and batches == 1 else batches


@dataclass(frozen=True)
class Protocol:
    """How drawings were made and scored; nothing that belongs to a method or to a subject.

    Names and revisions are there to be read. Two protocols are compared by the identities, which
    stay the same when a folder moves.

    Attributes:
        dino: Name of the scoring DINO: a hub id, a folder, or `mini`.
        dino_revision: Its commit, tag or branch on the hub; None for a folder.
        dino_identity: Hash of what computes its embeddings: of the weights for a folder, else of
            name and revision.
        dino_preprocessing: Resize, crop, mean and standard deviation.
        clip: Name of the scoring CLIP: an architecture, a folder, or `mini`.
        clip_revision: open_clip's name of its weights, or their file; None for a folder.
        clip_identity: As for DINO.
        clip_preprocessing: As for DINO.
        pairing: What is compared with what.
        photo_segmenter: Hash of what found the subject in the photos; None where their masks and
            backgrounds are missing.
        segmenter: Hash of what finds it in drawings; None where nothing does.
        inpainter: Hash of what takes it away; None where nothing does.
        sampler: How images are drawn: its name and settings.
        drawing_seed: Of the drawings' starting noise.
        prompts: Hash of the prompts' templates.
        images_per_prompt: Drawings of each prompt.
        idgen_version: The version that scored.
        scores: What decides the scores that the user added, by name.
        limit: How much of the suite is drawn, as `limit_of` has it; None for all.
    """

    dino: str = field(metadata=_READ_ONLY)
    dino_revision: str | None = field(metadata=_READ_ONLY)
    dino_identity: str
    dino_preprocessing: dict[str, Any]
    clip: str = field(metadata=_READ_ONLY)
    clip_revision: str | None = field(metadata=_READ_ONLY)
    clip_identity: str
    clip_preprocessing: dict[str, Any]
    pairing: str
    photo_segmenter: str | None
    segmenter: str | None
    inpainter: str | None
    sampler: dict[str, Any]
    drawing_seed: int
    prompts: str
    images_per_prompt: int
    idgen_version: str
    scores: dict[str, str] = field(default_factory=dict)
    limit: float | None = None

    def to_json(self) -> dict[str, Any]:
        """As plain data that JSON gives back unchanged."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def from_json(cls, data: Any) -> Self:
        """From what `to_json` gave.

        Raises:
            UserError: If a field is missing, or unknown: another version wrote it.
        """
        known = [entry.name for entry in fields(cls)]
        needed = [e.name for e in fields(cls) if e.default is e.default_factory is MISSING]
        found = list(data) if isinstance(data, dict) else []
        wrong = [name for name in needed if name not in found]
        wrong += [name for name in found if name not in known]
        if wrong:
            raise UserError(
                f"protocol: {wrong[0]!r} is {'missing' if wrong[0] in known else 'unknown'}; "
                "another version of idgen wrote this result: run its test again"
            )
        return cls(**data)

    def differences(self, other: "Protocol", but: Collection[str] = ()) -> list[Difference]:
        """The fields in which another protocol differs, in order, `but` those that may differ."""
        ours, theirs = self.to_json(), other.to_json()
        compared = [f.name for f in fields(self) if f.metadata.get("compared", True)]
        names = [name for name in compared if name not in but]
        return [Difference(n, ours[n], theirs[n]) for n in names if ours[n] != theirs[n]]
