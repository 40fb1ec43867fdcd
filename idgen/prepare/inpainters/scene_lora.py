"""A LoRA that lets a backbone draw scenes with nobody in them."""

from functools import cached_property
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file

from idgen.backbones.backbone import Backbone
from idgen.errors import UserError, first_line
from idgen.fingerprint import file_digest
from idgen.mini.assets import mini_path
from idgen.sources import is_mini

_FILE = "pytorch_lora_weights.safetensors"


class SceneLora:
    """Weights of a LoRA for a denoiser, as diffusers stores them.

    Backbones that were trained on all kinds of pictures need none. Every picture that the mini
    backbone was trained on holds a subject, so it draws one into any hole; its LoRA was trained
    on the world's scenes without one.
    """

    def __init__(self, source: str = "mini", scale: float = 1.0) -> None:
        """Notes the file.

        Args:
            source: `mini`, or a `.safetensors` file, or the folder of one.
            scale: How strongly it counts.
        """
        self.source = source
        self.scale = scale

    @cached_property
    def file(self) -> Path:
        """The weights' file; a UserError if there is none."""
        if is_mini(self.source):
            return mini_path("empty_scenes") / _FILE
        path = Path(self.source).expanduser()
        path = path / _FILE if path.is_dir() else path
        if not path.is_file():
            raise UserError(
                f"SceneLora.source: there is no file {str(path)!r}; give 'mini', or a LoRA in "
                "diffusers' format"
            )
        return path

    @cached_property
    def identity(self) -> str:
        """Hash of the weights and of their strength."""
        return f"{file_digest(self.file)} {float(self.scale)}"

    def lay_into(self, backbone: Backbone) -> None:
        """Adds it to the weights of a loaded denoiser.

        Raises:
            UserError: If it is no LoRA, or none of this denoiser.
        """
        denoiser: Any = backbone.denoiser
        try:
            weights = load_file(self.file)
            prefix = next(iter(weights)).split(".")[0]
            denoiser.load_lora_adapter(weights, prefix=prefix, adapter_name="scenes")
            if not getattr(denoiser, "peft_config", None):
                raise ValueError("it has no layer of this denoiser")
            denoiser.fuse_lora(lora_scale=self.scale)
        except (SafetensorError, ValueError, LookupError, RuntimeError, StopIteration) as error:
            raise UserError(
                f"SceneLora.source: {str(self.file)!r} is no LoRA of {backbone.source!r} "
                f"({first_line(error)})"
            ) from error
