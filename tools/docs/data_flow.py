"""Draws docs/images/data_flow.svg from the YAML file beside it."""

from html import escape
from pathlib import Path
from typing import Any

import yaml

SOURCE = Path(__file__).parents[2] / "docs" / "images" / "data_flow.yaml"
PICTURE = SOURCE.with_suffix(".svg")
WIDTH, GAP, LINE, PAD = 268, 40, 17, 12
STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#1f2d2b}.name{font-weight:600;font-size:14px}"
    ".code{font-family:ui-monospace,monospace;font-size:11px;fill:#00695c}"
    ".made{fill:#fff8e1;stroke:#c49000}.part{fill:#e0f2f1;stroke:#00796b}"
    ".arrow{stroke:#455a64;stroke-width:1.6;fill:none;marker-end:url(#head)}"
)


def drawn(flow: dict[str, Any]) -> str:
    """The picture: rows from top to bottom, boxes from left to right, an arrow for each link."""
    places, boxes, top = {}, [], PAD
    for row in flow["rows"]:
        height = max(_height(flow["boxes"][name]) for name in row)
        for name, column in row.items():
            left = PAD + column * (WIDTH + GAP)
            places[name] = (left, top, height)
            boxes.append(_box(name, flow["boxes"][name], left, top, height))
        top += height + GAP
    arrows = [_arrow(places[start], places[end]) for start, end in flow["arrows"]]
    columns = 1 + max(column for row in flow["rows"] for column in row.values())
    wide, high = 2 * PAD + columns * (WIDTH + GAP) - GAP, top - GAP + PAD
    size = 'viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7"'
    head = f'<marker id="head" {size} orient="auto">'
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high}" width="{wide}">',
            f"<title>{escape(flow['title'])}</title><style>{STYLE}</style>",
            f'<defs>{head}<path d="M0 0 8 4 0 8z" fill="#455a64"/></marker></defs>',
            f'<rect width="{wide}" height="{high}" fill="#fff" rx="8"/>',
            *boxes,
            *arrows,
            "</svg>\n",
        ]
    )


def _height(box: dict[str, Any]) -> int:
    return 2 * PAD + LINE * (len(box["lines"]) + 1 + ("code" in box))


def _box(name: str, box: dict[str, Any], left: int, top: int, height: int) -> str:
    lines = [("name", name), *(("line", line) for line in box["lines"])]
    if "code" in box:
        lines.append(("code", box["code"]))
    middle = left + WIDTH // 2
    texts = "".join(
        f'<text class="{kind}" x="{middle}" y="{top + PAD + LINE * (number + 1) - 4}" '
        f'text-anchor="middle">{escape(line)}</text>'
        for number, (kind, line) in enumerate(lines)
    )
    kind = box.get("kind", "part")
    frame = f'x="{left}" y="{top}" width="{WIDTH}" height="{height}" rx="6"'
    return f'<rect class="{kind}" {frame}/>{texts}'


def _arrow(start: tuple[int, int, int], end: tuple[int, int, int]) -> str:
    """Down from one row to a lower one, or across within a row."""
    (left, top, height), (to_left, to_top, _) = start, end
    if top == to_top:
        right = left < to_left
        x, to_x = (left + WIDTH, to_left) if right else (left, to_left + WIDTH)
        y = top + height // 2
        return f'<path class="arrow" d="M{x} {y} H{to_x}"/>'
    x, y, to_x = left + WIDTH // 2, top + height, to_left + WIDTH // 2
    half = to_top - GAP // 2
    return f'<path class="arrow" d="M{x} {y} V{half} H{to_x} V{to_top}"/>'


if __name__ == "__main__":
    PICTURE.write_text(drawn(yaml.safe_load(SOURCE.read_text(encoding="utf-8"))), encoding="utf-8")
