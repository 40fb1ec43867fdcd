"""Loss weights that a method can make nothing of: refused, or warned of."""

from lightning.pytorch.utilities import rank_zero_warn

from idgen.errors import UserError
from idgen.losses import LossWeights
from idgen.models.conditioning import Conditioning
from idgen.models.tuning import Tuning


def check_weights_can_act(weights: LossWeights, tuning: Tuning) -> None:
    """Refuses a loss that the tuning rules out.

    Args:
        weights: l1 to l6.
        tuning: What is trained.

    Raises:
        UserError: If L6 needs a frozen backbone that is there no more.
    """
    if weights.background_preservation > 0 and not tuning.can_be_off:
        raise UserError(
            "--model.loss_weights.background_preservation needs the frozen backbone, which "
            f"{tuning.name} overwrites: set it to 0, or take LoraTuning"
        )


def warn_of_idle_weights(weights: LossWeights, tuning: Tuning, conditioning: Conditioning) -> None:
    """Warns of weights that change nothing.

    Args:
        weights: l1 to l6.
        tuning: What is trained.
        conditioning: How features become the condition.
    """
    idle = {
        "background": weights.background != 1,
        "background_preservation": weights.background_preservation > 0,
    }
    under_text_alone = weights.weak_denoising > 0 or not conditioning.decouples
    for name in (name for name, given in idle.items() if given and not under_text_alone):
        rank_zero_warn(
            f"L5 is off, so loss_weights.{name} does nothing: set "
            "loss_weights.weak_denoising above 0, or leave it out"
        )
    if weights.text_explicit and conditioning.explicit and not tuning.trains_text:
        rank_zero_warn(
            "nothing on the text side is trained, so L4 (loss_weights.text_explicit) has no "
            "gradient: train the text encoder (tuning.init_args.text_rank) or set it to 0"
        )
