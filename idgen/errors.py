"""The one exception that means "the user can mend this"."""


class UserError(Exception):
    """An expected error: its text is one line that names the file or key and the mend.

    The command line prints it without a traceback and exits with code 2.
    """

    def __init__(self, message: str) -> None:
        # Only line breaks go: a name may hold two spaces.
        super().__init__(" ".join(filter(None, map(str.strip, message.splitlines()))))
