"""Whether what a command left can be used: a diverged run ends with exit code 0."""

import json
import math
from pathlib import Path

from idgen.errors import UserError


def check_weights(checkpoint: Path) -> None:
    """Refuses a checkpoint of a run that diverged.

    Args:
        checkpoint: What `idgen fit` wrote.

    Raises:
        UserError: If a trained weight is not finite; the first is named.
    """
    import torch

    content = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)
    for name, weight in content["state_dict"].items():
        if not torch.isfinite(weight).all():
            raise UserError(
                f"the run diverged: the weight {name} is not finite; lower the learning rate"
            )


def check_scores(metrics: Path) -> None:
    """Refuses scores that are not numbers.

    Args:
        metrics: What `idgen test` wrote.

    Raises:
        UserError: If one is NaN or infinite; it is named.
    """
    for name, value in json.loads(metrics.read_text()).items():
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"the score {name} is {value}: the run diverged")
