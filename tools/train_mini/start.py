"""Beginning a training with weights that are there, such as those that ship."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from idgen.errors import UserError


def start_from(model: nn.Module, folder: Path) -> int:
    """Copy the weights of a stored model that have the same name and shape.

    What is not there, or of another shape, keeps the value it has: a model may grow.

    Args:
        model: Changed in place.
        folder: Holds one file of safetensors.

    Returns:
        How many tensors were copied.

    Raises:
        UserError: If the folder does not hold one such file, or it is damaged, or nothing in it
            fits.
    """
    files = sorted(folder.glob("*.safetensors"))
    if len(files) != 1:
        raise UserError(
            f"--begin-with: {folder} holds {len(files)} files of safetensors, one is needed"
        )
    try:
        stored, own = load_file(files[0]), model.state_dict()
    except SafetensorError as error:
        raise UserError(f"--begin-with: cannot read {files[0]}: {error}") from error
    fitting = {k: v.float() for k, v in stored.items() if k in own and own[k].shape == v.shape}
    if not fitting:
        raise UserError(f"--begin-with: no weight in {files[0]} fits this model")
    model.load_state_dict(own | fitting)
    return len(fitting)
