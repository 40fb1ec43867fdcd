"""The fenced blocks of README.md and docs/, and the commands that those of bash start."""

import json
import os
import re
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
FENCE = re.compile(r"^( *)```(\w*)(?: title=\"([^\"]*)\")?$")
# Stands in for a command: writes down what it was started with. `idgen init` is real, since the
# commands behind it run in the folder that it makes.
SHIM = """#!{python} -SE
import json, os, select, sys
name = os.path.basename(sys.argv[0])
if name == "idgen" and sys.argv[1:2] == ["init"]:
    os.environ["PYTHONPATH"] = {root!r}
    os.execv({python!r}, [{python!r}, "-m", "idgen", *sys.argv[1:]])
piped = not sys.stdin.isatty() and select.select([sys.stdin], [], [], 0)[0]
text = sys.stdin.read() if piped else ""
record = {{"words": [name, *sys.argv[1:]], "folder": os.getcwd(), "piped": text}}
with open({log!r}, "a") as file:
    file.write(json.dumps(record) + chr(10))
"""

# What starts commands on several machines: the command itself is run, once.
LAUNCHERS = {
    "srun": '#!/bin/bash\nexec "$@"\n',
    "torchrun": '#!/bin/bash\nuntil [ "$1" = idgen ]; do shift; done\nexec "$@"\n',
}


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Attributes:
        page: Its page's name.
        line: Of its first fence.
        language: Behind the first fence.
        title: What is said of it: what it needs that a test machine has not.
        text: What is between the fences.
    """

    page: str
    line: int
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def needs(self) -> bool:
        """Whether it needs a GPU, a network or another thing that tests have not."""
        return self.title.startswith(("needs ", "installs ", "builds "))


@dataclass(frozen=True)
class Started:
    """A command as bash started it."""

    words: list[str]
    folder: str
    piped: str


def blocks() -> list[Block]:
    """All of them, page by page."""
    return [block for page in PAGES for block in _of(page)]


def _of(page: Path) -> Iterator[Block]:
    lines = page.read_text(encoding="utf-8").splitlines()
    numbers = iter(range(len(lines)))
    for start in numbers:
        opened = FENCE.match(lines[start])
        if opened is None:
            assert "```" not in lines[start], f"{page.name}:{start + 1}: another kind of fence"
            continue
        indent, language, title = opened.groups()
        end = next(number for number in numbers if lines[number] == f"{indent}```")
        text = textwrap.dedent("\n".join(lines[start + 1 : end])) + "\n"
        yield Block(page.name, start + 1, language, title or "", text)


def started(block: Block, folder: Path, top: Path | None = None) -> tuple[list[Started], Path]:
    """Runs a block by bash.

    Args:
        block: Of bash.
        folder: Where.
        top: Beside which the home folder is; None for `folder`.

    Returns:
        The commands of idgen that it started, and the folder that it ended in.
    """
    around = (top or folder).parent
    shims, log, home = around / "shims", around / "log.jsonl", around / "home"
    ended = around / "ended"
    ended.write_text(str(folder))
    shims.mkdir(exist_ok=True)
    shim = SHIM.format(python=sys.executable, root=str(ROOT), log=str(log))
    for name, text in {**dict.fromkeys(("idgen", "python", "pip"), shim), **LAUNCHERS}.items():
        (shims / name).write_text(text)
        (shims / name).chmod(0o755)
    log.write_text("")
    environment = {"PATH": f"{shims}:/usr/bin:/bin", "HOME": str(home), "SLURM_ARRAY_TASK_ID": "1"}
    done = subprocess.run(
        ["/bin/bash", "-euo", "pipefail", "-c", f"{block.text}\npwd > {ended}"],
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{block}: {done.stderr}"
    commands = [Started(**json.loads(line)) for line in log.read_text().splitlines()]
    return commands, Path(ended.read_text().strip())
