"""From a checkpoint to a run that can be exported."""

from dataclasses import dataclass
from pathlib import Path

import torch

from idgen.errors import UserError
from idgen.export.exported_run import ExportedRun, Reference, check_family
from idgen.export.format import ExportFormat
from idgen.export.trained_views import TrainedViews
from idgen.loaded.checkpoint import CheckpointModel
from idgen.loaded.exported import is_export, is_merged
from idgen.loaded.model import Reference as Photo
from idgen.loaded.opening import last_checkpoint


@dataclass(frozen=True)
class Wanted:
    """What is to be exported.

    Attributes:
        checkpoint: Of `idgen fit`, or a run's folder.
        configs: Files over the checkpoint's own config.
        prompts: With [V]; none for those of the config's `predict`.
        seed: Of the drawing that is compared; None for the config's.
        base: Where the base is, if it has moved.
        photo: One whose scene is to be kept.
    """

    checkpoint: str
    configs: tuple[str, ...] = ()
    prompts: tuple[str, ...] = ()
    seed: int | None = None
    base: str | None = None
    photo: Photo | None = None

    @property
    def keeps_photo(self) -> bool:
        """Whether any of a photo's scene is to be kept."""
        return self.photo is not None and self.photo.weight != 0


def open_checked(wanted: Wanted, form: ExportFormat) -> CheckpointModel:
    """Reads a checkpoint and refuses what cannot be exported; no weights of models are loaded.

    Args:
        wanted: What is to be exported.
        form: As what.

    Raises:
        UserError: If the checkpoint is damaged, its base has moved or changed, a prompt cannot be
            used, or the format cannot hold the method.
    """
    path = Path(wanted.checkpoint).expanduser()
    last = last_checkpoint(path)
    if last is None and (is_export(path) or is_merged(path)):
        raise UserError(f"CKPT: {path} is no checkpoint, but exported already or a backbone")
    model = CheckpointModel(
        wanted.checkpoint if last is None else str(last),
        wanted.configs,
        wanted.base,
        wanted.photo,
        wanted.prompts or None,
        wanted.seed,
        # Half precision would hide what an export gets wrong.
        "float32",
    )
    check_family(model.module, form.name)
    form.check(model.module, wanted.keeps_photo)
    model.check()
    model.sampler.check(model.backbone)
    return model


def load_run(model: CheckpointModel, wanted: Wanted, device: torch.device) -> ExportedRun:
    """Brings weights in.

    Args:
        model: Of `open_checked`.
        wanted: What is to be exported.
        device: Where to draw.

    Raises:
        UserError: If some are missing or damaged.
    """
    model.load(device)
    module, data = model.module, model.data
    reference = None
    if wanted.keeps_photo:
        assert data.reference_features is not None
        reference = Reference(data.reference_features, data.reference_weight)
    step, seed = model.stored.step, data.drawing_seed
    views = TrainedViews.of(data, module.backbone)
    return ExportedRun(module, step, model.prompts, data.cast, views, seed, reference)
