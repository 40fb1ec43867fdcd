"""Whether a denoiser predicts what its scheduler's configuration says."""

from dataclasses import replace

import torch
from torch import Tensor

from idgen.backbones.backbone import Backbone
from idgen.processes import Prediction, VariancePreserving
from idgen.processes.variance_preserving import add_noise, training_target

_CLEARLY = 1.5
_SHARES = (0.3, 0.5, 0.7)


@torch.no_grad()
def prediction_errors(backbone: Backbone, latents: Tensor, prompt: str) -> dict[Prediction, float]:
    """How far what it predicts is from what it could be meant to, as a share of that.

    1 is no better than to predict nothing; a trained denoiser is below that in one of them alone.

    Args:
        backbone: Loaded; its tuning takes no part.
        latents: Scaled latents of pictures, `B C h w`.
        prompt: What they show.
    """
    process = backbone.process
    assert isinstance(process, VariancePreserving)
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    found = dict.fromkeys(Prediction, 0.0)
    with backbone.untuned():
        text = backbone.encode([prompt] * len(latents))
        for share in _SHARES:
            times = torch.full((len(latents),), int(share * process.steps), device=latents.device)
            predicted = backbone.predict(add_noise(process, latents, noise, times), times, text)
            for kind in Prediction:
                target = training_target(replace(process, prediction=kind), latents, noise, times)
                error = (predicted - target).square().mean() / target.square().mean()
                found[kind] += float(error) / len(_SHARES)
    return found


def better_prediction(backbone: Backbone, errors: dict[Prediction, float]) -> Prediction | None:
    """What the denoiser clearly predicts instead; None where it does as it says.

    Args:
        backbone: Whose process says what it predicts.
        errors: Of `prediction_errors`.
    """
    process = backbone.process
    assert isinstance(process, VariancePreserving)
    best = min(errors, key=lambda kind: errors[kind])
    clearly = errors[process.prediction] > _CLEARLY * errors[best]
    return best if clearly else None
