"""Rectified flow whose schedule is shifted by the size of the picture."""

import math
from collections.abc import Mapping
from functools import partial
from typing import Any

from idgen.backbones.pipeline import PipelineBackbone
from idgen.processes import NoiseProcess, RectifiedFlow


def log_shift(scheduler: Mapping[str, Any], patches: float) -> float | None:
    """The logarithm of a drawing's shift, which grows linearly with the number of patches.

    Args:
        scheduler: Configuration of a `FlowMatchEulerDiscreteScheduler`.
        patches: Of the picture.

    Returns:
        mu; None where the scheduler does not shift by size.
    """
    if not scheduler.get("use_dynamic_shifting"):
        return None
    fewest = scheduler.get("base_image_seq_len", 256)
    most = scheduler.get("max_image_seq_len", 4096)
    least, largest = scheduler.get("base_shift", 0.5), scheduler.get("max_shift", 1.15)
    return float(least + (largest - least) * (patches - fewest) / (most - fewest))


def whole_step_flow(
    scheduler: Mapping[str, Any],
    patches: float,
    shift: float | None,
    logit_mean: float,
    logit_std: float,
) -> RectifiedFlow:
    """The flow of FLUX and Z-Image, whose drawings visit 1, 1 - 1/n, ..., 1/n before the shift.

    Args:
        scheduler: As in `log_shift`.
        patches: Of the pictures.
        shift: Moves training times towards noise; None as drawings of their size are.
        logit_mean: Mean of the logit of the training times.
        logit_std: Its standard deviation.
    """
    mu = log_shift(scheduler, patches)
    if shift is None:
        shift = float(scheduler.get("shift") or 1.0) if mu is None else math.exp(mu)
    return RectifiedFlow(scheduler, shift, logit_mean, logit_std, mu, whole_steps=True)


class SizedFlowBackbone(PipelineBackbone):
    """A family whose configuration names no size of pictures, and whose shift follows from it."""

    patch = 2
    process: RectifiedFlow

    def set_size(
        self,
        side: int,
        vae: Mapping[str, Any],
        shift: float | None,
        logit_mean: float,
        logit_std: float,
    ) -> None:
        """Sets `latent_shape`, `resolution` and `process`, for `read_configuration`.

        Args:
            side: Pixels on a side of views and drawings.
            vae: The autoencoder's configuration.
            shift: As `whole_step_flow` takes it.
            logit_mean: Mean of the logit of the training times.
            logit_std: Its standard deviation.

        Raises:
            UserError: If the side is no multiple of the patch, or the scheduler none of a flow.
        """
        self.latent_shape = self.latents_of_side(side, vae)
        self.resolution = side
        self._flow = partial(
            whole_step_flow,
            self.flow_scheduler(),
            shift=shift,
            logit_mean=logit_mean,
            logit_std=logit_std,
        )
        self.process = self._flow(self._patches(self.latent_shape))

    def _patches(self, shape: tuple[int, int, int]) -> float:
        return shape[1] * shape[2] / self.patch**2

    def process_of(self, shape: tuple[int, int, int]) -> NoiseProcess:
        """Other sizes are shifted by their own; see `Backbone`."""
        return self._flow(self._patches(shape))
