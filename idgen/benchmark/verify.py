"""Whether what a command left can be used: a diverged run ends with exit code 0."""

import math
from pathlib import Path

from idgen.benchmark.cell import read_json
from idgen.errors import UserError


def check_weights(checkpoint: Path) -> None:
    """Refuses a checkpoint of a run that diverged.

    Args:
        checkpoint: What `idgen fit` wrote.

    Raises:
        UserError: If it cannot be read, or a trained weight is not finite; the first is named.
    """
    import torch

    try:
        content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
        weights = content["state_dict"].items()
    except Exception as error:  # damaged files fail in many ways
        raise UserError(f"cannot read {checkpoint} ({type(error).__name__})") from error
    for name, weight in weights:
        if not torch.isfinite(weight).all():
            raise UserError(
                f"the run diverged: the weight {name} is not finite; lower the learning rate"
            )


def check_scores(metrics: Path) -> None:
    """Refuses scores that are not numbers.

    Args:
        metrics: What `idgen test` wrote.

    Raises:
        UserError: If one is NaN or infinite, which is named, or the file cannot be read.
    """
    for name, value in (read_json(metrics) or {}).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"the score {name} is {value}: the run diverged")
