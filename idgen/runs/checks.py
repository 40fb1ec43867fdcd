"""What a run is refused for before any work: cheap refusals first, and nothing is loaded."""

import os
from pathlib import Path

import torch
from jsonargparse import Namespace
from lightning import Trainer
from lightning.pytorch.utilities import rank_zero_info

from idgen.data.datamodule import SubjectDataModule
from idgen.errors import UserError
from idgen.evaluation.fidelity import FidelityScores
from idgen.files import check_output, check_writable
from idgen.integrity import WEIGHTS_ALONE
from idgen.module import PersonalizationModule
from idgen.optimization import Optimization
from idgen.prepare.store import Store
from idgen.runs.building import IS_NULL, nulls_of
from idgen.runs.folder import ROOT_KEY
from idgen.runs.stored import StoredRun


def check_launch(processes: int, nodes: int) -> None:
    """Refuses an environment that makes this process one of several that nobody has launched.

    A launcher sets more than a rank: the address of the first process at least. With a rank left
    in the environment, Lightning would neither log nor save, or wait for others for ever.

    Args:
        processes: How many the trainer runs on.
        nodes: On how many machines.

    Raises:
        UserError: If there is such a variable.
    """
    # Lightning takes the first of these two that is there; one process asks for neither.
    node = next((name for name in ("NODE_RANK", "GROUP_RANK") if name in os.environ), None)
    if processes > 1 and node is not None and int(os.environ[node]) >= nodes:
        raise UserError(
            f"{node}={os.environ[node]} is set in the environment, but trainer.num_nodes is "
            f"{nodes}: the run would wait for other processes for ever; unset it, or set "
            "--trainer.num_nodes to the number of machines"
        )
    # Lightning takes a rank from the last two too: Slurm's, and IBM's jsrun's.
    alone = ("SLURM_PROCID", "JSM_NAMESPACE_RANK") if processes == 1 else ()
    for name in ("RANK", "LOCAL_RANK", *alone):
        rank = os.environ.get(name)
        if rank is None or (processes == 1 and rank == "0"):
            continue
        if processes == 1:
            raise UserError(
                f"{name}={rank} is set in the environment, but the run has one process; unset it, "
                "or set --trainer.devices to the number of processes"
            )
        if "MASTER_PORT" not in os.environ:
            raise UserError(
                f"{name}={rank} is set in the environment without MASTER_PORT, as no launcher sets "
                "it: the run would wait for the other processes for ever; unset it"
            )


def check_drawings(config: Namespace, command: str) -> None:
    """Refuses a folder for drawings that holds others, or cannot be written.

    Raises:
        UserError: If it cannot be used.
    """
    output = config.drawings.output
    if output is not None and command not in ("fit", "validate"):
        check_output(Path(str(output)))
    else:
        check_writable(Path(config.trainer.default_root_dir), ROOT_KEY)


def check_nulls(config: Namespace) -> None:
    """Refuses null for what is no optional value, of the parts that Lightning builds itself.

    Raises:
        UserError: If a key is null that cannot be.
    """
    kinds = {"trainer": Trainer, "model": PersonalizationModule, "data": SubjectDataModule}
    for key, kind in kinds.items():
        for null in nulls_of(kind, vars(config[key])):
            raise UserError(f"--{key}.{null} {IS_NULL}")


def check_precision(config: Namespace) -> None:
    """Refuses precisions in which what is trained would be rounded.

    Raises:
        UserError: If it is half precision throughout.
    """
    precision = str(config.trainer.precision)
    if precision in ("bf16-true", "16-true"):
        raise UserError(
            f"--trainer.precision {precision} casts what is trained too, which stays in float32: "
            f"take {precision.replace('true', 'mixed')}"
        )


def check_device(trainer: Namespace, device: torch.device) -> None:
    """Refuses a precision that the device does not calculate in.

    Args:
        trainer: Its section of a config.
        device: Of the run.

    Raises:
        UserError: If a GPU has no bfloat16.
    """
    if not str(trainer.precision).startswith("bf16") or device.type != "cuda":
        return
    if not torch.cuda.is_bf16_supported(including_emulation=False):
        raise UserError(
            f"--trainer.precision {trainer.precision}: {torch.cuda.get_device_name(device)} does "
            "not calculate in bfloat16; take 16-mixed, and float16 for the backbone's dtype"
        )


def check_clipping(optimization: Optimization, trainer: Trainer) -> None:
    """Refuses an optimizer that scales gradients by itself where they are to be clipped before.

    Args:
        optimization: Of the run.
        trainer: Of the run.

    Raises:
        UserError: If it is such a one.
    """
    scales = getattr(trainer.precision_plugin, "scaler", None) is not None
    if scales and trainer.gradient_clip_val and optimization.takes_scaled_gradients:
        raise UserError(
            "--trainer.gradient_clip_val: with fused: true the optimizer scales gradients by "
            "itself in 16-mixed, after they would be clipped; leave fused out"
        )


def check_captioner(datamodule: SubjectDataModule, fidelity: FidelityScores) -> None:
    """Refuses captions by a model that scores the drawings: it would mark its own homework.

    Raises:
        UserError: If the captioner asks the scores' CLIP.
    """
    captioner = datamodule.preparation.captioner
    if datamodule.captions is None or captioner is None:
        return
    if fidelity.clip.identity in captioner.judges:
        raise UserError(
            "data.preparation.captioner: its model is that of fidelity.clip, which would score "
            "what it said itself; give one of the two another"
        )


def note_drawing_size(module: PersonalizationModule, datamodule: SubjectDataModule) -> None:
    """Says where drawings are of another size than what is trained on."""
    side, own = datamodule.preparation.resolution, module.backbone.resolution
    if side not in (None, own) and module.sampler.size is None:
        rank_zero_info(
            f"views have {side} pixels on a side, drawings {own}, the backbone's own: "
            f"--model.sampler.init_args.size [{side},{side}] draws as it is trained"
        )


def check_parts(
    module: PersonalizationModule,
    datamodule: SubjectDataModule,
    fidelity: FidelityScores,
    command: str,
    stored: StoredRun | None = None,
) -> None:
    """Refuses parts that cannot do what they are asked for, or do not go together.

    Photos come before models, whose files may have to be downloaded first.

    Args:
        module: The module.
        datamodule: Its data.
        fidelity: How drawings are scored.
        command: `fit`, `validate`, `test` or `predict`.
        stored: What the checkpoint says of itself, None without one.

    Raises:
        UserError: If a value is out of range, photos, masks or models are missing or cannot be
            used, or the checkpoint is of another method or backbone.
    """
    draws_only = command == "predict"
    if draws_only and datamodule.reference is not None and datamodule.reference_weight != 0:
        module.conditioning.check_reference()
        datamodule.check_reference()
    if command == "fit":
        for key, subject in zip(("subject", "companion"), datamodule.cast.subjects, strict=False):
            store = Store(subject.prepared_folder)
            store.check()
            # One that is complete need not be written.
            if not store.is_ours():
                check_writable(subject.prepared_folder, f"--data.{key}.prepared")
        if datamodule.companion is not None:
            module.check_companion()
    if not draws_only:
        datamodule.check()
        module.check_features(datamodule.preparation.image_encoder.width)
    if command == "fit":
        datamodule.check_captions()
        check_captioner(datamodule, fidelity)
        module.check_class_images(datamodule.prior is not None)
        module.check_photos(len(datamodule.photos))
        datamodule.check_rows()
        scenes, composites = datamodule.scenes is not None, datamodule.composites is not None
        module.check_scene_images(scenes, composites)
        note_drawing_size(module, datamodule)
    module.check(fit=command == "fit")
    if stored is not None:
        if command == "fit" and not stored.can_go_on:
            raise UserError(f"--ckpt_path: {stored.path}: {WEIGHTS_ALONE}")
        module.check_origin(stored.origin, command == "fit")
        module.check_weights(stored.shapes)
    if not draws_only:
        fidelity.check()
