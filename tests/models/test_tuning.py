from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from diffusers import UNet2DConditionModel

from idgen.backbones import StableDiffusionBackbone
from idgen.backbones.backbone import FeatureSpace
from idgen.backbones.text import SubjectWords, TextStates
from idgen.errors import UserError
from idgen.models.conditioning import DecoupledFusion, FusedFeature, TextOnly
from idgen.models.tuning import (
    ATTENTION,
    CombinedTuning,
    LayerTuning,
    LoraTuning,
    TokenTuning,
    Tuning,
)
from idgen.sampling import DrawingRequest, Sampler

CONFIGS = Path(__file__).parents[2] / "configs"
WORDS = SubjectWords("sks", "dog")
NEW = SubjectWords("<new1>", "dog")


def trained(module: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    return {name: p for name, p in module.named_parameters() if p.requires_grad}


def sd21_unet() -> UNet2DConditionModel:
    """The U-Net of Stable Diffusion 2.1 by its shapes, without weights."""
    with torch.device("meta"):
        return UNet2DConditionModel(
            sample_size=64,
            block_out_channels=(320, 640, 1280, 1280),
            cross_attention_dim=1024,
            attention_head_dim=[5, 10, 20, 20],
            use_linear_projection=True,
        ).requires_grad_(False)


def test_it_has_disenbooths_size_at_sd21s_shapes() -> None:
    """DisenBooth reports 829,952 LoRA parameters at rank 4 on the attention of SD 2.1's U-Net."""
    unet = sd21_unet()
    LoraTuning(rank=4).inject(unet, 4, ATTENTION, "targets")
    assert sum(p.numel() for p in trained(unet).values()) == 829_952


def test_the_disenbooth_config_trains_what_disenbooth_reports() -> None:
    model = yaml.safe_load((CONFIGS / "method" / "disenbooth.yaml").read_text())["model"]
    tuning = LoraTuning(rank=4, **model["tuning"]["init_args"])
    assert not tuning.trains_text
    unet = sd21_unet()
    tuning.inject(unet, 4, ATTENTION, "targets")
    settings = model["conditioning"]["init_args"]
    fused = {"fused": FusedFeature(settings["fused"])}
    conditioning = DecoupledFusion(FeatureSpace(1024, 1024), **settings | fused)
    ours = [*trained(unet).values(), *conditioning.parameters()]
    assert sum(p.numel() for p in ours) == 829_952 + 2_100_224


def test_a_checkpoint_is_under_five_percent_of_sd21() -> None:
    unet = sd21_unet()
    frozen = sum(p.numel() for p in unet.parameters())
    LoraTuning(rank=4).inject(unet, 4, ATTENTION, "targets")
    conditioning = DecoupledFusion(FeatureSpace(1024, 1024))
    ours = [*trained(unet).values(), *conditioning.parameters()]
    with_adam = 3 * sum(p.numel() for p in ours)
    assert with_adam < 0.05 * frozen


def test_nothing_changes_at_the_start_and_frozen_weights_stay(
    tiny_pipeline: Path, backbone: StableDiffusionBackbone
) -> None:
    torch.manual_seed(0)
    noisy, times = torch.randn(2, 4, 8, 8), torch.tensor([10, 500])
    tokens = backbone.tokenize(["a sks dog", "the beach"])
    before = backbone.predict(noisy, times, backbone.encode_text(tokens))
    frozen = {name: p.clone() for name, p in backbone.denoiser.named_parameters()}
    LoraTuning(rank=4).attach(backbone, WORDS)
    after = backbone.predict(noisy, times, backbone.encode_text(tokens))
    torch.testing.assert_close(before, after)
    parameters = trained(backbone)
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        loss = backbone.predict(noisy, times, backbone.encode_text(tokens)).sum()
        torch.autograd.backward(loss)
        optimizer.step()
    for name, parameter in backbone.denoiser.named_parameters():
        base = name.replace(".base_layer", "")
        if "lora" not in name:
            assert torch.equal(parameter, frozen[base]), name
    assert all("lora" in name for name in parameters)
    assert any("text_encoder" in name for name in parameters)


def test_a_frozen_text_encoder_gets_nothing(backbone: StableDiffusionBackbone) -> None:
    tuning = LoraTuning(text_rank=0)
    tuning.attach(backbone, WORDS)
    assert not tuning.trains_text
    assert not trained(backbone.text_encoders[0])


def test_lora_is_float32_on_a_half_precision_base(tiny_pipeline: Path) -> None:
    backbone = StableDiffusionBackbone(str(tiny_pipeline), dtype="bfloat16")
    backbone.load()
    LoraTuning().attach(backbone, WORDS)
    dtypes = {name: p.dtype for name, p in backbone.named_parameters()}
    assert {d for n, d in dtypes.items() if "lora" in n} == {torch.float32}
    assert {d for n, d in dtypes.items() if "lora" not in n} == {torch.bfloat16}


def test_a_target_that_fits_no_layer_is_named(backbone: StableDiffusionBackbone) -> None:
    with pytest.raises(UserError, match="to_qq"):
        LoraTuning(targets=["to_q", "to_qq"]).attach(backbone, WORDS)


def test_an_untrained_token_draws_what_the_class_noun_draws(
    backbone: StableDiffusionBackbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    noise = torch.randn(backbone.latent_shape)
    monkeypatch.setattr("idgen.sampling.drawing_noise", lambda *_: noise)
    TokenTuning().attach(backbone, NEW)

    def draw(prompt: str) -> torch.Tensor:
        request = DrawingRequest(prompt, prompt, 0, 0, 0)
        method = TextOnly(backbone.features)
        return Sampler(2).draw(backbone, method, [request], torch.device("cpu")).images

    assert torch.equal(draw("a <new1> dog in the snow"), draw("a dog dog in the snow"))
    (vector,) = trained(backbone).values()
    torch.nn.init.normal_(vector)
    assert not torch.equal(draw("a <new1> dog in the snow"), draw("a dog dog in the snow"))


def test_a_new_token_is_the_only_weight_and_other_prompts_stay(
    backbone: StableDiffusionBackbone,
) -> None:
    before = backbone.encode_text(backbone.tokenize(["a sks dog on the beach"])).states
    known = len(backbone.tokenizers[0])
    tuning = TokenTuning()
    tuning.attach(backbone, NEW)
    assert tuning.trains_text
    assert backbone.word_ids("<new1>") == [known]
    ((name, vector),) = trained(backbone).items()
    assert name.endswith("token_embedding.vector")
    assert vector.shape == (backbone.features.width,)
    states = backbone.encode_text(backbone.tokenize(["a <new1> dog"])).states
    torch.autograd.backward(states.sum())
    assert vector.grad is not None
    assert vector.grad.abs().sum() > 0
    torch.nn.init.normal_(vector)
    after = backbone.encode_text(backbone.tokenize(["a sks dog on the beach"])).states
    torch.testing.assert_close(before, after)


def test_of_a_word_of_the_vocabulary_a_copy_is_trained(backbone: StableDiffusionBackbone) -> None:
    known = len(backbone.tokenizers[0])
    TokenTuning(initializer="beach").attach(backbone, WORDS)
    assert len(backbone.tokenizers[0]) == known
    texts = backbone.tokenize(["a sks dog", "a beach dog"])
    first, second = backbone.encode_text(texts).states
    torch.testing.assert_close(first, second)


def test_a_noun_of_several_tokens_gives_their_mean(backbone: StableDiffusionBackbone) -> None:
    encoder: Any = backbone.text_encoders[0]
    table = encoder.get_input_embeddings().weight
    rows = [table[backbone.word_ids(word)[0]] for word in ("beach", "dog")]
    TokenTuning().attach(backbone, SubjectWords("<new1>", "beach dog"))
    (vector,) = trained(backbone).values()
    torch.testing.assert_close(vector.data, (rows[0] + rows[1]) / 2)


@pytest.mark.parametrize("token", ["", "two words", " "])
def test_a_token_that_is_no_word_is_refused(backbone: StableDiffusionBackbone, token: str) -> None:
    with pytest.raises(UserError, match="token"):
        TokenTuning().attach(backbone, SubjectWords(token, "dog"))


def test_a_token_without_a_word_to_start_as_is_refused(backbone: StableDiffusionBackbone) -> None:
    with pytest.raises(UserError, match="initializer"):
        TokenTuning().attach(backbone, SubjectWords("<new1>", ""))


def test_layers_are_trained_in_full(backbone: StableDiffusionBackbone) -> None:
    layers = {
        f"unet.{name}.weight"
        for name, _ in backbone.denoiser.named_modules()
        if name.endswith(("attn2.to_k", "attn2.to_v"))
    }
    assert layers
    tuning = LayerTuning()
    tuning.attach(backbone, WORDS)
    assert not tuning.trains_text
    assert trained(backbone).keys() == layers


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_tuned_layers_are_float32_and_change_nothing_at_the_start(
    tiny_pipeline: Path, dtype: str
) -> None:
    backbone = StableDiffusionBackbone(str(tiny_pipeline), dtype=dtype)  # type: ignore[arg-type]
    backbone.load()
    torch.manual_seed(0)
    noisy, times = torch.randn(1, 4, 8, 8), torch.tensor([10])
    condition = TextStates(torch.randn(1, 3, 32), torch.ones(1, 3, dtype=torch.bool))
    before = backbone.predict(noisy, times, condition)
    LayerTuning().attach(backbone, WORDS)
    assert {p.dtype for p in trained(backbone).values()} == {torch.float32}
    tolerance = 1e-6 if dtype == "float32" else 0.05
    after = backbone.predict(noisy, times, condition)
    torch.testing.assert_close(after, before, rtol=tolerance, atol=tolerance)


def test_tunings_combine_in_any_order(tiny_pipeline: Path) -> None:
    parts = [LayerTuning(["conv1"]), TokenTuning(), LoraTuning(rank=2)]
    found = []
    for order in (parts, parts[::-1]):
        backbone = StableDiffusionBackbone(str(tiny_pipeline))
        backbone.load()
        tuning = CombinedTuning(order)
        tuning.attach(backbone, NEW)
        assert tuning.trains_text
        found.append(set(trained(backbone)))
    assert found[0] == found[1]
    for kind in ("lora_A", "conv1.weight", "token_embedding.vector"):
        assert any(kind in name for name in found[0])
    assert CombinedTuning(parts).name == "LayerTuning + TokenTuning + LoraTuning"


def test_no_tuning_at_all_is_refused() -> None:
    with pytest.raises(UserError, match="parts"):
        CombinedTuning([])


def test_a_layer_cannot_be_tuned_twice(backbone: StableDiffusionBackbone) -> None:
    with pytest.raises(UserError, match=r"attn2\.to_k"):
        CombinedTuning([LoraTuning(), LayerTuning()]).attach(backbone, WORDS)


@pytest.mark.parametrize(
    ("parts", "named"),
    [
        ([LayerTuning(["to_q"]), LoraTuning()], "to_q"),
        ([LoraTuning(), LoraTuning()], "to_q"),
        ([TokenTuning(), TokenTuning()], "two TokenTunings"),
    ],
)
def test_what_another_part_trains_is_refused(
    backbone: StableDiffusionBackbone, parts: list[Tuning], named: str
) -> None:
    with pytest.raises(UserError, match=named):
        CombinedTuning(parts).attach(backbone, NEW)


def test_what_is_declared_without_weights_is_what_is_attached(tiny_pipeline: Path) -> None:
    tuning = CombinedTuning([TokenTuning(), LoraTuning(rank=2)])
    backbone = StableDiffusionBackbone(str(tiny_pipeline))
    declared = tuning.declare(backbone, NEW)
    assert not list(backbone.parameters())
    assert tuning.words(NEW) == ("<new1>",)
    backbone.load()
    tuning.attach(backbone, NEW)
    assert declared == {name: weight.shape for name, weight in trained(backbone).items()}


def test_a_target_that_fits_no_layer_is_named_without_weights(tiny_pipeline: Path) -> None:
    backbone = StableDiffusionBackbone(str(tiny_pipeline))
    with pytest.raises(UserError, match="to_qq"):
        LoraTuning(targets=["to_q", "to_qq"]).declare(backbone, WORDS)


@pytest.mark.parametrize(
    ("tuning", "words"),
    [
        (LoraTuning(), WORDS),
        (TokenTuning("dog"), NEW),
        (CombinedTuning([LoraTuning(), TokenTuning("dog")]), NEW),
    ],
)
def test_off_gives_the_frozen_backbone_back_and_then_the_trained_one(
    tiny_pipeline: Path, tuning: Tuning, words: SubjectWords
) -> None:
    backbone = StableDiffusionBackbone(str(tiny_pipeline))
    backbone.load()
    latents, times = torch.randn(1, *backbone.latent_shape), torch.tensor([300])

    def predicted(prompt: str) -> torch.Tensor:
        with torch.no_grad():
            text = backbone.encode_text(backbone.tokenize([prompt]))
            return backbone.predict(latents, times, text)

    before = predicted("a photo of a dog")
    assert tuning.can_be_off
    tuning.attach(backbone, words)
    for parameter in trained(backbone).values():
        torch.nn.init.normal_(parameter, std=0.5)
    next(iter(trained(backbone).values())).requires_grad_(False)
    names, after = set(trained(backbone)), predicted(f"a photo of a {words.token} dog")
    with tuning.off(backbone):
        torch.testing.assert_close(predicted("a photo of a dog"), before, rtol=0, atol=0)
    with pytest.raises(KeyError), tuning.off(backbone):
        raise KeyError("stopped in between")
    assert set(trained(backbone)) == names
    torch.testing.assert_close(predicted(f"a photo of a {words.token} dog"), after, rtol=0, atol=0)
    assert not torch.equal(after, before)


def test_trained_layers_cannot_be_off(backbone: StableDiffusionBackbone) -> None:
    for tuning in (LayerTuning(), CombinedTuning([TokenTuning("dog"), LayerTuning()])):
        assert not tuning.can_be_off
    with pytest.raises(NotImplementedError, match="LayerTuning overwrites"):
        LayerTuning().off(backbone)
