"""The page itself: one file without anything from elsewhere."""

from collections.abc import Sequence
from dataclasses import dataclass

from idgen.report.elements import text

_STYLE = """
:root { color-scheme: light; --paper: #fff; --ink: #1d1d1f; --faint: #65656b; --line: #e2e2e6;
  --wash: #f6f6f8; --alarm: #b3261e; --alarm-wash: #fdecea; --good: #1a7f37; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 2rem 1.25rem 4rem; max-width: 88rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, "Segoe UI", "Helvetica Neue", Arial, sans-serif; }
h1 { margin: 0; font-size: 1.6rem; line-height: 1.25; overflow-wrap: anywhere; }
h2 { margin: 2.5rem 0 .5rem; font-size: 1.15rem; }
h3 { margin: 0; display: inline; font-size: 1rem; }
p { margin: .35rem 0; max-width: 60rem; }
.lead, .note, small, figcaption { color: var(--faint); }
small { font-weight: normal; font-size: .72rem; white-space: nowrap; }
.wide { overflow-x: auto; margin: .75rem 0; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .7rem; text-align: left; vertical-align: top; font-weight: normal;
  border-bottom: 1px solid var(--line); }
thead th { color: var(--faint); font-size: .85rem; vertical-align: bottom;
  border-bottom: 1.5px solid #b9b9c0; }
table.scores th, table.scores td { padding: .4rem .4rem; }
table.scores thead th { font-size: .8rem; }
table.scores td { white-space: nowrap; }
table.scores small { font-size: .66rem; }
table.scores tbody th { font-weight: 600; }
table.scores small { display: block; }
tbody.apart th, tbody.apart td { color: var(--faint); border-top: 2px solid #b9b9c0; }
table.scores tbody.apart th { font-weight: normal; font-style: italic; }
.better { color: var(--good); } .worse { color: var(--alarm); }
.alarm { margin: 1rem 0; padding: .75rem 1rem; border-radius: .4rem; background: var(--alarm-wash);
  color: var(--alarm); }
.alarm ul { margin: .25rem 0 0; padding-left: 1.25rem; overflow-wrap: anywhere; }
details { margin: .75rem 0; border-top: 1px solid var(--line); padding-top: .75rem; }
summary { cursor: pointer; }
.photos { display: flex; flex-wrap: wrap; gap: .35rem; margin: .6rem 0; }
.photos img { height: 96px; width: auto; }
table.drawings { border-collapse: separate; border-spacing: 3px; }
table.drawings th, table.drawings td { border: 0; padding: 0; }
table.drawings thead th { max-width: 110px; padding-bottom: .2rem; line-height: 1.25;
  font-size: .78rem; }
table.drawings tbody th { padding-right: .75rem; max-width: 15rem; vertical-align: middle; }
img { display: block; border-radius: 3px; background: var(--wash); }
table.drawings img { width: 110px; height: auto; }
td.none { color: var(--faint); }
svg { display: block; max-width: 100%; height: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .15rem 1.25rem; margin: .5rem 0; }
dt { color: var(--faint); } dd { margin: 0; overflow-wrap: anywhere; }
pre { margin: .5rem 0; padding: .75rem 1rem; background: var(--wash); border-radius: .4rem;
  white-space: pre-wrap; overflow-wrap: anywhere; font-size: .85rem; }
@media print { body { max-width: none; padding: 0; } details { break-inside: avoid; } }
"""


@dataclass(frozen=True)
class Section:
    """A part of the page.

    Attributes:
        title: Its heading; none if empty.
        body: HTML.
    """

    title: str
    body: str


def render_page(title: str, lead: str, sections: Sequence[Section]) -> bytes:
    """Puts a page together.

    Args:
        title: Heading and name of the page.
        lead: One sentence below it.
        sections: In order.

    Returns:
        The page, UTF-8: no script, no address of anything outside it.
    """
    parts = []
    for section in sections:
        heading = f"<h2>{text(section.title)}</h2>\n" if section.title else ""
        parts.append(f"<section>\n{heading}{section.body}</section>\n")
    page = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{text(title)}</h1>
<p class="lead">{text(lead)}</p>
{"".join(parts)}</body>
</html>
"""
    return page.encode()


def definitions(entries: dict[str, str]) -> str:
    """A list of names and what they are."""
    lines = "".join(f"<dt>{text(k)}</dt><dd>{text(v)}</dd>\n" for k, v in entries.items())
    return f"<dl>\n{lines}</dl>\n"


def flattened_protocol(protocol: dict[str, object], prefix: str = "") -> dict[str, str]:
    """A protocol as names and values for `definitions`."""
    flat: dict[str, str] = {}
    for key, value in protocol.items():
        name = f"{prefix}{key}".replace("_", " ")
        if isinstance(value, dict):
            flat |= flattened_protocol(value, f"{name}: ")
        else:
            flat[name] = "none" if value in (None, "") else str(value)
    return flat


def command_block(command: str) -> str:
    """A command to copy."""
    return f"<pre>{text(command)}</pre>\n"
