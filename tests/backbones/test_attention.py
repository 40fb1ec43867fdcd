"""Maps of cross-attention against those that diffusers computes itself."""

from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.models.attention_processor import Attention, AttnProcessor
from torch import Tensor, nn

from idgen.backbones import StableDiffusionBackbone, SubjectWords, TextStates
from idgen.models.tuning import LoraTuning
from tests.backbones.tiny_flow import TinyFlowBackbone

PROMPTS = ("a photo of a sks dog", "a photo of a dog", "sks on the beach")


class Keeping(AttnProcessor):  # type: ignore[misc]
    """Computes attention step by step, and keeps the probabilities of cross-attention."""

    def __init__(self) -> None:
        super().__init__()
        self.kept: list[Tensor] = []

    def __call__(self, attn: Any, hidden_states: Tensor, *others: Any, **named: Any) -> Any:
        text = named["encoder_hidden_states"]
        if text is not None:
            query, key = attn.to_q(hidden_states), attn.to_k(text)
            heads = (attn.head_to_batch_dim(part) for part in (query, key))
            scores = attn.get_attention_scores(*heads)
            self.kept.append(scores.unflatten(0, (len(text), attn.heads)).mean(dim=1))
        return super().__call__(attn, hidden_states, *others, **named)


def tuned(source: str, **settings: Any) -> StableDiffusionBackbone:
    backbone = StableDiffusionBackbone(source, **settings)
    backbone.load()
    backbone.attach(LoraTuning(), SubjectWords("sks", "dog"))
    torch.manual_seed(0)
    for weight in backbone.parameters():
        if weight.requires_grad:
            nn.init.normal_(weight, std=0.3)
    return backbone


def inputs(backbone: StableDiffusionBackbone) -> tuple[Tensor, Tensor, TextStates, Tensor]:
    torch.manual_seed(1)
    noisy, times = torch.randn(3, *backbone.latent_shape), torch.tensor([3, 400, 900])
    return noisy, times, backbone.encode(PROMPTS), backbone.word_places(PROMPTS, "sks")


def test_a_word_is_found_where_its_token_is(backbone: StableDiffusionBackbone) -> None:
    places, ids = backbone.word_places(PROMPTS, "sks"), backbone.tokenize(PROMPTS).ids[0]
    assert places.sum(dim=1).tolist() == [1, 0, 1]
    assert set(ids[places].tolist()) == set(backbone.word_ids("sks"))


@torch.no_grad()
def test_maps_are_the_mean_over_heads_and_layers_of_a_size(tiny_pipeline: Path) -> None:
    backbone = tuned(str(tiny_pipeline))
    noisy, times, text, places = inputs(backbone)
    prediction, maps = backbone.predict_attending(noisy, times, text, places, [2])
    assert torch.equal(prediction, backbone.predict(noisy, times, text))
    keeping, unet = Keeping(), backbone.get_submodule("unet")
    unet.set_attn_processor(keeping)  # type: ignore[operator]
    backbone.predict(noisy, times, text)
    alike = [scores for scores in keeping.kept if scores.shape[1] == 4 * 4]
    assert len(alike) > 1
    expected = torch.stack(alike).mean(dim=0)
    for row in range(3):
        columns = expected[row, :, places[row]].sum(dim=-1).view(4, 4)
        torch.testing.assert_close(maps[2][row], columns)
    assert maps[2][1].eq(0).all()  # no token of the prompt is meant


def test_gradients_are_the_same_with_layers_that_run_again(tiny_pipeline: Path) -> None:
    found = []
    for checkpointing in (False, True):
        backbone = tuned(str(tiny_pipeline), gradient_checkpointing=checkpointing)
        backbone.denoiser.train()
        _, maps = backbone.predict_attending(*inputs(backbone), [2])
        maps[2].square().sum().backward()  # type: ignore[no-untyped-call]
        gradients = {n: w.grad for n, w in backbone.named_parameters() if w.grad is not None}
        found.append(gradients)
    assert found[0].keys() == found[1].keys()
    assert any("attn2.to_k" in name for name in found[0])
    assert any(name.startswith("text_encoder") for name in found[0])
    for name, gradient in found[0].items():
        torch.testing.assert_close(found[1][name], gradient)


def test_nothing_stays_on_the_layers(backbone: StableDiffusionBackbone) -> None:
    with pytest.raises(ValueError, match="no layer of cross-attention has maps of 3 x 3"):
        backbone.predict_attending(*inputs(backbone), [3])
    layers = [part for part in backbone.denoiser.modules() if isinstance(part, Attention)]
    assert layers
    assert not any(part._forward_hooks for layer in layers for part in layer.modules())


def test_reductions_are_read_from_the_configuration(backbone: StableDiffusionBackbone) -> None:
    assert backbone.attention_reductions == (2,)
    assert StableDiffusionBackbone().attention_reductions == (2, 4)
    other = TinyFlowBackbone()
    assert other.attention_reductions == ()
    with pytest.raises(NotImplementedError, match="TinyFlowBackbone gives no maps"):
        other.predict_attending(*inputs(backbone), [2])
