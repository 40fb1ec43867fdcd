"""What is said where the memory of a device is used up."""

import torch
from jsonargparse import Namespace

from idgen.doctor.saving import Build, count_step, savings
from idgen.doctor.surroundings import in_words
from idgen.errors import UserError
from idgen.runs.freezing import ConfigReader


def out_of_memory(
    error: BaseException, config: Namespace, device: torch.device, build: Build | None = None
) -> UserError:
    """One line that names what would help and by how much, counted.

    Args:
        error: Its traceback tells what was being done.
        config: The run's.
        device: Of the run.
        build: Builds a config's parts, light; None as the command line does.
    """
    where = f"out of memory on {device}"
    if _was_in(error, "idgen.prepare"):
        return UserError(
            f"{where} while the photos were prepared: run idgen prepare before, with "
            "CUDA_VISIBLE_DEVICES= in front where the GPU is too small"
        )
    if _was_in(error, "idgen.sampling"):
        rows = config.data.drawing_batch_size
        return UserError(
            f"{where} while {rows} pictures were drawn at a time: set --data.drawing_batch_size "
            f"to {max(1, rows // 2)}, or give smaller pictures, --model.sampler.init_args.size"
        )
    where = f"{where} in training"
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


def _was_in(error: BaseException, module: str) -> bool:
    frames, at = [], error.__traceback__
    while at is not None:
        frames.append(at.tb_frame.f_globals.get("__name__", ""))
        at = at.tb_next
    return any(name == module or name.startswith(f"{module}.") for name in frames)
