"""Where the weights of the mini models are, and whether they are whole."""

import json
from functools import cache
from pathlib import Path

from idgen.errors import UserError
from idgen.fingerprint import file_digest

PARTS: tuple[str, ...] = (
    "pipeline",
    "flow",
    "encoder",
    "clip",
    "dino",
    "sam",
    "empty_scenes",
)
CHECKSUMS = "checksums.json"
WEIGHTS = Path(__file__).parent / "weights"


def mini_path(part: str) -> Path:
    """Return the folder of one of the mini models, checked against the stored checksums.

    The files are read once in the life of the process.

    Args:
        part: One of `PARTS`.

    Raises:
        UserError: If there is no such part, or its files are missing or damaged; the message names
            the file and lists the parts that exist.
    """
    return _checked(WEIGHTS, part)


def part_files(folder: Path) -> list[Path]:
    """List the files of a part, sorted, hidden ones left out."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".") and "__pycache__" not in path.parts
    )


@cache
def _checked(weights: Path, part: str) -> Path:
    folder = weights / part
    if part not in PARTS:
        raise UserError(f"no mini model '{part}'; there are: {', '.join(PARTS)}")
    digests = _digests(weights)
    wanted = {name: digest for name, digest in digests.items() if name.startswith(f"{part}/")}
    if not wanted:
        raise UserError(
            f"the mini model '{part}' is missing: {weights / CHECKSUMS} names no file of it; "
            + _mend(weights, digests, part)
        )
    for name, digest in wanted.items():
        path = weights / name
        if not path.is_file():
            raise UserError(
                f"the mini model '{part}' lacks {path}; {_mend(weights, digests, part)}"
            )
        if _digest(path) != digest:
            raise UserError(
                f"the mini model '{part}' is damaged: {path} is not the file that was released; "
                + _mend(weights, digests, part)
            )
    return folder


def _digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError as error:
        raise UserError(f"cannot read {path} of the mini models: {error.strerror}") from error


def _digests(weights: Path) -> dict[str, str]:
    path = weights / CHECKSUMS
    if not path.is_file():
        raise UserError(f"the mini models' checksums {path} are missing; reinstall idgen")
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): str(digest) for name, digest in read.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise UserError(
            f"cannot read the mini models' checksums {path}: {error}; reinstall idgen"
        ) from error


def _mend(weights: Path, digests: dict[str, str], part: str) -> str:
    """What to do about a broken part, and which others there are: those that lack no file."""
    lacking = {name.split("/", 1)[0] for name in digests if not (weights / name).is_file()}
    there = {name.split("/", 1)[0] for name in digests} - lacking - {part}
    return f"there are: {', '.join(p for p in PARTS if p in there) or 'none'}; reinstall idgen"
