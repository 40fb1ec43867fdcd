"""Puts trained models into the package: whole folders at a time, then their checksums.

Run as ``python -m tools.train_mini.install --work DIR`` for all, or name some of
encoder, clip, dino, sam. The pipeline has its own command, ``tools.train_mini.pipeline``.
"""

import argparse
import shutil
from pathlib import Path

from idgen.errors import UserError
from idgen.mini.assets import WEIGHTS, part_files
from tools.command import run
from tools.train_mini.checksums import write_checksums

COPIED = ("encoder", "clip", "dino", "sam")


def replace_folder(fresh: Path, folder: Path) -> None:
    """Put the folder ``fresh`` where ``folder`` is, which is there whole before and after."""
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    if folder.exists():
        folder.rename(old)
    fresh.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def trained_files(source: Path) -> list[Path]:
    """List the files of a trained model.

    Raises:
        UserError: If there are none.
    """
    files = part_files(source)
    if not files:
        raise UserError(f"{source} holds no trained model; train it first, or mend --work")
    return files


def install(source: Path, folder: Path) -> None:
    """Copy a trained model's folder, without hidden files, over the one in the package.

    Raises:
        UserError: If there is no trained model; what is in the package stays as it is.
    """
    files = trained_files(source)
    fresh = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(fresh, ignore_errors=True)
    for path in files:
        target = fresh / path.relative_to(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
    replace_folder(fresh, folder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the parts")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(COPIED)}; all if none is named")
    args = parser.parse_args()
    unknown = set(args.parts) - set(COPIED)
    if unknown:
        parser.error(f"no part {', '.join(unknown)}; there are: {', '.join(COPIED)}")
    parts = args.parts or COPIED
    for part in parts:
        trained_files(args.work / part)  # before anything is replaced
    for part in parts:
        install(args.work / part, args.weights / part)
        print(f"{part} installed")
    write_checksums(args.weights)


if __name__ == "__main__":
    run(main)
