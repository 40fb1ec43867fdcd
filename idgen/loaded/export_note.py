"""What an export says of itself, so that `idgen sample` draws with it as with the checkpoint."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import yaml
from safetensors import SafetensorError, safe_open

from idgen.placeholders import FIRST, PLACEHOLDER, SECOND

CARD = "README.md"
KEY = "idgen"
_TEXTS = ("version", "format", "word", "class_noun")


@dataclass(frozen=True)
class ExportNote:
    """What files alone do not tell; the model card holds it, and kohya's metadata.

    Attributes:
        version: Of idgen.
        format: Such as `merged`.
        word: What [V] becomes.
        class_noun: What the subject is.
        base: The base model if it has a name for everybody: `mini`, or a hub id.
        second: What [V2] becomes, of two subjects.
        sampler: How the run draws.
    """

    version: str
    format: str
    word: str
    class_noun: str
    base: str | None
    second: str | None
    sampler: Mapping[str, Any]

    @property
    def words(self) -> dict[str, str]:
        """What stands for each subject that a prompt may name."""
        first = {FIRST: self.word} if self.second else {}
        second = {SECOND: self.second} if self.second else {}
        return {PLACEHOLDER: self.word, **first, **second}

    def as_plain(self) -> dict[str, Any]:
        """As YAML and JSON can hold it."""
        plain: dict[str, Any] = json.loads(json.dumps(asdict(self)))
        return plain

    @classmethod
    def of_plain(cls, plain: Any) -> Self | None:
        """From what `as_plain` gave; None from anything else."""
        if not isinstance(plain, dict) or set(plain) != set(cls.__dataclass_fields__):
            return None
        texts = all(isinstance(plain[name], str) for name in _TEXTS)
        names = all(isinstance(plain[name], (str, type(None))) for name in ("base", "second"))
        return cls(**plain) if texts and names and isinstance(plain["sampler"], dict) else None


def note_of(path: Path) -> ExportNote | None:
    """The note of an export: of the card beside its files, else of a file's own metadata.

    Args:
        path: A folder, or one file.
    """
    found = ExportNote.of_plain(front_matter(_card(path)).get(KEY))
    if found is not None or not path.is_file():
        return found
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(KEY, "")
        return ExportNote.of_plain(json.loads(text))
    except (OSError, ValueError, SafetensorError):
        return None


def base_of(path: Path, note: ExportNote | None) -> str | None:
    """The base model that an export names; None where it names none.

    Args:
        path: A folder, or one file.
        note: Its own.
    """
    if note is not None and note.base is not None:
        return note.base
    base = front_matter(_card(path)).get("base_model")
    return base if isinstance(base, str) else None


def front_matter(card: Path) -> dict[str, Any]:
    """The YAML at the head of a model card; empty where there is none that can be read."""
    try:
        _, head, _ = f"\n{card.read_text(encoding='utf-8')}".split("\n---\n", 2)
        found = yaml.safe_load(head)
    except (OSError, ValueError, yaml.YAMLError):
        return {}
    return found if isinstance(found, dict) else {}


def _card(path: Path) -> Path:
    return (path if path.is_dir() else path.parent) / CARD
