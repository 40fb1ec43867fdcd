"""What has to be done by hand on an accelerator."""

import gc

import torch


def free(device: torch.device) -> None:
    """Gives an accelerator's memory back after a model has gone out of use.

    On a CPU nothing needs doing, and looking through all objects takes half a second.

    Args:
        device: Where the model was.
    """
    if device.type == "cuda":
        gc.collect()
        torch.cuda.empty_cache()


def best_device() -> torch.device:
    """The accelerator that Lightning would take for `auto`, else the CPU."""
    if torch.cuda.is_available():
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


def sent(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor on a device, without having the host wait until it is there.

    Of memory that is not pinned, CUDA waits for all that is launched before it copies.

    Args:
        tensor: Of the host; it must not be changed afterwards. Another is moved as torch does it.
        device: Where it goes.
    """
    # Metal may read the host's memory after it was freed; what comes home is there only at the end.
    if tensor.device.type != "cpu" or device.type in ("cpu", "mps"):
        return tensor.to(device)
    pinned = tensor.pin_memory() if device.type == "cuda" else tensor
    return pinned.to(device, non_blocking=True)


def seed_randomness(seed: int, device: torch.device) -> None:
    """Does what `torch.manual_seed` does, for what a device takes random numbers from.

    On a machine without an accelerator that function writes down the call stack each time, to seed
    one later, which takes time in each step of a training.

    Args:
        seed: Of the generators.
        device: Where random numbers are going to be drawn; the CPU's generator is always seeded.
    """
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
