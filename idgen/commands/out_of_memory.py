"""What is said where the memory of a device is used up."""

import torch
from jsonargparse import Namespace

from idgen.doctor.saving import Build, count_step, savings
from idgen.doctor.surroundings import in_words
from idgen.errors import UserError
from idgen.runs.freezing import ConfigReader

_DTYPE = "model.backbone.init_args.dtype"
# Who scores drawings, and finds the subject in them.
_SCORING = ("idgen.evaluation", "idgen.metrics")


def out_of_memory(
    error: BaseException,
    config: Namespace,
    device: torch.device,
    build: Build | None = None,
    trains: bool = True,
) -> UserError:
    """One line that names what would help and by how much, counted.

    Args:
        error: Its traceback tells what was being done.
        config: The run's.
        device: Of the run.
        build: Builds a config's parts, light; None as the command line does.
        trains: Whether the run is a fit, and not one that draws alone.
    """
    where, doing = f"out of memory on {device}", _calls(error)
    scores = any(_is_in(part, doing) for part in _SCORING)
    if _is_in("idgen.prepare", doing) and not scores:
        return UserError(
            f"{where} while the photos were prepared: run idgen prepare before, with "
            "CUDA_VISIBLE_DEVICES= in front where the GPU is too small"
        )
    if _is_in("idgen.sampling", doing):
        return _in_drawing(where, config, doing)
    if scores:
        return UserError(
            f"{where} while drawings were scored: set batch_size of fidelity.clip and "
            "fidelity.dino lower, which changes no score"
        )
    if not trains:
        return UserError(f"{where} as the model was loaded{_in_fewer_bits(config)}")
    if _is_in("idgen.backbones.frozen_text.keep_texts", doing):
        return UserError(
            f"{where} while the text encoders read the prompts, before training"
            f"{_in_fewer_bits(config)}"
        )
    return _in_training(f"{where} in training", config, device, build)


def _in_drawing(where: str, config: Namespace, doing: list[str]) -> UserError:
    """Of pictures of a run's own, or of those that it trains on beside the photos."""
    key = "data.drawing_batch_size"
    if _is_in("idgen.data.backbone_drawings", doing):
        of_scenes = _is_in("idgen.data.scene_images", doing)
        key = f"data.{'scenes' if of_scenes else 'prior'}.batch_size"
    rows = config.get(key)
    if rows is None or rows == 1:
        return UserError(
            f"{where} while a picture was drawn{_in_fewer_bits(config)}, or give smaller pictures, "
            "--model.sampler.init_args.size"
        )
    return UserError(
        f"{where} while {rows} pictures were drawn at a time: set --{key} to {rows // 2}, or give "
        "smaller pictures, --model.sampler.init_args.size"
    )


def _in_fewer_bits(config: Namespace) -> str:
    """Advice that is left where no batch can be smaller."""
    if config.get(_DTYPE) == "float32":
        return f": set --{_DTYPE} bfloat16"
    return ": take a smaller backbone, or a device with more memory"


def _in_training(
    where: str, config: Namespace, device: torch.device, build: Build | None
) -> UserError:
    try:
        build = build or ConfigReader().build
        needed = count_step(config, build, device)
        found = savings(config, build, device)
    except Exception:  # of whatever kind: the error is about memory, and not about counting it
        return UserError(
            f"{where}: lower --data.batch_size, set gradient_checkpointing of the backbone, or "
            "take its dtype bfloat16"
        )
    says = f"{where}: a step needs {in_words(needed.total)}, counted"
    if not found:
        return UserError(f"{says}; take a smaller backbone, or a device with more memory")
    return UserError(f"{says}; what would help: {', '.join(map(str, found))}")


def _calls(error: BaseException) -> list[str]:
    """The functions that ran, each behind its module's name, outermost first."""
    found, at = [], error.__traceback__
    while at is not None:
        module = at.tb_frame.f_globals.get("__name__", "")
        found.append(f"{module}.{at.tb_frame.f_code.co_name}")
        at = at.tb_next
    return found


def _is_in(part: str, calls: list[str]) -> bool:
    """Whether a package, module or function ran."""
    return any(f"{call}.".startswith(f"{part}.") for call in calls)
