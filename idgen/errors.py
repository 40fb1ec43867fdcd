"""The one exception that means "the user can mend this", and how errors of libraries are quoted."""

_LONGEST_REASON = 160


class UserError(Exception):
    """An expected error: its text is one line that names the file or parameter and the mend.

    The command line prints it without a traceback.

    Attributes:
        exit_code: That the command line exits with.
    """

    exit_code = 2

    def __init__(self, message: str) -> None:
        # Only line breaks go: a name may hold two spaces.
        super().__init__(" ".join(filter(None, map(str.strip, message.splitlines()))))


class LostProcessError(UserError):
    """Another process of the same run is gone: the reason is that one's, and is not known here."""

    exit_code = 1


def first_line(error: BaseException, longest: int = _LONGEST_REASON) -> str:
    """The first line of what an error says, or its kind where it says nothing.

    Args:
        error: Of any library.
        longest: Letters that are kept.
    """
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:longest]


def printable(text: str) -> str:
    """Text as a terminal or a page can show it: unprintable characters are replaced."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)
