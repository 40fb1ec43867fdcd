"""Whether what a command left can be used: a diverged run ends with exit code 0."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from idgen.benchmark.cell import read_json
from idgen.errors import UserError
from idgen.evaluation.scores import TEST_SCORES
from idgen.pages.scores import is_number, photo_values


def check_weights(checkpoint: Path) -> None:
    """Raises a UserError if a fit's checkpoint is damaged, or names a weight that diverged."""
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
    """Does what `check_numbers` does, of a metrics.json, which `idgen test` wrote."""
    check_numbers(read_json(metrics) or {})


def check_numbers(content: Mapping[str, Any]) -> None:
    """Raises a UserError if a score in a metrics.json is neither a finite number nor null."""
    for name, value in [*content.items(), *photo_values(content).items()]:
        if isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"the score {name} is {value}: the run diverged")
        if name in TEST_SCORES and not (value is None or is_number(value)):
            raise UserError(f"the score {name} is {value!r:.40}, no number: the file is damaged")
