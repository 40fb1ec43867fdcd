"""One history a run: what a killed run left of steps that come again is taken away at the start."""

from pathlib import Path

import lightning as L
from lightning.pytorch.callbacks import Callback

from idgen.callbacks.checkpoint import AdapterCheckpoint
from idgen.callbacks.evaluation import EvaluateDrawings
from idgen.files import remove_temporary
from idgen.module import PersonalizationModule

_NOTHING = -1  # a step before the first


class OneHistory(Callback):
    """Brings a run's folder to the step that the run goes on from, before it does.

    Scores, grids and best checkpoints beyond that step are of a stretch that was abandoned when the
    run was killed. The command line adds this callback once it knows that the
    folder is this run's own, and has locked it.
    """

    def on_fit_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Removes what comes again; the checkpoint has been loaded, and none was refused."""
        if not trainer.is_global_zero or trainer.fast_dev_run:  # type: ignore[attr-defined]
            return
        assert isinstance(pl_module, PersonalizationModule)
        step = _NOTHING if trainer.ckpt_path is None else pl_module.trained_steps
        root = Path(trainer.default_root_dir)
        remove_temporary(root)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]
        for callback in callbacks:
            if isinstance(callback, AdapterCheckpoint):
                callback.forget(step)
            elif isinstance(callback, EvaluateDrawings):
                folder = callback.stage_folder(trainer, "fit")
                remove_temporary(folder)
                callback.recorder.forget_validation(folder, step)
