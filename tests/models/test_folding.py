"""What a tuning adds, laid into copies of the weights while drawings are made."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from peft.tuners.lora.layer import Conv2d, Linear
from torch import Tensor, nn

from idgen.backbones import StableDiffusionBackbone
from idgen.backbones.text import SubjectWords, TextStates
from idgen.models.conditioning import TextOnly
from idgen.models.tuning import CombinedTuning, LoraTuning, TokenTuning, Tuning
from idgen.sampling import DrawingRequest, Sampler

CPU = torch.device("cpu")
WORDS = SubjectWords("<new1>", "dog")
EVERYWHERE = ["to_q", "to_k", "to_v", "to_out.0", "conv1", "conv2"]
REQUESTS = [DrawingRequest("a <new1> dog", "a dog", 0, number, 0) for number in range(2)]


def tuned(source: Path, tuning: Tuning, dtype: str = "float32") -> StableDiffusionBackbone:
    """A backbone with a tuning inside that does something."""
    backbone = StableDiffusionBackbone(str(source), dtype=dtype)  # type: ignore[arg-type]
    for word in tuning.words(WORDS):
        backbone.add_word(word)
    backbone.load()
    torch.manual_seed(0)
    backbone.attach(tuning, WORDS)
    for name, weight in backbone.named_parameters():
        if weight.requires_grad and "lora_B" in name:
            nn.init.normal_(weight, std=0.3)
    # As it draws: peft's layers begin in training mode.
    backbone.eval()
    return backbone


def predicted(backbone: StableDiffusionBackbone) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    noisy = torch.randn(2, *backbone.latent_shape, generator=generator)
    text: TextStates = backbone.encode_text(backbone.tokenize(["a <new1> dog", "the beach"]))
    return backbone.predict(noisy, torch.tensor([10, 500]), text)


@contextmanager
def counted_products(backbone: nn.Module) -> Iterator[list[str]]:
    """The names of the low-rank layers that are called inside."""
    called: list[str] = []
    handles = [
        module.register_forward_hook(lambda *_, name=name: called.append(name))
        for name, module in backbone.named_modules()
        if "lora_A." in name
    ]
    yield called
    for handle in handles:
        handle.remove()


every_tuning = pytest.mark.parametrize(
    "tuning",
    [
        LoraTuning(rank=4, alpha=2.0, targets=EVERYWHERE),
        CombinedTuning([TokenTuning(), LoraTuning(rank=2, text_rank=0)]),
        LoraTuning(rank=2, dora=True, rank_dropout=0.5, targets=EVERYWHERE),
    ],
    ids=["everywhere", "combined", "dora"],
)


@every_tuning
def test_folded_it_predicts_the_same_in_one_product_and_leaves_no_trace(
    tiny_pipeline: Path, tuning: Tuning
) -> None:
    backbone = tuned(tiny_pipeline, tuning)
    before = {name: weight.clone() for name, weight in backbone.named_parameters()}
    flags = {name: weight.requires_grad for name, weight in backbone.named_parameters()}
    plain = predicted(backbone)
    with counted_products(backbone) as called, backbone.folded(), backbone.folded():
        folded = predicted(backbone)
    assert called == []
    torch.testing.assert_close(folded, plain, rtol=1e-4, atol=1e-5)
    # Not near, but the same: nothing is added and taken away again.
    for name, weight in backbone.named_parameters():
        assert torch.equal(weight, before[name]), name
        assert weight.requires_grad == flags[name], name
    assert torch.equal(predicted(backbone), plain)
    with backbone.untuned():
        assert not torch.allclose(predicted(backbone), plain)


@pytest.fixture
def merged(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The layers that LoRA was laid into."""
    layers: list[Any] = []
    for kind in (Linear, Conv2d):
        merge = kind.merge

        def noting(self: Any, *args: Any, merge: Any = merge) -> None:
            layers.append(self)
            merge(self, *args)

        monkeypatch.setattr(kind, "merge", noting)
    return layers


@every_tuning
def test_what_is_kept_is_folded_once_and_leaves_no_trace(
    tiny_pipeline: Path, tuning: Tuning, merged: list[Any]
) -> None:
    backbone = tuned(tiny_pipeline, tuning)
    before = {name: weight.clone() for name, weight in backbone.named_parameters()}
    plain = predicted(backbone)
    drawn = []
    with backbone.keeping_folds():
        for _ in range(3):
            with backbone.folded(), backbone.keeping_folds(), torch.inference_mode():
                drawn.append(predicted(backbone))
            assert torch.equal(predicted(backbone), plain)
    assert len(merged) == len(set(merged)) > 0
    torch.testing.assert_close(drawn[0], plain, rtol=1e-4, atol=1e-5)
    assert torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn[0], drawn[2])
    for name, weight in backbone.named_parameters():
        assert torch.equal(weight, before[name]), name
    once = len(merged)
    with backbone.folded():
        pass
    assert len(merged) == 2 * once, "nothing is kept any more"


def test_what_is_kept_is_not_used_once_the_tuning_has_changed(
    tiny_pipeline: Path, merged: list[Any]
) -> None:
    backbone = tuned(tiny_pipeline, LoraTuning(rank=2))
    weight = next(w for n, w in backbone.named_parameters() if "lora_B" in n)
    with backbone.keeping_folds():
        with backbone.folded():
            first = predicted(backbone)
        # As weights are averaged: the version counter does not tell.
        version = weight._version
        weight.data.copy_(weight.data + 1)
        assert weight._version == version
        with backbone.folded():
            second = predicted(backbone)
    assert not torch.allclose(first, second)
    torch.testing.assert_close(second, predicted(backbone), rtol=1e-4, atol=1e-4)
    assert len(merged) == 2 * len(set(merged))


def test_training_goes_on_as_if_nothing_had_been_drawn(tiny_pipeline: Path) -> None:
    def trained(draws: bool) -> Sequence[Tensor]:
        backbone = tuned(tiny_pipeline, LoraTuning(rank=2))
        weights = [weight for weight in backbone.parameters() if weight.requires_grad]
        optimizer = torch.optim.AdamW(weights, lr=1e-2)
        for _ in range(3):
            if draws:
                # As Lightning draws.
                with torch.inference_mode(), backbone.keeping_folds():
                    Sampler(2).draw(backbone, TextOnly(backbone.features), REQUESTS, CPU)
            optimizer.zero_grad()
            torch.autograd.backward(predicted(backbone).square().mean())
            optimizer.step()
        return weights

    for with_drawings, without in zip(trained(True), trained(False), strict=True):
        assert torch.equal(with_drawings, without)


def test_what_fails_while_it_is_folded_leaves_the_weights_as_they_were(
    tiny_pipeline: Path,
) -> None:
    # With dropout, small layers too go as three products in training.
    backbone = tuned(tiny_pipeline, LoraTuning(dropout=0.1))
    plain = predicted(backbone)
    with pytest.raises(KeyboardInterrupt), backbone.folded():
        raise KeyboardInterrupt
    assert torch.equal(predicted(backbone), plain)
    with counted_products(backbone) as called:
        predicted(backbone)
    assert called
    with backbone.folded(), pytest.raises(RuntimeError, match="folded"), backbone.untuned():
        pass
    with backbone.untuned():
        frozen = predicted(backbone)
        with backbone.folded():
            assert torch.equal(predicted(backbone), frozen)


def test_drawings_are_folded_and_the_same_to_a_level(
    tiny_pipeline: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backbone = tuned(tiny_pipeline, LoraTuning(rank=4, dropout=0.1))
    sampler, method = Sampler(4, stochastic=True), TextOnly(backbone.features)
    with counted_products(backbone) as called:
        folded = sampler.draw(backbone, method, REQUESTS, CPU).images
    assert called == []
    monkeypatch.setattr(LoraTuning, "folded", Tuning.folded)
    with counted_products(backbone) as called:
        plain = sampler.draw(backbone, method, REQUESTS, CPU).images
    assert called
    assert (folded.int() - plain.int()).abs().max() <= 1


def test_autocast_does_not_round_what_is_folded(tiny_pipeline: Path) -> None:
    backbone = tuned(tiny_pipeline, LoraTuning(rank=4))
    layer = next(m for n, m in backbone.named_modules() if n.endswith("to_q.base_layer"))
    assert isinstance(layer, nn.Linear)
    with backbone.folded():
        exact = layer.weight.clone()
    with torch.autocast("cpu", torch.bfloat16), torch.inference_mode(), backbone.folded():
        assert torch.equal(layer.weight, exact)


def test_directions_are_left_out_in_training_alone_and_the_mean_stays(tiny_pipeline: Path) -> None:
    backbone = tuned(tiny_pipeline, LoraTuning(rank=8, rank_dropout=0.25, targets=EVERYWHERE))
    assert torch.equal(predicted(backbone), predicted(backbone))
    for name, layer in backbone.named_modules():
        if not name.endswith(("to_q.lora_A.default", "conv1.lora_A.default")):
            continue
        inputs = 1 if isinstance(layer, nn.Conv2d) else None
        places = (layer.weight.shape[1], 4, 4) if inputs else (4, layer.weight.shape[1])
        rows = torch.randn(1, *places).expand(400, *places)
        whole = layer.eval()(rows)
        dropped = layer.train()(rows)
        layer.eval()
        axis = 1 if inputs else 2
        others = [number for number in range(1, whole.ndim) if number != axis]
        ratio = (dropped / whole).amax(dim=others)
        # Each direction of each row is there as a whole, larger by 1 / (1 - 0.25), or not at all.
        kept = ratio > 0.5
        torch.testing.assert_close(ratio[kept], torch.full_like(ratio[kept], 4 / 3))
        assert ratio[~kept].abs().max() == 0
        assert kept.float().mean() == pytest.approx(0.75, abs=0.04)
        assert kept.float().mean(dim=0).min() > 0.6
