import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline

from idgen.backbones import StableDiffusionBackbone
from idgen.errors import UserError
from idgen.models.conditioning import DecoupledFusion
from idgen.processes import Prediction, VariancePreserving
from idgen.sampling import DrawingRequest, Sampler, drawing_noise


def test_the_prediction_target_is_read_from_the_scheduler(
    tiny_pipeline: Path, tiny_v_pipeline: Path
) -> None:
    epsilon = StableDiffusionBackbone(str(tiny_pipeline)).process
    assert isinstance(epsilon, VariancePreserving)
    assert epsilon.prediction is Prediction.epsilon
    v = StableDiffusionBackbone(str(tiny_v_pipeline)).process
    assert isinstance(v, VariancePreserving)
    assert v.prediction is Prediction.v_prediction


def test_an_unknown_prediction_target_is_refused(tiny_pipeline: Path, tmp_path: Path) -> None:
    folder = tmp_path / "pipeline"
    shutil.copytree(tiny_pipeline, folder)
    path = folder / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "prediction_type": "velocity"}))
    with pytest.raises(UserError, match="velocity"):
        StableDiffusionBackbone(str(folder))


def test_it_encodes_and_predicts_what_the_pipeline_does(
    tiny_pipeline: Path, backbone: StableDiffusionBackbone
) -> None:
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_pipeline)
    prompts = ["a sks dog on the beach", "a photo of the snow"]
    ours = backbone.encode_text(backbone.tokenize(prompts))
    theirs, _ = pipeline.encode_prompt(prompts, torch.device("cpu"), 1, False)
    torch.testing.assert_close(ours.states, theirs)
    noisy, times = torch.randn(2, 4, 8, 8), torch.tensor([3, 700])
    expected = pipeline.unet(noisy, times, encoder_hidden_states=theirs).sample
    torch.testing.assert_close(backbone.predict(noisy, times, ours), expected)


@pytest.mark.parametrize(("guidance", "stochastic"), [(1.0, False), (4.0, False), (4.0, True)])
def test_the_sampler_draws_what_the_pipeline_draws(
    tiny_v_pipeline: Path, guidance: float, stochastic: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same solver, noise and guidance give the diffusers pipeline's pixels."""
    from diffusers import DPMSolverMultistepScheduler
    from diffusers.schedulers import scheduling_dpmsolver_multistep

    backbone = StableDiffusionBackbone(str(tiny_v_pipeline))
    backbone.load()
    requests = [DrawingRequest("a sks dog", "a dog", 0, number, 0) for number in range(2)]
    drawn = Sampler(steps=4, guidance=guidance, stochastic=stochastic).draw(
        backbone, DecoupledFusion(backbone.features), requests, torch.device("cpu")
    )
    pipeline = StableDiffusionPipeline.from_pretrained(tiny_v_pipeline)
    pipeline.set_progress_bar_config(disable=True)
    pipeline.scheduler = DPMSolverMultistepScheduler.from_config(
        pipeline.scheduler.config,
        algorithm_type="sde-dpmsolver++" if stochastic else "dpmsolver++",
    )
    shape = backbone.latent_shape
    noise = [torch.stack([drawing_noise(r, shape, step) for r in requests]) for step in range(5)]
    added = iter(noise[1:])
    monkeypatch.setattr(
        scheduling_dpmsolver_multistep, "randn_tensor", lambda *_, **__: next(added)
    )
    expected = pipeline(
        ["a sks dog"] * 2,
        num_inference_steps=4,
        guidance_scale=guidance,
        latents=noise[0],
        output_type="pt",
    ).images
    difference = drawn.images.float() / 255 - expected
    assert difference.abs().max() < 0.01


def test_padding_is_masked(backbone: StableDiffusionBackbone) -> None:
    tokens = backbone.tokenize(["a dog", "a dog on the beach"])
    assert [part.shape for part in (*tokens.ids, *tokens.masks)] == [(2, 32)] * 2
    assert tokens.masks[0].sum(dim=1).tolist() == [4, 7]


def test_nothing_is_trainable_and_the_autoencoder_is_no_part(
    backbone: StableDiffusionBackbone,
) -> None:
    assert not any(p.requires_grad for p in backbone.parameters())
    keys = set(backbone.state_dict())
    with backbone.autoencoder(torch.device("cpu")) as first:
        with backbone.autoencoder(torch.device("cpu")) as second:
            assert first is second
        mean, _ = first.encode(torch.zeros(1, 3, 16, 16))
        assert mean.shape[1:] == backbone.latent_shape
        assert set(backbone.state_dict()) == keys


def test_missing_weights_are_refused(tiny_pipeline: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "pipeline"
    shutil.copytree(tiny_pipeline, folder)
    path = folder / "unet" / "diffusion_pytorch_model.safetensors"
    weights = load_file(path)
    weights.pop("conv_in.weight")
    save_file(weights, path)
    with pytest.raises(UserError, match=r"conv_in\.weight"):
        StableDiffusionBackbone(str(folder)).load()


def test_a_folder_that_is_no_pipeline_is_refused(tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    with pytest.raises(UserError, match="no pipeline folder"):
        StableDiffusionBackbone(str(tmp_path))
