"""`idgen init`: lays out a folder to work in: the shipped configs, photos, a README."""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from idgen.errors import UserError
from idgen.shipped import shipped_configs

_README = "\n".join(
    [
        "Put 3 to 6 photos of your subject in photos/; `idgen doctor --data.subject.photos photos "
        "--data.subject.class_noun dog` says whether all is ready.",
        "Train: `idgen fit --config configs/base.yaml --config configs/backbone/sd21.yaml "
        "--data.subject.photos photos --data.subject.class_noun dog`",
        "Look at the masks it found: prepared/photos/contact_sheet.html",
        'Draw: `idgen sample runs/sd21 "a [V] dog in the snow" --out drawings`',
        "Without a real backbone, try the embedded one: `idgen fit --config configs/base.yaml`",
        "",
    ]
)


class _Parser(argparse.ArgumentParser):
    def print_help(self, file: Any = None) -> None:
        # argparse would pass over a full disk.
        print(self.format_help(), end="", file=file)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see idgen init --help")


def run_init(options: Sequence[str]) -> int:
    """Lays the folder out, and returns the exit code.

    Raises:
        UserError: If the folder has configs already, or cannot be written.
    """
    parser = _Parser(
        prog="idgen init",
        description="Lays out a folder to work in: DIR/configs, the configs that ship with idgen, "
        "to be read and changed; DIR/photos for yours; DIR/README.md. Run the other commands in "
        "DIR.",
        allow_abbrev=False,
    )
    parser.add_argument("folder", metavar="DIR", help="Such as '.'; made if there is none.")
    given: str = parser.parse_args(list(options)).folder
    if not given.strip():
        raise UserError("DIR is blank; name a folder")
    folder = Path(given).expanduser()
    target = folder / "configs"
    if target.exists() or target.is_symlink():
        raise UserError(f"{target} is there already and is left as it is; name another folder")
    try:
        _lay_out(target)
        _add_the_rest(folder)
    except OSError as error:
        raise UserError(f"DIR: cannot write {target} ({error}); name another folder") from error
    print(f"the configs are in {target}; start with: idgen fit --config configs/base.yaml")
    return 0


def _lay_out(target: Path) -> None:
    """All or nothing: a copy that was stopped half way is not taken for the whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".configs-", dir=target.parent) as work:
        made = Path(work) / "configs"
        # Contents alone: an installed package's files may be read-only.
        shutil.copytree(shipped_configs(), made, copy_function=shutil.copyfile)
        made.rename(target)


def _add_the_rest(folder: Path) -> None:
    """The folder of photos and the README, where there are none of that name."""
    photos, readme = folder / "photos", folder / "README.md"
    if not photos.exists():
        photos.mkdir()
    if not readme.exists():
        readme.write_text(_README, encoding="utf-8")
