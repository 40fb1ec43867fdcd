"""DreamBench's `prompts_and_classes.txt`: its prompts and its subjects (Ruiz et al. 2023)."""

import re
from collections.abc import Sequence

_HEADINGS = {
    "objects": re.compile(r"(?i)^(# *objects?\b|object prompts?)"),
    "live": re.compile(r"(?i)^(# *live\b|live subject prompts?)"),
}
_QUOTED = re.compile(r"""(?P<quote>['"])(?P<template>.*\{[01]\}.*)(?P=quote)""")
_HEAD_OF_LIST = "subject_name"


def read_templates(lines: Sequence[str], *, live: bool, placeholders: Sequence[str]) -> list[str]:
    """The prompt templates for one kind of subject.

    The file has two lists, one for objects and one for live subjects, under headings such as
    `# objects` and `# live` or as DreamBench's own file has them. A file without headings is one
    list for all subjects.

    Args:
        lines: Of the file.
        live: Whether the subject is alive.
        placeholders: What may stand for a subject in a template, besides `{0}`.

    Returns:
        Templates, in which `{0}` or a placeholder is the subject and `{1}` its class noun.
    """
    wanted = "live" if live else "objects"
    current, found = None, []
    headed = any(pattern.match(line) for line in lines for pattern in _HEADINGS.values())
    for line in (line.strip() for line in lines):
        heading = next((name for name, p in _HEADINGS.items() if p.match(line)), None)
        if heading:
            current = heading
            continue
        if line.startswith("#") or (headed and current != wanted):
            continue
        quoted = _QUOTED.search(line)
        template = quoted["template"] if quoted else line
        if any(name in template for name in ("{0}", *placeholders)):
            found.append(template)
    return found


def read_class_nouns(lines: Sequence[str]) -> dict[str, str]:
    """The class noun of each subject that the file lists, in its order.

    Args:
        lines: Of the file; subjects are lines such as `dog6,dog`.
    """
    pairs = [[part.strip() for part in line.split(",")] for line in lines]
    # Lines of prompts have quotes.
    nouns = {p[0]: p[1] for p in pairs if len(p) == 2 and all(p) and "'" not in "".join(p)}
    nouns.pop(_HEAD_OF_LIST, None)
    return nouns
