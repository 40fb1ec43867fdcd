"""The doctor's page in the terminal."""

from rich.table import Table
from rich.text import Text

from idgen.doctor.finding import Findings, State
from idgen.errors import printable

_STYLES = {
    State.fine: "green",
    State.note: "yellow",
    State.fails: "bold red",
    State.skipped: "dim",
}


def page(findings: Findings) -> Table:
    """A row a finding: what, how it stands, what was found."""
    table = Table("what", "", "found", show_edge=False, pad_edge=False)
    for finding in findings.lines:
        table.add_row(
            Text(finding.what),
            Text(finding.state.value, style=_STYLES[finding.state]),
            Text(printable(finding.says)),
        )
    return table
