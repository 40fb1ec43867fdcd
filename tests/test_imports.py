"""Imports point one way, read from the source of every module."""

import ast
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

import idgen

ROOT = Path(idgen.__file__).parent
# Each imports only from its own line and from lines above it. What draws and what scores know
# nothing of photos, batches or runs, so that preparation, data and module can use them; then data
# flows on, and imports with it, from `prepare` to `data` to `module`; a run is built from them,
# a benchmark of runs, and commands start either.
LAYERS = (
    ("opencv",),
    ("errors", "files", "locks", "seeds", "devices", "fingerprint", "masks", "pictures", "threads"),
    ("integrity", "texts", "yaml_texts", "placeholders", "shipped", "finite_losses", "importing"),
    ("compilation",),
    ("dreambench",),
    ("mini", "pages"),
    ("sources", "losses"),
    ("models", "processes", "backbones"),
    ("sampling",),
    ("metrics",),
    ("prepare",),
    ("data",),
    ("plateau",),
    ("terms", "optimization"),
    ("trained_module",),
    ("drawing_module",),
    ("logged_module",),
    ("module",),
    ("evaluation",),
    ("callbacks",),
    ("runs",),
    ("loaded",),
    ("export",),
    ("doctor",),
    ("benchmark",),
    ("sweep", "subjects"),
    ("commands",),
    ("cli",),
    ("api", "__main__"),
)
LAYER = {part: number for number, layer in enumerate(LAYERS) for part in layer}
PLAIN = ("models", "processes", "backbones", "losses", "sampling", "metrics", "evaluation")
"""Parts that work without Lightning; torchmetrics they may have."""


def modules(*parts: str) -> list[Path]:
    found = [path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py"]
    return sorted(path for path in found if not parts or part_of(path) in parts)


def part_of(path: Path) -> str:
    """The package or module directly in idgen that a file is of."""
    return part_named(path.relative_to(ROOT).with_suffix("").parts)


def part_named(names: Sequence[str]) -> str:
    """The same by the names below `idgen`; what scores the mini world is of the evaluation."""
    scores = tuple(names[:2]) == ("mini", "truth")
    return "evaluation" if scores else "".join(names[:1])


def imported(source: str) -> Iterator[str]:
    """The dotted name of everything that a module imports, at its top or in a function."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "relative imports hide what they import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def upwards(part: str, source: str) -> list[str]:
    """What a module of a part imports against the direction."""
    names = [name.split(".") for name in imported(source)]
    return [
        ".".join(name)
        for name in names
        if name[0] == "idgen" and LAYER.get(part_named(name[1:]), -1) > LAYER[part]
    ]


def test_every_part_has_its_layer() -> None:
    assert {part_of(path) for path in modules()} == set(LAYER)


@pytest.mark.parametrize("part", LAYER)
def test_imports_point_one_way(part: str) -> None:
    found = {path.name: upwards(part, path.read_text()) for path in modules(part)}
    assert found
    assert {name: against for name, against in found.items() if against} == {}


@pytest.mark.parametrize("part", PLAIN)
def test_plain_parts_need_no_lightning(part: str) -> None:
    for path in modules(part):
        names = {name.split(".")[0] for name in imported(path.read_text())}
        assert not names & {"lightning", "pytorch_lightning"}, path


def test_an_import_against_the_direction_is_found() -> None:
    hidden = "def function():\n    from idgen.prepare.photos import Photo\n"
    assert upwards("metrics", hidden) == ["idgen.prepare.photos.Photo"]
    assert upwards("data", hidden) == []
    assert upwards("metrics", "from idgen.mini.truth import MiniTruth")
    assert upwards("metrics", "from idgen.mini.subjects import MiniSubject") == []
    assert upwards("data", "from idgen import __version__, module") == ["idgen.module"]
    assert upwards("models", "import idgen.data.batch as batch") == ["idgen.data.batch"]
    assert upwards("runs", "from idgen.benchmark import plan") == ["idgen.benchmark.plan"]
    assert upwards("benchmark", "import idgen.commands.train") == ["idgen.commands.train"]


TORCH = ("torch", "cv2", "lightning", "diffusers", "transformers", "torchmetrics", "jsonargparse")
OF_TRAINING = (
    *("lightning", "torchmetrics", "matplotlib", "jsonargparse", "tensorboard", "open_clip"),
    *("idgen.prepare", "idgen.data.datamodule", "idgen.evaluation", "idgen.metrics"),
)


@pytest.mark.parametrize(
    ("options", "unneeded"),
    [
        (("--help",), TORCH),
        (("--version",), TORCH),
        (("init", "."), TORCH),
        (("sample", "--help"), TORCH),
        (("sample", "mini", "a red robot", "-n1", "--steps=1", "--out=drawn"), OF_TRAINING),
    ],
    ids=lambda given: given[0],
)
def test_a_command_imports_no_more_than_it_needs(
    tmp_path: Path, options: Sequence[str], unneeded: Sequence[str]
) -> None:
    """In a process of its own; help of fit and its like is in commands/test_kept_help.py."""
    found = imported_by(tmp_path, options, unneeded)
    assert found == "[]"


def test_what_a_command_imports_is_seen(tmp_path: Path) -> None:
    options = ("sample", "mini", "a red robot", "-n1", "--steps=1", "--out=drawn")
    assert imported_by(tmp_path, options, ("torch", "diffusers")) == "['torch', 'diffusers']"


def imported_by(folder: Path, options: Sequence[str], names: Sequence[str]) -> str:
    """Which of the names are imported once a command is done, which must succeed."""
    code = (
        "import sys\n"
        "from idgen.cli import main\n"
        "try: code = main(sys.argv[1:])\n"
        "except SystemExit as ended: code = ended.code\n"
        "assert not code, code\n"
        f"print([name for name in {names!r} if name in sys.modules])"
    )
    ended = subprocess.run(
        [sys.executable, "-c", code, *options],
        capture_output=True,
        text=True,
        check=True,
        cwd=folder,
    )
    return ended.stdout.splitlines()[-1]
