"""What training changed in a backbone, apart from how it was trained."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from idgen.backbones.pipeline import PipelineBackbone
from idgen.errors import UserError
from idgen.models.tuning.token import TokenEmbedding

_ADAPTER = "default"
TEXT = "text_model."


@dataclass(frozen=True)
class LowRankUpdate:
    """W + (alpha / r) B A of one layer (LoRA, Hu et al. 2021); of a convolution too.

    With a magnitude m it is DoRA (Liu et al. 2024): W' = m (W + (alpha / r) B A) / n, where n holds
    the norms of the rows of W + (alpha / r) B A.

    Attributes:
        layer: Its name in its network.
        down: A, `r in`, or `r in kh kw` of a convolution.
        up: B, `out r`, or `out r 1 1`.
        alpha: The scale is alpha / r.
        magnitude: m, `out`; None of LoRA.
    """

    layer: str
    down: Tensor
    up: Tensor
    alpha: float
    magnitude: Tensor | None = None

    @property
    def rank(self) -> int:
        """R."""
        return len(self.down)

    def delta(self) -> Tensor:
        """(alpha / r) B A, of the weight's shape."""
        product = self.up.flatten(1) @ self.down.flatten(1)
        return (self.alpha / self.rank) * product.view(len(self.up), *self.down.shape[1:])

    def added_to(self, weight: Tensor) -> Tensor:
        """The layer's weight with it, in float32 on the CPU.

        Args:
            weight: W, as it was before training.
        """
        added = weight.detach().float().cpu() + self.delta()
        if self.magnitude is None:
            return added
        norms: Tensor = torch.linalg.vector_norm(added.flatten(1), dim=1)
        return (self.magnitude / norms).view(-1, *[1] * (added.ndim - 1)) * added


@dataclass(frozen=True)
class NetworkUpdates:
    """What training changed in one network.

    Attributes:
        low_rank: LoRA, in the order of the layers.
        replaced: Weights that were trained in full, by name.
    """

    low_rank: tuple[LowRankUpdate, ...] = ()
    replaced: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def is_lora(self) -> bool:
        """Whether nothing was trained in full, and there is no magnitude."""
        return not self.replaced and all(update.magnitude is None for update in self.low_rank)

    def as_low_rank(self, network: nn.Module) -> tuple[LowRankUpdate, ...]:
        """All of it as LoRA; of DoRA and of layers trained in full, of full rank and exact.

        DoRA does not stay as it is: with its magnitudes in the file, diffusers drew something else.

        Args:
            network: As it was before training.

        Raises:
            UserError: If a bias or a norm was trained, which LoRA cannot hold.
        """
        before = dict(network.named_parameters())
        found = []
        for update in self.low_rank:
            if update.magnitude is None:
                found.append(update)
                continue
            weight = before[f"{update.layer}.weight"]
            delta = update.added_to(weight) - weight.detach().float().cpu()
            found.append(full_rank(update.layer, delta))
        for name, after in self.replaced.items():
            layer, _, kind = name.rpartition(".")
            if kind != "weight" or after.ndim not in (2, 4):
                raise UserError(
                    f"CKPT: {name} was trained in full, which is no weight of a linear or "
                    "convolution layer: LoRA cannot hold it; take --format merged"
                )
            found.append(full_rank(layer, after - before[name].detach().float().cpu()))
        return tuple(found)

    def fold_into(self, network: nn.Module) -> None:
        """Adds all of it to a network's weights, in place, in float32.

        Args:
            network: As it was before training.
        """
        weights = dict(network.named_parameters())
        with torch.no_grad():
            for update in self.low_rank:
                weight = weights[f"{update.layer}.weight"]
                weight.copy_(update.added_to(weight))
            for name, after in self.replaced.items():
                weights[name].copy_(after)


@dataclass(frozen=True)
class LearntWord:
    """A token whose embedding was trained.

    Attributes:
        word: The token in idgen's prompts.
        row: Its id.
        vector: Its embedding, `D`.
        is_new: Whether the backbone's vocabulary lacks it.
    """

    word: str
    row: int
    vector: Tensor
    is_new: bool

    @property
    def exported(self) -> str:
        """Its name where embeddings are added to a vocabulary, which must not have it already."""
        return self.word if self.is_new else f"<{self.word}>"


@dataclass(frozen=True)
class TrainedParts:
    """What training changed in a backbone.

    Attributes:
        networks: In the denoiser and in each text encoder, by their folders.
        word: The token that the first text encoder learnt; None where there is none.
    """

    networks: Mapping[str, NetworkUpdates]
    word: LearntWord | None

    @property
    def denoiser(self) -> NetworkUpdates:
        """In Stable Diffusion's U-Net."""
        return self.networks["unet"]

    @property
    def text(self) -> NetworkUpdates:
        """In the first text encoder."""
        return self.networks["text_encoder"]

    @classmethod
    def of(cls, backbone: PipelineBackbone, word: str) -> "TrainedParts":
        """Reads a backbone that a tuning is attached to.

        Args:
            backbone: Loaded, with what was trained.
            word: The subject's token.

        Raises:
            UserError: If something was trained that is neither LoRA nor layers nor a token.
        """
        embeddings = [_embedding(encoder) for encoder in backbone.text_encoders]
        learnt, first = None, embeddings[0]
        if isinstance(first, TokenEmbedding):
            vector = first.vector.detach().float().cpu()
            learnt = LearntWord(word, first.token_id, vector, _is_new(backbone, word))
        apart = frozenset(each for each in embeddings if isinstance(each, TokenEmbedding))
        parts = {part: backbone.get_submodule(part) for part in backbone.parts}
        return cls({part: _updates(network, apart) for part, network in parts.items()}, learnt)


def _embedding(encoder: Any) -> Any:
    return encoder.get_input_embeddings()


def _is_new(backbone: PipelineBackbone, word: str) -> bool:
    """Whether the base's own tokenizer cannot read a word as one token."""
    part, kind = next(iter(backbone.tokenizer_kinds.items()))
    ids = backbone.pipeline.tokenizer(part, kind)(word, add_special_tokens=False).input_ids
    return len(ids) != 1 or ids[0] == backbone.unknown_id


def _updates(network: nn.Module, apart: Collection[nn.Module]) -> NetworkUpdates:
    """Of a network; modules that are read elsewhere stand apart."""
    from peft.tuners.lora import LoraLayer

    adapters = {n: m for n, m in network.named_modules() if isinstance(m, LoraLayer)}
    low_rank = tuple(_low_rank(name, layer) for name, layer in adapters.items())
    held = {id(p) for layer in adapters.values() for p in layer.parameters()}
    held |= {id(p) for module in apart for p in module.parameters()}
    trained = {n: p for n, p in network.named_parameters() if p.requires_grad and id(p) not in held}
    replaced = {name: weight.detach().float().cpu() for name, weight in trained.items()}
    return NetworkUpdates(low_rank, replaced)


def _low_rank(name: str, layer: Any) -> LowRankUpdate:
    if len(getattr(layer, "lora_embedding_A", ())) > 0 or list(layer.lora_A) != [_ADAPTER]:
        raise UserError(
            f"CKPT: its LoRA at {name} is of another kind, which no export holds; draw with idgen "
            "sample"
        )
    down, up = (
        part[_ADAPTER].weight.detach().float().cpu() for part in (layer.lora_A, layer.lora_B)
    )
    magnitude = None
    if len(layer.lora_magnitude_vector) > 0:
        magnitude = layer.lora_magnitude_vector[_ADAPTER].weight.detach().float().cpu().flatten()
    alpha = float(layer.scaling[_ADAPTER]) * len(down)
    return LowRankUpdate(name, down, up, alpha, magnitude)


def full_rank(layer: str, delta: Tensor) -> LowRankUpdate:
    """Any change of a layer's weight as LoRA, exactly: one of A and B is r times the identity.

    Alpha is 1 whatever the rank, so that layers of all sizes have the same.

    Args:
        layer: Its name.
        delta: The change, `out in` or `out in kh kw`.
    """
    outputs, inputs = delta.shape[:2]
    if delta.ndim == 4:
        up = outputs * torch.eye(outputs)[..., None, None]
        return LowRankUpdate(layer, delta, up, 1.0)
    if inputs <= outputs:
        return LowRankUpdate(layer, inputs * torch.eye(inputs), delta, 1.0)
    return LowRankUpdate(layer, delta, outputs * torch.eye(outputs), 1.0)


def of_one_alpha(updates: Sequence[LowRankUpdate]) -> tuple[LowRankUpdate, ...]:
    """The same updates with one alpha for all: diffusers reads no other from kohya's files.

    Args:
        updates: Of one network; those that have one alpha already stay as they are.
    """
    if len({update.alpha for update in updates}) < 2:
        return tuple(updates)
    return tuple(replace(u, up=u.up * u.alpha, alpha=1.0) for u in updates)


def text_layer(layer: str) -> str:
    """A text encoder's layer by the name that all tools know, whatever transformers calls it."""
    return layer if layer.startswith(TEXT) else f"{TEXT}{layer}"
