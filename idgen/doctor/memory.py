"""How much memory training needs, counted on networks that have shapes and no weights."""

import copy
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import Variable

from idgen.backbones.backbone import Backbone
from idgen.backbones.pipeline import PipelineBackbone
from idgen.backbones.quantization import BYTES
from idgen.backbones.splitting import most_held
from idgen.data.datamodule import SubjectDataModule
from idgen.data.prompts import with_token
from idgen.doctor.made_up import MadeUpBatches
from idgen.doctor.peak import CudaRules, PeakMemory
from idgen.module import PersonalizationModule

_FLOAT32 = 4
_COUNTED = 8  # rows; there is no end to how many may be asked about
_MIXED = {"bf16": torch.bfloat16, "16": torch.float16}


@dataclass(frozen=True)
class MemoryNeeded:
    """What a training step holds at most, in bytes.

    Attributes:
        frozen: The frozen weights, without text encoders that are let go of before training.
        trained: Trained weights, their gradients and the optimizer's state.
        activations: All else at the step's peak: what the passes keep for the backward pass, and
            what they need in between.
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
    module: PersonalizationModule,
    batch_size: int,
    precision: str | int | None = None,
    on_gpu: bool = False,
    latent_shape: tuple[int, int, int] | None = None,
    processes: int = 1,
) -> MemoryNeeded:
    """Counts the memory of a training step; no weights are loaded.

    Args:
        module: Light.
        batch_size: Rows of a batch.
        precision: The trainer's, such as `bf16-mixed`.
        on_gpu: Whether it is of CUDA's; there need not be a GPU.
        latent_shape: C h w of the photos' latents; None for the backbone's own.
        processes: That the frozen denoiser is split between.
    """
    trained = sum(shape.numel() for shape in module.trained_shapes.values())
    held = round(_FLOAT32 * trained * (2 + _states_of(module)))
    mixed = _MIXED.get(str(precision).partition("-")[0])

    def peak(rows: int) -> int:
        rules = CudaRules(mixed) if on_gpu else nullcontext()
        return _peak(module, rows, mixed, rules, latent_shape)

    counted = min(batch_size, _COUNTED)
    activations = peak(counted)
    if batch_size > counted:
        # Further rows take as much as the last ones.
        half = _COUNTED // 2
        activations += (batch_size - counted) * (activations - peak(half)) // half
    backbone = module.backbone
    frozen = _frozen(backbone, module.texts_let_go()) - _elsewhere(backbone, processes)
    return MemoryNeeded(frozen, held, activations)


def _elsewhere(backbone: Backbone, processes: int) -> int:
    """What of the denoiser's frozen weights other processes hold, in bytes."""
    if processes == 1:
        return 0
    denoiser = backbone.skeleton().denoiser
    width = torch.empty(0, dtype=backbone.dtype).element_size()
    whole = sum(weight.numel() for weight in denoiser.parameters())
    return width * (whole - most_held(denoiser, processes))


def _frozen(backbone: Backbone, gone: Sequence[str] = ()) -> int:
    bare = backbone.skeleton()
    for part in gone:
        delattr(bare, part)
    width = torch.empty(0, dtype=backbone.dtype).element_size()
    whole = width * sum(weight.numel() for weight in bare.parameters())
    if not isinstance(backbone, PipelineBackbone) or backbone.quantization is None:
        return whole
    linear = (
        layer.weight.numel()
        for part in set(backbone.quantized_parts) - set(gone)
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


def _without_weights(module: PersonalizationModule) -> PersonalizationModule:
    """The module with networks that have shapes and no weights, for a step of its own."""
    backbone = module.backbone.skeleton()
    backbone.to(module.backbone.dtype)
    backbone.attach(copy.deepcopy(module.tuning), module.words)
    bare = copy.copy(module)
    bare._trainer = None
    # It hides next to nothing, and asks the trainer how far the run has come.
    bare.background_noise = None
    conditioning = copy.deepcopy(module.conditioning)
    bare._modules = {**module._modules, "backbone": backbone, "conditioning": conditioning}
    bare.__dict__.pop("conditioning", None)
    return bare


def _peak(
    module: PersonalizationModule,
    rows: int,
    mixed: torch.dtype | None,
    rules: AbstractContextManager[Any],
    latent_shape: tuple[int, int, int] | None,
) -> int:
    """Bytes at a step's peak beside weights, gradients and the optimizer's state."""
    words, memory = module.words, PeakMemory()
    prompt = f"a photo of a [V] {words.class_noun}"
    batches = MadeUpBatches(module, rows, with_token(prompt, words.token), prompt, latent_shape)
    batch, bare = batches.batch(0), _without_weights(module)
    with FakeTensorMode(allow_non_fake_inputs=True), torch.device("cpu"):
        for part in (bare.backbone, bare.conditioning):
            part.to_empty(device="cpu")
        trained = [weight for weight in bare.parameters() if weight.requires_grad]
        for weight in trained:
            # Lightning lets the last step's gradients go once the passes are made.
            weight.grad = torch.empty_like(weight)
            memory.note(weight.grad)
        for tensor in (*bare.parameters(), *bare.buffers()):
            memory.note(tensor)
        before = memory.now
        with memory, rules, warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*self.log.*")
            with torch.autocast("cpu", mixed or torch.bfloat16, enabled=mixed is not None):
                loss = bare.training_step(batch, 0)
            for weight in trained:
                weight.grad = None
            _go_backward(loss)
    return memory.peak - before


def _go_backward(loss: Tensor) -> None:
    """`loss.backward()` under the rules, which that leaves out: for what is calculated again."""
    engine: Any = Variable._execution_engine
    one = (torch.ones_like(loss),)
    engine.run_backward(
        (loss,), one, False, False, (), allow_unreachable=True, accumulate_grad=True
    )
