"""LoRA in the denoiser and the text encoder."""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from typing import Any

import torch
from torch import nn

from idgen.backbones.backbone import Backbone
from idgen.backbones.text import SubjectWords
from idgen.errors import UserError
from idgen.importing import uncollected
from idgen.models.tuning.folds import Folds
from idgen.models.tuning.tuning import Tuning, find_layers

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
TEXT_ATTENTION = ("q_proj", "k_proj", "v_proj", "out_proj")


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
        rank_dropout: float = 0.0,
        dora: bool = False,
        text_encoders: Sequence[int] | None = None,
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
            rank_dropout: With which probability each of the r directions is left out for a row of
                a training batch, as in kohya's sd-scripts; the others are made larger for it.
            dora: Whether each layer's direction and magnitude are trained apart (Liu et al. 2024).
            text_encoders: Which of the backbone's text encoders get it, by number from 0; None for
                all. The others stay frozen, such as T5, whose layers have other names.

        Raises:
            ValueError: If a size is out of range.
        """
        if rank < 1 or text_rank < 0 or not 0 <= dropout < 1:
            raise ValueError("rank must be 1 or more, text_rank 0 or more, dropout in [0, 1)")
        if not 0 <= rank_dropout < 1:
            raise ValueError("rank_dropout must be in [0, 1)")
        if alpha is not None and not (alpha > 0 and math.isfinite(alpha)):
            raise ValueError("alpha must be finite and above 0, or null for a scale of 1")
        self.rank = rank
        self.alpha = alpha
        self.targets = list(targets)
        self.text_rank = text_rank
        self.text_targets = list(text_targets)
        self.dropout = dropout
        self.rank_dropout = rank_dropout
        self.dora = dora
        self.text_encoders = None if text_encoders is None else sorted({*text_encoders})
        if self.text_encoders is not None and (not self.text_encoders or self.text_encoders[0] < 0):
            raise ValueError("text_encoders are numbers from 0, one at least; or null for all")
        # What it has been attached to, so that `off` need not look for it.
        self._layers: list[Any] = []
        self._folds = Folds()

    @property
    def trains_text(self) -> bool:
        """Whether the text encoder gets LoRA."""
        return self.text_rank > 0

    @property
    def definition(self) -> dict[str, Any]:
        """The scale of what is added, which no shape tells, and whether it is DoRA."""
        ranks = {"rank": self.rank, "text_rank": self.text_rank}
        scales = {f"alpha / {key}": self._scale(rank) for key, rank in ranks.items() if rank}
        return {**scales, "dora": True} if self.dora else scales

    @property
    def can_be_off(self) -> bool:
        """Yes: W stays as it is."""
        return True

    @contextmanager
    def off(self, backbone: Backbone) -> Iterator[None]:
        """Leaves B A x out."""
        # Not peft's `enable_adapters`, which also goes through all weights to freeze and unfreeze
        # them: in a step of batch 1 that took a tenth of the time. Nor by setting an attribute, for
        # which a module looks through all that it has.
        for layer in self._layers:
            layer.__dict__["_disable_adapters"] = True
        try:
            yield
        finally:
            for layer in self._layers:
                layer.__dict__["_disable_adapters"] = False

    def folded(self, backbone: Backbone) -> AbstractContextManager[None]:
        """W + (alpha / r) B A in place of W: one product a layer instead of three."""
        return self._folds.inside(self._layers)

    def keeping_folds(self) -> AbstractContextManager[None]:
        """Keeps W + (alpha / r) B A from one batch to the next; see `Tuning.keeping_folds`."""
        return self._folds.keeping()

    def _scale(self, rank: int) -> float:
        return 1.0 if self.alpha is None else self.alpha / rank

    def attach(self, backbone: Backbone, words: SubjectWords) -> None:
        """Injects LoRA layers through peft."""
        self._layers = []
        self.inject(backbone.denoiser, self.rank, self.targets, "LoraTuning.targets")
        if self.trains_text:
            for encoder in self._chosen(backbone):
                self.inject(encoder, self.text_rank, self.text_targets, "LoraTuning.text_targets")

    def _chosen(self, backbone: Backbone) -> list[nn.Module]:
        """The text encoders that are trained."""
        encoders = list(backbone.text_encoders)
        if self.text_encoders is None:
            return encoders
        if self.text_encoders[-1] >= len(encoders):
            raise UserError(
                f"LoraTuning.text_encoders: {backbone.source!r} has {len(encoders)}, from 0 to "
                f"{len(encoders) - 1}; {self.text_encoders[-1]} is none of them"
            )
        return [encoders[number] for number in self.text_encoders]

    def inject(self, module: nn.Module, rank: int, targets: Sequence[str], parameter: str) -> None:
        """Injects LoRA into one module, in place, in float32.

        Args:
            module: What is trained in it already stays so.
            rank: r.
            targets: Ends of the names of the layers that get LoRA.
            parameter: The parameter that named the targets, for the error.

        Raises:
            UserError: If a target fits no layer, or r is more than the rank of one.
        """
        with uncollected():
            from peft import LoraConfig, inject_adapter_in_model
            from peft.tuners.tuners_utils import BaseTunerLayer

            from idgen.models.tuning.one_product import take_one_product

        _check_rank(module, rank, find_layers(module, targets, parameter), parameter)
        # peft freezes all that is not its own.
        others = [weight for weight in module.parameters() if weight.requires_grad]
        config = LoraConfig(
            r=rank,
            lora_alpha=rank if self.alpha is None else self.alpha,
            target_modules=list(targets),
            lora_dropout=self.dropout,
            use_dora=self.dora,
        )
        inject_adapter_in_model(config, module)
        layers: list[Any] = [m for m in module.modules() if isinstance(m, BaseTunerLayer)]
        self._layers += layers
        if self.rank_dropout:
            drop = partial(_drop_directions, self.rank_dropout)
            for layer in layers:
                for down in layer.lora_A.values():
                    down.register_forward_hook(drop)
        if not (self.dropout or self.rank_dropout or self.dora):
            for layer in layers:
                take_one_product(layer)
        for weight in others:
            weight.requires_grad_(True)
        for weight in module.parameters():
            if weight.requires_grad:
                weight.data = weight.data.to(torch.float32)


def _drop_directions(
    share: float, down: nn.Module, inputs: tuple[torch.Tensor, ...], output: torch.Tensor
) -> torch.Tensor:
    """A x with some of its r directions left out, others in each row, while training."""
    if not down.training:
        return output
    # Of a convolution the channels are the second axis, of a linear layer the last.
    axis = 1 if isinstance(down, nn.Conv2d) else output.ndim - 1
    shape = [1] * output.ndim
    shape[0], shape[axis] = output.shape[0], output.shape[axis]
    kept = torch.rand(shape, device=output.device) >= share
    return output * (kept / (1 - share)).to(output.dtype)


def _check_rank(module: nn.Module, rank: int, layers: Sequence[nn.Module], parameter: str) -> None:
    """Refuses more than full rank: A and B would then hold more than the layer's own weight."""
    names = {layer: name for name, layer in module.named_modules()}
    for layer in layers:
        weight = layer.weight
        assert isinstance(weight, torch.Tensor)
        outputs, inputs = len(weight), weight[0].numel()
        if isinstance(layer, nn.Linear):  # whose weight may be packed
            outputs, inputs = layer.out_features, layer.in_features
        if rank > min(outputs, inputs):
            raise UserError(
                f"{parameter.replace('targets', 'rank')}: {rank} is more than the layer "
                f"{names[layer]} can have, which is {outputs} x {inputs}; give "
                f"{min(outputs, inputs)} or less"
            )
