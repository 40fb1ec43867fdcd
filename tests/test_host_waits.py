"""Steps and drawings launch work on a GPU without waiting for it; seen without a GPU.

What each kind of step asks of the device is looked at, operation by operation. The optimizer is
torch's own; `test_finite_losses` has a whole run on CUDA, for machines with a GPU.
"""

import contextlib
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

from idgen.backbones import StableDiffusionBackbone
from idgen.backbones.pipeline import PipelineBackbone
from idgen.backbones.text import TextStates
from idgen.data.batch import DrawingBatch, SubjectBatch
from idgen.data.datamodule import SubjectDataModule
from idgen.data.subject import Subject
from idgen.devices import sent
from idgen.doctor.made_up import MadeUpBatches
from idgen.models.conditioning import ConditioningCallable, DecoupledFusion, TextOnly
from idgen.models.entry import FeatureEntry
from idgen.models.fusion import Routing
from idgen.models.residual_tokens import ResidualTokens
from idgen.models.tuning import CombinedTuning, LayerTuning, LoraTuning, TokenTuning, Tuning
from idgen.module import PersonalizationModule
from idgen.processes import SolverKind
from idgen.sampling import DrawingRequest, Sampler
from idgen.terms import (
    AttentionInMask,
    BackgroundPreservation,
    Diffusion,
    Exclusion,
    ImplicitExplicit,
    ImplicitText,
    LoadBalance,
    OrthogonalExperts,
    PriorPreservation,
    SceneDiffusion,
    Term,
    TextExplicit,
    WeakDenoising,
)
from tests.backbones.tiny_families import FAMILIES, Family
from tests.host_waits import AWAY, CUDA, HostWaits, made_up_cuda, put_away

SPOKEN, PROMPT = "a photo of a sks dog", "a photo of a [V] dog"
REQUESTS = [DrawingRequest("a sks dog", "a dog", 0, number, 0) for number in range(2)]
OF_BASE: Mapping[str, Term] = {
    "diffusion": Diffusion(),
    "weak_denoising": WeakDenoising(background=0.0),
    "background_preservation": BackgroundPreservation(),
    "text_explicit": TextExplicit(),
    "implicit_text": ImplicitText(),
    "implicit_explicit": ImplicitExplicit(),
}
METHODS: dict[str, tuple[ConditioningCallable, Mapping[str, Term], Callable[[], Tuning]]] = {
    "base": (DecoupledFusion, OF_BASE, partial(LoraTuning, rank=2, text_rank=2)),
    "lora": (TextOnly, {"diffusion": Diffusion()}, partial(LoraTuning, rank=2)),
    "experts": (
        partial(DecoupledFusion, experts=3, routing=Routing.picture),
        {"diffusion": Diffusion(), "balance": LoadBalance(), "orthogonal": OrthogonalExperts()},
        partial(LoraTuning, rank=2),
    ),
    "token entry": (
        partial(DecoupledFusion, entry=FeatureEntry.token),
        {"diffusion": Diffusion()},
        partial(LoraTuning, rank=2),
    ),
    "exclusion": (
        partial(ResidualTokens, photos=4),
        {"diffusion": Diffusion(), "exclusion": Exclusion()},
        partial(LoraTuning, rank=2),
    ),
    "class and scene images": (
        DecoupledFusion,
        {"diffusion": Diffusion(), "prior": PriorPreservation(), "scenes": SceneDiffusion()},
        partial(LoraTuning, rank=2, text_rank=2),
    ),
    "word and layers": (
        TextOnly,
        {"diffusion": Diffusion()},
        lambda: CombinedTuning([TokenTuning(), LayerTuning(["to_k", "to_v"])]),
    ),
}


def module_of(
    backbone: PipelineBackbone,
    conditioning: ConditioningCallable,
    terms: Mapping[str, Term],
    tuning: Tuning,
) -> tuple[PersonalizationModule, SubjectBatch]:
    """A module that has made a step on the CPU, and so all that is made once and kept."""
    module = PersonalizationModule(
        backbone, tuning, conditioning, dict(terms), token="sks", class_noun="dog"
    )
    module.configure_model()
    batch = MadeUpBatches(module, 2, SPOKEN, PROMPT).batch(0)
    module.training_step(batch, 0)
    return module, batch


def waits_of_a_step(
    module: PersonalizationModule, batch: SubjectBatch, mixed: bool = False
) -> list[str]:
    """Where the host would wait for CUDA in the forward pass of a step that is not the first."""
    precision = torch.autocast("cuda", torch.bfloat16, enabled=mixed)
    with made_up_cuda() as put, HostWaits() as seen:
        put(module)
        there = put(batch)
        for kept in (module.backbone._fixed_states, getattr(module.backbone, "_outputs", {})):
            kept.update({key: put(value) for key, value in kept.items()})
        for _ in range(2):
            seen.found.clear()
            with precision:
                loss = module.training_step(there, 0)
    assert loss.device == CUDA
    found: list[str] = seen.found
    return found


@pytest.mark.parametrize("method", METHODS)
def test_no_method_waits_in_a_step(method: str, tiny_pipeline: Path) -> None:
    conditioning, terms, tuning = METHODS[method]
    backbone = StableDiffusionBackbone(str(tiny_pipeline))
    assert waits_of_a_step(*module_of(backbone, conditioning, terms, tuning())) == []


# Z-Image's transformer takes texts without their padding, whose length is read.
@pytest.mark.parametrize(
    "family", [f for f in FAMILIES if f.name != "z_image"], ids=lambda family: family.name
)
def test_no_family_waits_in_a_step(family: Family, tmp_path: Path) -> None:
    backbone = family.open(family.save(tmp_path / family.name))
    conditioning = partial(DecoupledFusion, **family.conditioning)
    tuning = LoraTuning(rank=2, **{"text_rank": 2, **family.tuning})
    module, batch = module_of(backbone, conditioning, OF_BASE, tuning)
    assert waits_of_a_step(module, batch, mixed=True) == []


def test_batches_are_sent_ahead(backbone: StableDiffusionBackbone, tmp_path: Path) -> None:
    data = SubjectDataModule(Subject(str(tmp_path), "dog"), backbone)
    _, batch = module_of(backbone, DecoupledFusion, OF_BASE, LoraTuning(rank=2))
    drawings = DrawingBatch(REQUESTS, batch.features, 0.5)
    with made_up_cuda(), HostWaits() as seen:
        there = data.transfer_batch_to_device(batch, CUDA, 0)
        drawn = data.transfer_batch_to_device(drawings, CUDA, 0)
    assert seen.found == []
    assert type(there) is SubjectBatch
    tensors = [leaf for leaf in tree_leaves((there, drawn)) if isinstance(leaf, Tensor)]
    assert len(tensors) > 5
    assert all(tensor.device == CUDA for tensor in tensors)
    assert (there.prompts, there.position, drawn.requests) == (batch.prompts, 0, REQUESTS)


@pytest.fixture
def full_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Autocast does not know the device of what is away."""
    monkeypatch.setattr(torch, "autocast", lambda *args, **options: contextlib.nullcontext())


@pytest.mark.usefixtures("full_precision")
def test_attention_kept_in_the_mask_does_not_wait(tiny_pipeline: Path) -> None:
    backbone = StableDiffusionBackbone(str(tiny_pipeline))
    terms = {"diffusion": Diffusion(), "attention": AttentionInMask(reduction=2)}
    module, batch = module_of(backbone, TextOnly, terms, LoraTuning(rank=2, text_rank=2))
    put_away(module)
    there = tree_map(lambda v: v.to(AWAY) if isinstance(v, Tensor) else v, batch)
    with HostWaits() as seen:
        for _ in range(2):
            seen.found.clear()
            loss = module.training_step(there, 0)
            loss.backward()  # type: ignore[no-untyped-call]
    assert seen.found == []


# Of UniPC diffusers makes tensors on the device in each step; two kinds solve the SDE too.
@pytest.mark.parametrize(
    ("kind", "stochastic"),
    [
        *((kind, False) for kind in SolverKind if kind is not SolverKind.unipc),
        (SolverKind.dpm, True),
        (SolverKind.ddim, True),
    ],
)
@pytest.mark.usefixtures("full_precision")
def test_more_steps_of_a_drawing_are_no_more_waits(
    kind: SolverKind, stochastic: bool, backbone: StableDiffusionBackbone
) -> None:
    counts = []
    put_away(backbone)
    with torch.no_grad():
        for steps in (4, 4, 9):
            sampler = Sampler(steps, guidance=3.0, stochastic=stochastic, solver=kind)
            with HostWaits() as seen:
                text = backbone.encode([request.prompt for request in REQUESTS])
                assert sampler._solved(backbone, text, REQUESTS, AWAY).device == AWAY
            counts.append(len(seen.found))
    assert counts[1] == counts[2], seen.found


def reads_a_number(there: Tensor) -> None:
    float(there.sum())


def asks_whether_all_are(there: Tensor) -> None:
    bool((there > 0).all())


def takes_rows_by_a_list(there: Tensor) -> None:
    there[[0, 1]]


def takes_rows_by_the_hosts_numbers(there: Tensor) -> None:
    there[torch.tensor([0])]


def copies_out_of_memory_that_is_not_pinned(there: Tensor) -> None:
    torch.ones(3).to(there.device, non_blocking=True)


def makes_a_tensor_there(there: Tensor) -> None:
    torch.tensor([1.0, 2.0], device=there.device)


def brings_a_number_there(there: Tensor) -> None:
    torch.tensor(1.0).to(there.device)


def takes_it_home(there: Tensor) -> None:
    there.cpu()


@pytest.mark.parametrize(
    "waiting",
    [
        reads_a_number,
        asks_whether_all_are,
        takes_rows_by_a_list,
        takes_rows_by_the_hosts_numbers,
        copies_out_of_memory_that_is_not_pinned,
        makes_a_tensor_there,
        brings_a_number_there,
        takes_it_home,
    ],
)
def test_a_wait_is_seen(waiting: Callable[[Tensor], None]) -> None:
    # Reads fail there, since there is nothing to read.
    with made_up_cuda() as put, HostWaits() as seen, contextlib.suppress(Exception):
        waiting(put(torch.ones(3, 2)))
    assert len(seen.found) == 1


def test_rows_of_texts_are_taken_without_a_wait() -> None:
    with made_up_cuda() as put, HostWaits() as seen:
        states = TextStates(put(torch.ones(2, 3, 4)), put(torch.ones(2, 3)))
        assert states.rows([1, 0, 1]).states.shape == (3, 3, 4)
    assert seen.found == []


def test_what_is_sent_home_is_waited_for() -> None:
    with made_up_cuda() as put, HostWaits() as seen:
        assert sent(put(torch.ones(3)), torch.device("cpu")).device.type == "cpu"
    assert len(seen.found) == 1


def test_what_is_sent_ahead_is_no_wait() -> None:
    with made_up_cuda() as put, HostWaits() as seen:
        put(torch.ones(3)) + sent(torch.ones(3), CUDA) * torch.tensor(2.0)
    assert seen.found == []
