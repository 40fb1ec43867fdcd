"""Writes the SHA-256 of every file of the shipped weights, which `mini_path` checks."""

import argparse
import json
import os
from pathlib import Path

from idgen.fingerprint import file_digest
from idgen.mini.assets import CHECKSUMS, PARTS, WEIGHTS, part_files


def write_checksums(weights: Path = WEIGHTS) -> dict[str, str]:
    """Write `checksums.json` of a weights folder, replacing the old one in one step.

    Returns:
        SHA-256 of each file of each part that is there, by its path inside ``weights``.
    """
    digests = {
        path.relative_to(weights).as_posix(): file_digest(path)
        for part in PARTS
        if (weights / part).is_dir()
        for path in part_files(weights / part)
    }
    temporary = weights / f".{CHECKSUMS}.{os.getpid()}"
    temporary.write_text(json.dumps(digests, indent=1) + "\n")
    os.replace(temporary, weights / CHECKSUMS)
    return digests


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the parts")
    digests = write_checksums(parser.parse_args().weights)
    print(f"{len(digests)} files")


if __name__ == "__main__":
    main()
