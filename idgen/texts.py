"""Text files that users write: UTF-8, with or without a byte-order mark, on every machine."""

from pathlib import Path

from idgen.errors import UserError


def read_text(path: Path, parameter: str = "", mend: str = "mend or remove it") -> str:
    r"""Reads a text file, whatever encoding the machine prefers.

    Args:
        path: The file.
        parameter: What named it, for the error; empty if nothing did.
        mend: What to do about a file that cannot be read.

    Returns:
        The text, without a byte-order mark, lines ending in `\n`.

    Raises:
        UserError: If the file cannot be read, or is not UTF-8.
    """
    named = f"{parameter}: " if parameter else ""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise UserError(f"{named}cannot read {path} ({error.strerror}); {mend}") from error
    return decoded(content, path, parameter)


def decoded(content: bytes, path: Path, parameter: str = "") -> str:
    """The text of a file's content; takes and raises what `read_text` does."""
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        named = f"{parameter}: " if parameter else ""
        line = content[: error.start].count(b"\n") + 1
        raise UserError(
            f"{named}{path} is not UTF-8 (line {line}, byte {error.start}); save it as UTF-8"
        ) from error
    return text.replace("\r\n", "\n").replace("\r", "\n")
