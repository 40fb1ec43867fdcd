"""Chosen layers of the denoiser, trained in full."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from idgen.backbones.backbone import Backbone
from idgen.backbones.quantization import is_quantized
from idgen.backbones.text import SubjectWords
from idgen.errors import UserError
from idgen.models.tuning.tuning import Tuning, find_layers

CROSS_ATTENTION = ("attn2.to_k", "attn2.to_v")


class LayerTuning(Tuning):
    """Trains all weights of chosen layers, no low rank in between.

    By default the keys and values of cross-attention, which alone see the text: what Custom
    Diffusion (Kumari et al. 2023) trains.
    """

    def __init__(self, targets: Sequence[str] = CROSS_ATTENTION) -> None:
        """Sets places.

        Args:
            targets: Ends of the names of the denoiser's layers that are trained.
        """
        self.targets = list(targets)

    @property
    def trains_text(self) -> bool:
        """No: f_s stays what it was."""
        return False

    def attach(self, backbone: Backbone, words: SubjectWords) -> None:
        """Makes the layers trainable, in float32."""
        for layer in find_layers(backbone.denoiser, self.targets, "LayerTuning.targets"):
            if is_quantized(layer):
                raise UserError(
                    "LayerTuning: all weights of its layers are trained, which the backbone's "
                    "quantization holds in few bits; take LoraTuning, or no quantization"
                )
            neighbours = next(layer.parameters()).dtype
            layer.to(torch.float32).requires_grad_(True)
            if neighbours != torch.float32:
                _cast_around(layer, neighbours)


def _cast_around(layer: nn.Module, outside: torch.dtype) -> None:
    """Lets a layer in float32 stand among layers in half precision, autocast or not."""

    def before(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        return tuple(value.float() for value in inputs)

    def after(_: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return output.to(outside)

    layer.register_forward_pre_hook(before)
    layer.register_forward_hook(after)
