"""The method against itself with parts left out, and against plain LoRA, on the mini world.

``python -m tools.compare --work DIR`` trains configs/base.yaml in each variant, for each subject
and seed, one ``idgen fit`` a run, several at a time with ``--jobs``. Runs that are complete are
kept, so it may be killed and started again. It prints a table of the scores on the validation
prompts after training, mean and standard deviation over subjects and seeds, beside the untrained
backbone's.
"""

import argparse
import csv
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, pstdev

from rich.console import Console
from rich.progress import track
from rich.table import Table

# DisenBooth's weight of weak denoising, which configs/base.yaml departs from.
_WEAK = ("--model.loss_weights.weak_denoising", "0.01")
VARIANTS = {
    "IEDM + FFM, L1 to L4, weak denoising 0.01": [*_WEAK],
    "without L2 to L4": [
        *_WEAK,
        *("--model.loss_weights.implicit_text", "0"),
        *("--model.loss_weights.implicit_explicit", "0"),
        *("--model.loss_weights.text_explicit", "0"),
    ],
    "without FFM (f_r = f_com)": [*_WEAK, "--model.conditioning.init_args.experts", "0"],
    "without weak denoising": ["--model.loss_weights.weak_denoising", "0"],
    "plain LoRA": ["--config", "configs/method/lora.yaml"],
    "weak denoising 1 (configs/base.yaml)": ["--model.loss_weights.weak_denoising", "1"],
}
_SUBJECTS = ("robot", "cat")
_SCORES = ("dino", "clip_i", "clip_t")


@dataclass(frozen=True)
class Run:
    """One training.

    Attributes:
        variant: A key of `VARIANTS`.
        subject: A demo subject of the mini world.
        seed: Of training and of drawing.
        steps: Training steps.
        images: Drawings a validation prompt.
    """

    variant: str
    subject: str
    seed: int
    steps: int
    images: int

    def folder(self, work: Path) -> Path:
        """Where it trains."""
        number = list(VARIANTS).index(self.variant)
        return work / f"{number}-{self.subject}-{self.seed}-{self.steps}-{self.images}"

    def rows(self, work: Path) -> list[dict[str, float]]:
        """The scores of the untrained and of the trained model; empty if it is not complete."""
        path = self.folder(work) / "validation" / "scores.csv"
        if not path.exists():
            return []
        with path.open() as file:
            rows = [
                {key: float(value) for key, value in row.items()} for row in csv.DictReader(file)
            ]
        return rows if rows and rows[-1]["step"] == self.steps else []

    def train(self, work: Path) -> None:
        """Run it in a process of its own, its output in a log file.

        Raises:
            SystemExit: If it fails.
        """
        if self.rows(work):
            return
        folder = self.folder(work)
        last = folder / "checkpoints" / "last.ckpt"
        command = [sys.executable, "-m", "idgen", "fit", "--config", "configs/base.yaml"]
        command += VARIANTS[self.variant]
        command += ["--trainer.default_root_dir", str(folder), "--seed_everything", str(self.seed)]
        command += ["--trainer.max_steps", str(self.steps), "--trainer.accelerator", "cpu"]
        command += ["--trainer.val_check_interval", str(self.steps)]
        command += ["--data.subject.photos", f"mini:{self.subject}"]
        command += ["--data.subject.class_noun", self.subject]
        command += ["--data.subject.prepared", str(work / f"prepared-{self.subject}")]
        command += ["--data.validation_images", str(self.images)]
        command += ["--ckpt_path", str(last)] if last.exists() else []
        log = work / f"{folder.name}.log"
        with log.open("w") as file:
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            done = subprocess.run(command, stdout=file, stderr=file, env=environment, check=False)
        if done.returncode:
            raise SystemExit(f"{self.variant}, {self.subject}, seed {self.seed} failed: see {log}")


def spread(values: list[float]) -> str:
    """Mean and standard deviation."""
    return f"{mean(values):.3f} ± {pstdev(values):.3f}"


def table_rows(runs: list[Run], work: Path) -> Iterator[list[str]]:
    """A row a variant; the first is the untrained backbone."""
    first = [run.rows(work)[0] for run in runs if run.variant == runs[0].variant]
    yield ["untrained", *(spread([row[score] for row in first]) for score in _SCORES)]
    for variant in VARIANTS:
        last = [run.rows(work)[-1] for run in runs if run.variant == variant]
        yield [variant, *(spread([row[score] for row in last]) for score in _SCORES)]


def main() -> None:
    """Read the command line, train what is missing, print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--images", type=int, default=8, help="drawings a prompt")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, a thread each")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    runs = [
        Run(variant, subject, seed, args.steps, args.images)
        for seed in range(args.seeds)
        for subject in _SUBJECTS
        for variant in VARIANTS
    ]
    for subject in _SUBJECTS:  # each prepares its subject before others share it
        next(run for run in runs if run.subject == subject).train(args.work)
    with ThreadPoolExecutor(args.jobs) as pool:
        list(track(pool.map(lambda run: run.train(args.work), runs), total=len(runs)))
    table = Table("variant", "DINO", "CLIP-I", "CLIP-T")
    for row in table_rows(runs, args.work):
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    main()
