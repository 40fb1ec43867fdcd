"""What the doctor says of one thing."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum

from idgen.errors import UserError


class State(Enum):
    """How a thing stands."""

    fine = "fine"
    note = "look"
    fails = "fails"
    skipped = "not tried"


@dataclass(frozen=True)
class Finding:
    """One line of the page.

    Attributes:
        what: What was looked at.
        state: How it stands.
        says: What was found; for what fails, with the mend.
    """

    what: str
    state: State
    says: str


@dataclass
class Findings:
    """All lines of the page, in order.

    Attributes:
        lines: So far.
    """

    lines: list[Finding] = field(default_factory=list)

    def add(self, what: str, says: str, state: State = State.fine) -> None:
        """Adds a line."""
        self.lines.append(Finding(what, state, says))

    def add_all(self, what: str, says: list[str], state: State) -> None:
        """Adds a line for each text."""
        for text in says:
            self.add(what, text, state)

    @property
    def failed(self) -> list[Finding]:
        """Those that would fail."""
        return [finding for finding in self.lines if finding.state is State.fails]

    @contextmanager
    def of(self, what: str, reword: Callable[[UserError], UserError]) -> Iterator[None]:
        """Turns an error about a thing into a line.

        Args:
            what: The thing.
            reword: Puts the command line's key in front.
        """
        try:
            yield
        except UserError as error:
            self.add(what, str(reword(error)), State.fails)
