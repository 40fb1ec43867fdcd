from pathlib import Path

import pytest
import torch
from diffusers import UNet2DConditionModel

from idgen.errors import UserError
from idgen.models.conditioning import DecoupledFusion
from idgen.models.stable_diffusion import StableDiffusionBackbone
from idgen.models.tuning import ATTENTION, LoraTuning


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


def test_a_checkpoint_is_under_five_percent_of_sd21() -> None:
    unet = sd21_unet()
    frozen = sum(p.numel() for p in unet.parameters())
    LoraTuning(rank=4).inject(unet, 4, ATTENTION, "targets")
    conditioning = DecoupledFusion(1024)
    ours = [*trained(unet).values(), *conditioning.parameters()]
    with_adam = 3 * sum(p.numel() for p in ours)
    assert with_adam < 0.05 * frozen


def test_nothing_changes_at_the_start_and_frozen_weights_stay(
    tiny_pipeline: Path, backbone: StableDiffusionBackbone
) -> None:
    torch.manual_seed(0)
    noisy, times = torch.randn(2, 4, 8, 8), torch.tensor([10, 500])
    tokens = backbone.tokenize(["a sks dog", "the beach"])
    before = backbone.predict(noisy, times, backbone.encode_text(tokens).states)
    frozen = {name: p.clone() for name, p in backbone.denoiser.named_parameters()}
    LoraTuning(rank=4).attach(backbone, WORDS)
    states = backbone.encode_text(tokens).states
    after = backbone.predict(noisy, times, states)
    torch.testing.assert_close(before, after)
    parameters = trained(backbone)
    optimizer = torch.optim.AdamW(parameters.values(), lr=0.1)
    for _ in range(2):
        optimizer.zero_grad()
        loss = backbone.predict(noisy, times, backbone.encode_text(tokens).states).sum()
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
