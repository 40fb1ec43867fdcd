"""Frozen text encoders go before training, and nothing that is read of prompts changes by it."""

import copy
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from idgen.backbones import StableDiffusionBackbone, SubjectWords, TextStates
from idgen.backbones.parts import PipelineFolder
from idgen.backbones.pipeline import PipelineBackbone
from idgen.data.batch import DrawingBatch
from idgen.models.conditioning import TextOnly
from idgen.models.tuning import LoraTuning, TokenTuning, Tuning
from idgen.module import PersonalizationModule
from idgen.sampling import DrawingRequest, Sampler
from idgen.terms import Diffusion, Term
from tests.backbones.tiny_families import FAMILIES, Family
from tests.backbones.tiny_flow import TinyFlowBackbone

every = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
KNOWN = ("a photo of a sks dog", "", "a sks dog on the beach")
OTHER = "a dog in the snow"
CPU = torch.device("cpu")
WORDS = SubjectWords("sks", "dog")
# Of each family with several text encoders, those that are trained beside a frozen one.
SOME = {"sdxl": [0], "sd35_medium": [0, 1], "flux1_dev": [0]}
some = pytest.mark.parametrize(
    "family", [f for f in FAMILIES if f.name in SOME], ids=lambda family: family.name
)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A pipeline folder of each family; not to be changed."""
    made = tmp_path_factory.mktemp("families")
    return {family.name: family.save(made / family.name) for family in FAMILIES}


def opened(family: Family, folder: Path, tuning: Tuning) -> PipelineBackbone:
    """With what is trained in it moved away from where it starts."""
    backbone = family.open(folder)
    backbone.load()
    torch.manual_seed(0)
    backbone.attach(tuning, WORDS)
    with torch.no_grad():
        for weight in backbone.parameters():
            if weight.requires_grad:
                weight.add_(0.02 * torch.randn_like(weight))
    return backbone


def lora(family: Family, **settings: Any) -> LoraTuning:
    return LoraTuning(rank=2, **{**family.tuning, **settings})


@contextmanager
def loads() -> Iterator[list[str]]:
    """Notes which networks are loaded."""
    noted: list[str] = []
    load = PipelineFolder.load

    def noting(self: PipelineFolder, part: str, *given: Any) -> Any:
        noted.append(part)
        return load(self, part, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PipelineFolder, "load", noting)
        yield noted


def assert_same(found: TextStates, expected: TextStates) -> None:
    for ours, theirs in zip(found, expected, strict=True):
        if ours is None or theirs is None:
            assert ours is theirs
        else:
            assert torch.equal(ours, theirs)


@every
def test_frozen_text_encoders_are_freed_and_their_states_kept(
    family: Family, folders: dict[str, Path]
) -> None:
    tuning = {"text_rank": 0, "text_encoders": None}
    whole, freed = (opened(family, folders[family.name], lora(family, **tuning)) for _ in range(2))
    weights = [weakref.ref(w) for encoder in freed.text_encoders for w in encoder.parameters()]
    held = {name for name, _ in freed.named_parameters()}
    freed.keep_texts(KNOWN, CPU)
    assert weights
    assert not any(weight() is not None for weight in weights)
    assert {name.split(".")[0] for name, _ in freed.named_parameters()} == {freed.denoiser_part}
    assert {n for n in held if n.startswith(freed.denoiser_part)} == dict(
        freed.named_parameters()
    ).keys()
    with loads() as loaded:
        assert_same(freed.encode(KNOWN), whole.encode(KNOWN))
        assert_same(freed.encode_negative(""), whole.encode_negative(""))
        with freed.untuned(), whole.untuned():
            assert_same(freed.encode(KNOWN[:1]), whole.encode(KNOWN[:1]))
    assert not loaded
    with pytest.raises(RuntimeError, match="text_encoder was let go of"):
        _ = freed.text_encoders


@every
def test_other_prompts_have_them_loaded_again_once(
    family: Family, folders: dict[str, Path]
) -> None:
    tuning = {"text_rank": 0, "text_encoders": None}
    whole, freed = (opened(family, folders[family.name], lora(family, **tuning)) for _ in range(2))
    freed.keep_texts(KNOWN, CPU)
    random = torch.get_rng_state()
    with loads() as loaded, freed.text_side():
        for prompt in (OTHER, "the snow", OTHER):
            assert_same(freed.encode([prompt, *KNOWN]), whole.encode([prompt, *KNOWN]))
    assert sorted(loaded) == sorted(freed.text_parts)
    assert torch.equal(torch.get_rng_state(), random)
    assert {name.split(".")[0] for name, _ in freed.named_parameters()} == {freed.denoiser_part}
    with loads() as loaded:
        assert_same(freed.encode(["the beach"]), whole.encode(["the beach"]))
    assert sorted(loaded) == sorted(freed.text_parts)
    assert not freed._again


@some
def test_a_frozen_encoder_beside_trained_ones_is_freed(
    family: Family, folders: dict[str, Path]
) -> None:
    trained = SOME[family.name]
    whole, freed = (
        opened(family, folders[family.name], lora(family, text_encoders=trained)) for _ in range(2)
    )
    parts = freed.text_parts
    frozen = [part for number, part in enumerate(parts) if number not in trained]
    weights = [weakref.ref(w) for part in frozen for w in freed.get_submodule(part).parameters()]
    freed.keep_texts(KNOWN, CPU)
    assert weights
    assert not any(weight() is not None for weight in weights)
    assert list(freed.tuned_text_encoders) == list(whole.tuned_text_encoders) == trained
    with loads() as loaded:
        gradients = [gradients_of(backbone) for backbone in (freed, whole)]
        with freed.untuned(), whole.untuned():
            assert_same(freed.encode(KNOWN), whole.encode(KNOWN))
    assert not loaded
    assert gradients[0].keys() == gradients[1].keys()
    assert all(torch.equal(value, gradients[1][name]) for name, value in gradients[0].items())
    with loads() as loaded:
        assert_same(freed.encode([OTHER]), whole.encode([OTHER]))
    assert loaded == frozen


def gradients_of(backbone: PipelineBackbone) -> dict[str, Tensor]:
    """Of what is trained on the text side, through the states of one prompt."""
    text = backbone.encode(KNOWN[:1])
    total = text.states.square().sum()
    if text.pooled is not None:
        total = total + text.pooled.square().sum()
    total.backward()  # type: ignore[no-untyped-call]
    named = backbone.named_parameters()
    found = {name: weight.grad for name, weight in named if weight.grad is not None}
    assert any(gradient.any() for gradient in found.values())
    return found


@every
def test_encoders_with_a_trained_word_stay(family: Family, folders: dict[str, Path]) -> None:
    backbone = opened(family, folders[family.name], TokenTuning())
    backbone.keep_texts(KNOWN, CPU)
    assert len(backbone.text_encoders) == len(backbone.text_parts)


def test_a_family_that_encodes_with_all_at_once_frees_all_or_none(tmp_path: Path) -> None:
    [flux] = [family for family in FAMILIES if family.name == "flux1_dev"]
    backbone = flux.open(flux.save(tmp_path / "flux"))

    class Own(type(backbone)):  # type: ignore[misc]
        def encode_text(self, tokens: Any) -> TextStates:
            states: TextStates = super().encode_text(tokens)
            return states

    backbone.__class__ = Own
    assert backbone.frozen_texts(["text_encoder.layer"], True) == ()
    assert backbone.frozen_texts(["transformer.layer"], False) == backbone.text_parts
    assert backbone.frozen_texts(["transformer.layer"], True) == ()


def test_copies_share_what_was_kept(tiny_pipeline: Path) -> None:
    backbone = StableDiffusionBackbone(str(tiny_pipeline))
    backbone.load()
    backbone.keep_texts(KNOWN, CPU)
    copied = copy.deepcopy(backbone)
    assert copied._fixed_states is backbone._fixed_states
    assert copied.encode(KNOWN[:1]).states.any()
    assert not copied.unloaded()._fixed_states


def test_a_backbone_that_can_load_none_again_keeps_them() -> None:
    backbone = TinyFlowBackbone()
    backbone.load()
    with backbone.text_side():
        backbone.keep_texts(KNOWN, CPU)
    assert len(backbone.text_encoders) == 2


def test_a_test_after_training_loads_them_once_for_all_its_drawings(tiny_pipeline: Path) -> None:
    backbone, sampler = StableDiffusionBackbone(str(tiny_pipeline)), Sampler(2)
    terms: dict[str, Term | None] = {"diffusion": Diffusion()}
    lora = LoraTuning(rank=2, text_rank=0)
    module = PersonalizationModule(backbone, lora, TextOnly, terms, sampler=sampler)
    module.configure_model()
    requests = [DrawingRequest(prompt, prompt, 0, 0, 0) for prompt in (OTHER, "a dog", "the snow")]
    batches = [DrawingBatch([request], None, 0.0) for request in requests]
    expected = [module.test_step(batch, 0).images for batch in batches]
    backbone._fixed_states.clear()
    backbone.keep_texts(KNOWN, CPU)
    with loads() as loaded:
        module.on_test_start()
        drawn = [module.test_step(batch, 0).images for batch in batches]
        module.on_test_end()
    assert sorted(loaded) == ["text_encoder", "vae"]
    assert not backbone._again
    assert all(torch.equal(*pair) for pair in zip(drawn, expected, strict=True))


def test_a_drawing_that_fails_leaves_none_of_them_loaded(
    tiny_pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone, lora = StableDiffusionBackbone(str(tiny_pipeline)), LoraTuning(rank=2, text_rank=0)
    terms: dict[str, Term | None] = {"diffusion": Diffusion()}
    module = PersonalizationModule(backbone, lora, TextOnly, terms, sampler=Sampler(2))
    module.configure_model()
    backbone.keep_texts(KNOWN, CPU)

    def stopped(*given: Any) -> Tensor:
        assert backbone._again
        raise KeyboardInterrupt

    monkeypatch.setattr(Sampler, "_solved", stopped)
    module.on_test_start()
    with pytest.raises(KeyboardInterrupt):
        module.test_step(DrawingBatch([DrawingRequest(OTHER, OTHER, 0, 0, 0)], None, 0.0), 0)
    assert not backbone._again
    assert not backbone._autoencoders
    with loads() as loaded:
        backbone.encode(["the beach"])
    assert loaded == ["text_encoder"]
    assert not backbone._again
