"""Equations as MathML, which browsers draw without a script."""

from typing import Any

from latex2mathml.converter import convert


def display(
    source: str, language: str, css_class: str, options: dict[str, Any], md: Any, **_: Any
) -> str:
    """A fence of pymdownx.superfences: each line of LaTeX becomes an equation of its own."""
    lines = [line for line in source.splitlines() if line.strip()]
    equations = "".join(convert(line, display="block") for line in lines)
    return f'<div class="{css_class}">{equations}</div>'
