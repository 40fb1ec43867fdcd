"""What has to be done by hand on an accelerator."""

import gc

import torch


def free(device: torch.device) -> None:
    """Gives memory back after a model has gone out of use, to the accelerator as well.

    Args:
        device: Where the model was.
    """
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
