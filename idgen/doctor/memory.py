"""How much memory training needs, counted on networks that have shapes and no weights."""

import copy
from dataclasses import dataclass

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
        activations: What the denoiser keeps for the backward pass.
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
    return data.backbone.latent_shape_of(width, height)


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
    would be for real ones.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        kept.setdefault(tensor.untyped_storage()._cdata, tensor)
        return tensor

    length = module.backbone.tokenize([""]).ids[0].shape[1]
    space = module.backbone.features
    bare = module.backbone.skeleton()
    copy.deepcopy(module.tuning).attach(bare, module.words)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device(device):
        backbone = bare.to_empty(device=device)
        pooled = None if space.pooled_width is None else torch.empty(1, space.pooled_width)
        mask = torch.ones(1, length, dtype=torch.bool)
        text = TextStates(torch.empty(1, length, space.width), mask, pooled)
        own = {weight.untyped_storage()._cdata for weight in backbone.parameters()}
        noisy = torch.empty(1, *shape, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            backbone.predict(noisy, torch.empty(1), text)
        sizes = [tensor.untyped_storage().nbytes() for at, tensor in kept.items() if at not in own]
    return rows * sum(sizes)
