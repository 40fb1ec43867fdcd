"""Keeping the best checkpoints by a score and the last one, each written whole or not at all."""

import io
import re
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.fabric.plugins import TorchCheckpointIO
from lightning.pytorch.callbacks import ModelCheckpoint

from idgen.errors import UserError
from idgen.files import atomic_write, remove_temporary

_BEST = re.compile(r"best-step(\d+)")
MONITORED = ("val/balance", "val/dino", "val/clip_i", "val/clip_t")


class AtomicCheckpointIO(TorchCheckpointIO):
    """Writes beside the target, syncs, renames: a killed run leaves the old checkpoint whole."""

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        """Saves a checkpoint to a local file.

        Raises:
            UserError: If there is no space, or no right to write.
        """
        target, content = Path(path), io.BytesIO()
        torch.save(checkpoint, content)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            atomic_write(target, content.getvalue())
        except OSError as error:
            raise UserError(
                f"cannot write the checkpoint {target} ({error}); free some space, resume with "
                f"--ckpt_path {target.parent / 'last.ckpt'}"
            ) from error


class AdapterCheckpoint(ModelCheckpoint):
    """Keeps the best checkpoints by a score, and `last.ckpt`, in the run's folder.

    The default score, `val/balance`, is the geometric mean of DINO and CLIP-T, which neither a
    copy of the photos nor a stranger can raise; see `idgen.metrics.balance`.
    """

    def __init__(
        self,
        monitor: str = "val/balance",
        mode: Literal["max", "min"] = "max",
        keep: int = 1,
        dirpath: Path | None = None,
    ) -> None:
        """Sets what is kept.

        Args:
            monitor: A logged score: `val/balance`, `val/dino`, `val/clip_i`, `val/clip_t`.
            mode: Whether more is better.
            keep: How many of the best; 0 keeps the last alone.
            dirpath: Where; `checkpoints/` in the run's folder by default.

        Raises:
            UserError: If there is no such score, or `keep` is negative.
        """
        if monitor not in MONITORED:
            raise UserError(
                f"checkpoint.monitor: no score {monitor!r}; there are {', '.join(MONITORED)}"
            )
        if keep < 0:
            raise UserError("checkpoint.keep must be 0 or more")
        super().__init__(
            dirpath=dirpath,
            filename="best-step{step:06d}",
            monitor=monitor,
            mode=mode,
            save_top_k=keep,
            save_last=True,
            auto_insert_metric_name=False,
            enable_version_counter=False,
        )
        self._given_dirpath = dirpath

    def setup(self, trainer: L.Trainer, pl_module: L.LightningModule, stage: str) -> None:
        """Settles the folder."""
        if self._given_dirpath is None:
            self.dirpath = str(Path(trainer.default_root_dir).absolute() / "checkpoints")
        super().setup(trainer, pl_module, stage)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over which checkpoints are the best, as far as they are in this folder.

        Paths are those of the folder at the time, which may have been moved since.
        """
        assert self.dirpath is not None, "the trainer has not set up the callback yet"
        here = {
            str(Path(self.dirpath) / Path(path).name): score
            for path, score in state_dict["best_k_models"].items()
        }
        kept = {path: score for path, score in here.items() if Path(path).is_file()}
        ranked = sorted(kept, key=lambda path: float(kept[path]), reverse=self.mode == "max")
        best, worst = (ranked[0], ranked[-1]) if ranked else ("", "")
        full = 0 < self.save_top_k <= len(ranked)
        super().load_state_dict(
            {
                **state_dict,
                "dirpath": self.dirpath,
                "best_k_models": kept,
                "best_model_path": best,
                "best_model_score": kept.get(best),
                "kth_best_model_path": worst if full else "",
                "kth_value": kept[worst] if full else self.kth_value,
                "last_model_path": str(self.last_path),
            }
        )

    def forget(self, after: int) -> None:
        """Removes the best checkpoints of steps that a run which goes on will come to again.

        What a killed process left half written goes too.

        Args:
            after: The last step whose checkpoint stays.
        """
        assert self.dirpath is not None, "the trainer has not set up the callback yet"
        folder = Path(self.dirpath)
        remove_temporary(folder)
        for path in best_checkpoints(folder):
            if step_of(path) > after:
                path.unlink()

    @property
    def last_path(self) -> Path:
        """Where the last checkpoint is."""
        assert self.dirpath is not None, "the trainer has not set up the callback yet"
        return Path(self.dirpath) / "last.ckpt"

    def on_validation_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Keeps the best checkpoint, and a `last.ckpt` whether or not it is the best."""
        super().on_validation_end(trainer, pl_module)
        if not self._should_skip_saving_checkpoint(trainer):
            self.save_last_now(trainer)

    def save_last_now(self, trainer: L.Trainer) -> None:
        """Writes `last.ckpt` for the step that training is at; call it on all processes."""
        self.last_model_path = str(self.last_path)
        if self._last_global_step_saved != trainer.global_step or not self.last_path.exists():
            self._save_checkpoint(trainer, str(self.last_path))

    def on_train_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Leaves a `last.ckpt` of the final step, validated or not."""
        if not trainer.fast_dev_run and trainer.global_step > 0:  # type: ignore[attr-defined]
            self.save_last_now(trainer)


def best_checkpoints(folder: Path) -> list[Path]:
    """The checkpoints of `AdapterCheckpoint` in a folder that have the step in their name."""
    return sorted(path for path in folder.glob("best-*.ckpt") if _BEST.fullmatch(path.stem))


def step_of(path: Path) -> int:
    """The step in the name of one of them."""
    match = _BEST.fullmatch(path.stem)
    assert match is not None, f"{path} has no step in its name"
    return int(match[1])
