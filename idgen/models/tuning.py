"""What is trained inside the backbone."""

import re
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
from torch import nn

from idgen.errors import UserError
from idgen.models.backbone import Backbone

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
TEXT_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")


class Tuning(ABC):
    """Makes a small part of a frozen backbone trainable, in place."""

    @abstractmethod
    def attach(self, backbone: Backbone) -> None:
        """Adds trainable parameters, float32, to a loaded backbone; the rest stays frozen."""

    @property
    @abstractmethod
    def trains_text(self) -> bool:
        """Whether f_s gets a gradient."""


class LoraTuning(Tuning):
    """Low-rank adaptation, W x + (alpha / r) B A x with B = 0 at the start (Hu et al. 2021)."""

    def __init__(
        self,
        rank: int = 4,
        alpha: float | None = None,
        targets: Sequence[str] = ATTENTION,
        text_rank: int = 4,
        text_targets: Sequence[str] = TEXT_ATTENTION,
        dropout: float = 0.0,
    ) -> None:
        """Sets sizes and places.

        Args:
            rank: r in the denoiser.
            alpha: The scale is alpha / rank in both places; None for a scale of 1.
            targets: Ends of the names of the denoiser's layers that get LoRA. Names of
                convolutions (`conv1`, `conv2`) may be among them.
            text_rank: r in the text encoder; 0 leaves it frozen.
            text_targets: Ends of the names of the text encoder's layers.
            dropout: Dropout on the LoRA input.

        Raises:
            ValueError: If a size is out of range.
        """
        if rank < 1 or text_rank < 0 or not 0 <= dropout < 1:
            raise ValueError("rank must be 1 or more, text_rank 0 or more, dropout in [0, 1)")
        self.rank = rank
        self.alpha = alpha
        self.targets = list(targets)
        self.text_rank = text_rank
        self.text_targets = list(text_targets)
        self.dropout = dropout

    @property
    def trains_text(self) -> bool:
        """Whether the text encoder gets LoRA."""
        return self.text_rank > 0

    def attach(self, backbone: Backbone) -> None:
        """Injects LoRA layers through peft.

        Raises:
            UserError: If a target fits no layer.
        """
        key = "--model.tuning.init_args."
        self.inject(backbone.denoiser, self.rank, self.targets, f"{key}targets")
        if self.trains_text:
            for encoder in backbone.text_encoders:
                self.inject(encoder, self.text_rank, self.text_targets, f"{key}text_targets")

    def inject(self, module: nn.Module, rank: int, targets: Sequence[str], key: str) -> None:
        """Injects LoRA into one module, in place, in float32.

        Args:
            module: Frozen so far.
            rank: r.
            targets: Ends of the names of the layers that get LoRA.
            key: The config key that named the targets, for the error.

        Raises:
            UserError: If a target fits no layer.
        """
        from peft import LoraConfig, inject_adapter_in_model

        if not targets:
            raise UserError(f"{key} is empty; name layers, such as {', '.join(ATTENTION)}")
        layers = dict(module.named_modules())
        for target in targets:
            pattern = re.compile(rf"(^|\.){re.escape(target)}$")
            found = [layer for name, layer in layers.items() if pattern.search(name)]
            if not found:
                raise UserError(f"{key}: no layer of {type(module).__name__} ends in {target!r}")
            if not all(isinstance(layer, (nn.Linear, nn.Conv2d)) for layer in found):
                raise UserError(
                    f"{key}: {target!r} is a {type(found[0]).__name__}; LoRA goes into linear and "
                    "convolution layers, such as 'to_q' or 'to_out.0'"
                )
        config = LoraConfig(
            r=rank,
            lora_alpha=rank if self.alpha is None else self.alpha,
            target_modules=list(targets),
            lora_dropout=self.dropout,
        )
        inject_adapter_in_model(config, module)
        for parameter in module.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.to(torch.float32)
