"""Makes the mini world's models from nothing and installs them into the package.

Run as ``python -m tools.train_mini.all --work DIR``. Every step is a command of its own, which goes
on where a kill left it; a step that is finished leaves a mark in ``DIR/done`` and is skipped.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

from rich.console import Console

from idgen.mini.assets import WEIGHTS


def commands(work: Path, weights: Path, device: str, threads: int) -> dict[str, list[str]]:
    """The steps by name, in their order, each the arguments of ``python -m tools.train_mini.X``."""
    folder, installed = ["--work", str(work)], ["--weights", str(weights)]
    trained = [*folder, "--device", device, "--threads", str(threads)]
    return {
        "dataset": ["dataset", *folder],
        "tokenizer": ["tokenizer", *folder],
        "encoder": ["clip", "encoder", *trained],
        "vae": ["vae", *trained],
        "unet": ["unet", *trained],
        "flow": ["flow", *trained],
        "sam": ["sam", *trained],
        "dino": ["dino", *trained],
        "clip": ["clip", "scorer", *trained],
        "judge": ["judge", *trained],
        "install": ["install", *folder, *installed],
        "pipeline": ["pipeline", *folder, *installed],
        "flow_pipeline": ["flow_pipeline", *folder, *installed],
        "measure": ["measure", *installed, "--threads", str(threads)],
        "measure_pipeline": [
            *("measure_pipeline", *folder, *installed),
            *("--threads", str(threads)),
        ],
    }


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder to install them in")
    parser.add_argument("--device", default="cpu", help="torch device of the trainings")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of each training")
    args = parser.parse_args()
    marks = args.work / "done"
    marks.mkdir(parents=True, exist_ok=True)
    console = Console()
    steps = commands(args.work, args.weights, args.device, args.threads)
    # More OpenMP threads than free cores make these small models many times slower.
    environment = os.environ | {"OMP_NUM_THREADS": str(args.threads)}
    for number, (name, arguments) in enumerate(steps.items(), start=1):
        if (marks / name).exists():
            console.print(f"[dim]{number}/{len(steps)} {name}: done before")
            continue
        console.rule(f"{number}/{len(steps)} {name}")
        module, *options = arguments
        command = [sys.executable, "-m", f"tools.train_mini.{module}", *options]
        finished = subprocess.run(command, env=environment, check=False)
        if finished.returncode:
            sys.exit(finished.returncode)
        (marks / name).touch()


if __name__ == "__main__":
    main()
