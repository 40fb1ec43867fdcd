"""How much memory training needs, counted on networks that have shapes and no weights."""

import copy
from collections.abc import Callable, Set
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode

from idgen.backbones.backbone import Backbone
from idgen.backbones.pipeline import PipelineBackbone
from idgen.backbones.quantization import BYTES
from idgen.backbones.text import TextStates
from idgen.data.datamodule import SubjectDataModule
from idgen.module import PersonalizationModule

_FLOAT32 = 4


@dataclass(frozen=True)
class MemoryNeeded:
    """What a training step holds at most, in bytes.

    Attributes:
        frozen: The frozen weights.
        trained: Trained weights, their gradients and the optimizer's state.
        activations: What the denoiser keeps for the backward pass; with gradient checkpointing,
            blocks' inputs and all of the block that keeps the most.
    """

    frozen: int
    trained: int
    activations: int

    @property
    def total(self) -> int:
        """All of it; what libraries need for themselves is not counted."""
        return self.frozen + self.trained + self.activations


def largest_latents(data: SubjectDataModule) -> tuple[int, int, int]:
    """(C, h, w) of the photos' largest views; a UserError if photos or sizes cannot be used."""
    sizes = [data.preparation.view_size(photo, data.backbone) for photo in data.photos]
    height, width = max(sizes, key=lambda size: size.height * size.width)
    return data.backbone.latent_shape_of(width, height, "preparation.resolution")


def memory_needed(
    module: PersonalizationModule, batch_size: int, shape: tuple[int, int, int] | None = None
) -> MemoryNeeded:
    """Counts the memory of a training step; no weights are loaded.

    Args:
        module: Light.
        batch_size: Rows of a batch.
        shape: (C, h, w) of the latents; None for those of the backbone's own size.
    """
    backbone = module.backbone
    trained = sum(shape.numel() for shape in module.trained_shapes.values())
    each = 2 + _states_of(module)
    rows = batch_size * module.objective.passes
    held = round(_FLOAT32 * trained * each)
    kept = _activations(module, max(1, rows), shape or backbone.latent_shape)
    return MemoryNeeded(_frozen(backbone), held, kept)


def _frozen(backbone: Backbone) -> int:
    bare = backbone.skeleton()
    width = torch.empty(0, dtype=backbone.dtype).element_size()
    whole = width * sum(weight.numel() for weight in bare.parameters())
    if not isinstance(backbone, PipelineBackbone) or backbone.quantization is None:
        return whole
    linear = (
        layer.weight.numel()
        for part in backbone.quantized_parts
        for layer in bare.get_submodule(part).modules()
        if isinstance(layer, nn.Linear)
    )
    return round(whole - (width - BYTES[backbone.quantization]) * sum(linear))


def _states_of(module: PersonalizationModule) -> float:
    """Numbers that the optimizer keeps for each weight, found by a step over some."""
    weight = torch.nn.Parameter(torch.zeros(64, 64))
    optimizer = module.optimization.optimizer([weight])
    weight.grad = torch.ones_like(weight)
    optimizer.step()
    kept = [value for state in optimizer.state.values() for value in state.values()]
    tensors = [value for value in kept if isinstance(value, Tensor)]
    held = sum(value.numel() * value.element_size() for value in tensors)
    return held / (_FLOAT32 * weight.numel())


def _activations(module: PersonalizationModule, rows: int, shape: tuple[int, int, int]) -> int:
    """Bytes that the denoiser keeps of so many rows: one is counted, and taken so often.

    The networks have shapes and a device, for which attention's way of calculating is chosen as it
    would be for real ones. What is not held in float32 is computed in that type.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    backbone, space = module.backbone, module.backbone.features
    length = backbone.word_places([""], module.words.token).shape[1]
    bare = backbone.skeleton()
    copy.deepcopy(module.tuning).attach(bare, module.words)
    is_half = backbone.dtype != torch.float32
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device(device):
        bare = bare.to_empty(device=device)
        for weight in bare.parameters():
            if not weight.requires_grad:
                weight.data = weight.data.to(backbone.dtype)
        pooled = None if space.pooled_width is None else torch.empty(1, space.pooled_width)
        mask = torch.ones(1, length, dtype=torch.bool)
        text = TextStates(torch.empty(1, length, space.width), mask, pooled)
        noisy = torch.empty(1, *shape, requires_grad=True)
        kept = _Kept({weight.untyped_storage()._cdata for weight in bare.parameters()})
        kept.watch(bare)
        with kept.hooks(), torch.autocast(device.type, torch.bfloat16, enabled=is_half):
            bare.predict(noisy, torch.empty(1), text)
        return rows * (kept.size + kept.largest)


class _Kept:
    """Tensors that a pass keeps for the backward pass, each storage once.

    Attributes:
        largest: Bytes of the checkpointed block that keeps the most, which are there while its
            gradients are computed.
    """

    def __init__(self, weights: Set[int]) -> None:
        self._weights = weights
        self._tensors: dict[int, Tensor] = {}
        self.largest = 0

    def __call__(self, tensor: Tensor) -> Tensor:
        at = tensor.untyped_storage()._cdata
        if at not in self._weights:
            self._tensors.setdefault(at, tensor)
        return tensor

    @property
    def size(self) -> int:
        """Bytes of all of them."""
        return sum(tensor.untyped_storage().nbytes() for tensor in self._tensors.values())

    def hooks(self) -> Any:
        """A context in which it sees what is kept."""
        return torch.autograd.graph.saved_tensors_hooks(self, lambda tensor: tensor)

    def watch(self, network: nn.Module) -> None:
        """Counts checkpointed blocks, whose inputs alone are kept, out of autograd's sight."""
        layer: Any
        for layer in network.modules():
            if getattr(layer, "gradient_checkpointing", False):
                layer._gradient_checkpointing_func = self._block

    def _block(self, block: Callable[..., Any], *inputs: Any) -> Any:
        for value in inputs:
            if isinstance(value, Tensor):
                self(value)
        inner = _Kept(self._weights)
        with inner.hooks():
            output = block(*inputs)
        self.largest = max(self.largest, inner.size)
        return output
