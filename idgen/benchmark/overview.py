"""Regimes beside each other: a table for each of the main scores, and a picture."""

from markupsafe import Markup

from idgen.benchmark import tables
from idgen.benchmark.comparison import Comparison
from idgen.benchmark.summary import Summary
from idgen.pages.panels import Panel, draw_panels
from idgen.pages.scatter import ScatterPoint
from idgen.pages.scores import ScoreName, score_name

SHOWN = ("identity_accuracy", "background_accuracy", "dino", "clip_t", "leakage")
ACROSS, UP = "leakage", "identity_accuracy"


def overview_rows(comparison: Comparison, score: str) -> list[tuple[str, list[tables.Entry]]]:
    """A score's row of each regime, an entry a method; a regime without the score is left out."""
    rows = []
    for summary in comparison.summaries:
        if score in summary.scores:
            at = summary.scores.index(score)
            entries = [tables.method_entries(summary, method)[at] for method in summary.methods]
            rows.append((summary.regime, entries))
    return rows


def overview_scores(comparison: Comparison) -> list[ScoreName]:
    """The scores that the overview shows."""
    return [score_name(key) for key in SHOWN if key in comparison.scores]


def overview_markdown(comparison: Comparison) -> str:
    """A table for each score: a row a regime, a column a method."""
    parts = []
    methods = [method.name for method in comparison.summaries[0].methods]
    for name in overview_scores(comparison):
        head = [f"{name.label} {name.arrow}".strip(), *map(tables.escaped, methods)]
        rows = [head, ["---"] * len(head)]
        for regime, entries in overview_rows(comparison, name.key):
            rows.append([tables.escaped(regime), *map(tables.markdown_entry, entries)])
        parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    return "\n\n".join(parts) + "\n"


def overview_picture(comparison: Comparison) -> Markup | None:
    """A panel for each regime, a point a method; None where no regime has both scores."""
    panels = [Panel(s.regime, points) for s in comparison.summaries if (points := _points(s))]
    if not panels:
        return None
    up, across = score_name(UP), score_name(ACROSS)
    # What they mean is said below; there may be but one row of panels.
    return Markup(draw_panels(panels, across.label, up.label, less_is_better=across.better < 0))


def _points(summary: Summary) -> list[ScatterPoint]:
    points = []
    for method in summary.methods:
        across, up = method.scores.get(ACROSS), method.scores.get(UP)
        if across is not None and up is not None:
            points.append(ScatterPoint(method.name, across.mean, up.mean, across.ends, up.ends))
    return points
