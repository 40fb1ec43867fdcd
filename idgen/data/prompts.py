"""Prompts: the subject's placeholder [V], and suites of templates."""

import json
from collections.abc import Sequence
from pathlib import Path

from idgen.dreambench import read_templates
from idgen.errors import UserError
from idgen.fingerprint import fingerprint_fields
from idgen.placeholders import FIRST, PLACEHOLDER, SECOND, filled
from idgen.texts import read_text

_MINI = Path(__file__).parents[1] / "mini"
SUITES = {
    "mini": _MINI / "prompts.txt",
    "mini-complex": _MINI / "prompts_complex.txt",
    "mini-two": _MINI / "prompts_two.txt",
}
"""The suites that come with the mini world, by name."""

_GIVE = f"give a file, or {' or '.join(map(repr, SUITES))}"


def with_token(prompt: str, token: str) -> str:
    """The prompt as the backbone reads it: [V] becomes the rare token.

    Raises:
        UserError: If the prompt lacks [V].
    """
    if PLACEHOLDER not in prompt:
        raise UserError(
            f"prompt {prompt!r} does not name the subject: put {PLACEHOLDER} where it belongs, "
            f"such as 'a {PLACEHOLDER} dog on the beach'"
        )
    return " ".join(prompt.replace(PLACEHOLDER, token).split())


def without_token(prompt: str) -> str:
    """The prompt without [V], as CLIP-T reads it."""
    return " ".join(prompt.replace(PLACEHOLDER, "").split())


def read_suite(source: str, *, live: bool, class_noun: str) -> list[str]:
    """Reads a prompt suite in DreamBench's form, its templates filled in.

    Two lists of templates, one for objects and one for live subjects, under headings such as
    `# objects` and `# live` or as DreamBench's own file has them; a file without headings is one
    list for all. In a template `{0}` is the subject's token and `{1}` its class noun; lines may
    hold [V] and `{class_noun}` instead.

    Args:
        source: `mini`, `mini-complex`, or another of `SUITES`, or a text file.
        live: Whether the subject is alive.
        class_noun: Such as `dog`.

    Returns:
        Prompts with [V] in them.

    Raises:
        UserError: If the file cannot be read, holds no prompt for the subject, or a prompt in
            which something else stands in braces.
    """
    prompts = [filled(t, class_noun) for t in suite_templates(source, live, class_noun)]
    for prompt in prompts:
        with_token(prompt, "")
    return prompts


def suite_templates(source: str, live: bool, class_noun: str) -> list[str]:
    """The templates of a suite, `{0}` and `{1}` filled in and nothing else.

    Args:
        source: As for `read_suite`.
        live: Whether the subject is alive.
        class_noun: Such as `dog`.

    Raises:
        UserError: If the file cannot be read, or holds no prompt for the subject.
    """
    if source.lstrip().startswith("["):
        raise UserError(
            f"prompts: {source} is read as a file's name; quote each prompt of a list, as in "
            f"'[\"a {PLACEHOLDER} dog\"]'"
        )
    path = _suite_file(source)
    if path.suffix.lower() in (".yaml", ".yml", ".json"):
        raise UserError(f"prompts: {path} is no list of prompts; give a text file, one a line")
    lines = _text(path).splitlines()
    placeholders = (PLACEHOLDER, FIRST, SECOND)
    templates = read_templates(lines, live=live, placeholders=placeholders)
    if not templates:
        raise UserError(
            f"prompts: {path} has no prompt for {'live' if live else 'object'} subjects"
        )
    return [t.replace("{0}", PLACEHOLDER).replace("{1}", class_noun) for t in templates]


def suite_identity(suite: str | Sequence[str]) -> str:
    """Hash of a suite's templates, the same for every subject.

    Args:
        suite: The name of one, a file as for `read_suite`, or a list of prompts.

    Raises:
        UserError: If the file cannot be read.
    """
    if not isinstance(suite, str):
        return fingerprint_fields(prompts=json.dumps(list(suite)))
    return fingerprint_fields(prompts=_text(_suite_file(suite)))


def _text(path: Path) -> str:
    return read_text(path, "prompts", _GIVE)


def _suite_file(source: str) -> Path:
    return SUITES.get(source) or Path(source).expanduser()
