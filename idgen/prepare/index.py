"""The index of a prepared subject: which file was made of which photo, and what was noted."""

import json
from dataclasses import asdict, dataclass
from typing import Final, Literal, TypeAlias, get_args

from pydantic import TypeAdapter

from idgen.prepare.buckets import Size
from idgen.prepare.sheet.review import Look

Kind: TypeAlias = Literal["masks", "backgrounds", "captions", "latents", "embeddings"]
"""What is made of a photo, in this order; also the folder that it lies in."""
KINDS: Final[tuple[Kind, ...]] = get_args(Kind)
PICTURES, FEATURES = KINDS[:2], KINDS[3:]
ALWAYS: Final[frozenset[Kind]] = frozenset(KINDS) - {"captions"}
"""What every prepared subject has; captions are made only where there is a captioner."""


@dataclass(frozen=True)
class PreparedFile:
    """A file of a prepared subject.

    Attributes:
        key: The key it was made under; it carries the same, and its name follows from it.
        sha256: Of its bytes.
    """

    key: str
    sha256: str


@dataclass(frozen=True)
class PreparedPhoto:
    """What was made of one photo.

    Attributes:
        name: The photo's file name.
        digest: SHA-256 of its bytes.
        files: One of each kind that was made.
        look: What the photos of the set are compared by.
        warnings: What looks wrong with its mask, or with it beside the others; empty if nothing
            does.
        size: Of its views, in pixels; None where they are square.
    """

    name: str
    digest: str
    files: dict[Kind, PreparedFile]
    look: Look
    warnings: list[str]
    size: Size | None = None


@dataclass(frozen=True)
class LeftOut:
    """A photo that is left out, since something could not be made of it.

    Attributes:
        name: The photo's file name.
        digest: SHA-256 of its bytes.
        key: Of what could not be made: with another one it is tried again.
        reason: Why, and the mend.
    """

    name: str
    digest: str
    key: str
    reason: str

    def __str__(self) -> str:
        """For the terminal."""
        return f"{self.name!r}: {self.reason}"


@dataclass(frozen=True)
class Index:
    """The contents of `index.json`.

    Attributes:
        photos: Sorted by name.
        views: Names of the views, in the order of the rows of latents and embeddings.
        resolution: Pixels on a side of a square view.
        left_out: Photos that are not among them, sorted by name.
        format: Of the index and the folder.
    """

    photos: list[PreparedPhoto]
    views: list[str]
    resolution: int
    left_out: list[LeftOut]
    format: Literal["idgen prepared subject 2"] = "idgen prepared subject 2"

    def to_bytes(self) -> bytes:
        """As the file holds it."""
        return (json.dumps(asdict(self), indent=1) + "\n").encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> "Index | None":
        """Reads a file; None if that is no index of this format, or a damaged one."""
        try:
            index = _CHECKER.validate_python(json.loads(content))
        except ValueError:  # pydantic's is one
            return None
        whole = all(photo.files.keys() >= ALWAYS for photo in index.photos)
        return index if whole else None


_CHECKER = TypeAdapter(Index)
