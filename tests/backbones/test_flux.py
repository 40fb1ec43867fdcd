import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import diffusers
import pytest
import torch
from diffusers import FluxPipeline

from idgen.backbones import FluxBackbone
from idgen.backbones.flux import pack, places_of, unpack
from idgen.data.batch import PriorBatch
from idgen.errors import UserError
from idgen.models.conditioning import TextOnly
from idgen.models.tuning import LoraTuning
from idgen.module import PersonalizationModule
from idgen.sampling import DrawingRequest, Sampler, drawing_noise
from tests.backbones.tiny_families import save_flux

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_flux(tmp_path_factory.mktemp("flux") / "pipeline")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "pipeline"))


def opened(folder: Path, **settings: object) -> FluxBackbone:
    return FluxBackbone(str(folder), **{"resolution": 16, "t5_tokens": 12, **settings})  # type: ignore[arg-type]


def test_patches_are_those_of_the_pipeline() -> None:
    latents = torch.randn(2, 4, 6, 8)
    packed = pack(latents, 2)
    assert torch.equal(packed, FluxPipeline._pack_latents(latents, 2, 4, 6, 8))
    assert torch.equal(unpack(packed, 6, 8, 2), latents)
    ids = FluxPipeline._prepare_latent_image_ids(2, 3, 4, CPU, torch.float32)
    assert torch.equal(places_of(latents, 2), ids)


@torch.no_grad()
@pytest.mark.parametrize("guided", [True, False])
def test_pictures_of_another_shape_equal_those_of_diffusers(tmp_path: Path, guided: bool) -> None:
    """FLUX.1-dev shifts its times by the size; -schnell does not, and takes no scale."""
    folder = save_flux(tmp_path / "pipeline", guided)
    backbone = opened(folder)
    backbone.load()
    request, size = DrawingRequest("a dog", "a dog", 0, 0, 0), (24, 32)
    sampler, space = Sampler(3, 3.5, size=size), TextOnly(backbone.features)
    drawn = sampler.draw(backbone, space, [request], CPU).images
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    noise = drawing_noise(request, backbone.latent_shape_of(*size))[None]
    images = pipeline(
        "a dog",
        num_inference_steps=3,
        guidance_scale=3.5,
        latents=pack(noise, 2),
        width=size[0],
        height=size[1],
        max_sequence_length=12,
        output_type="pt",
    ).images
    assert (drawn.float() - (images * 255).round()).abs().max() <= 1


def test_training_times_are_shifted_as_drawings_of_that_size_are(saved: Path) -> None:
    processes = [opened(saved, resolution=side).process for side in (16, 1024 // 4)]
    # The pipeline's autoencoder halves pictures: 16 patches of 4 pixels, and 4096.
    assert processes[1].shift == pytest.approx(math.exp(1.15))
    slope = (1.15 - 0.5) / (4096 - 256)
    assert processes[0].shift == pytest.approx(math.exp(0.5 + (16 - 256) * slope))
    assert opened(saved, shift=1.0).process.shift == 1.0


def test_what_is_noised_is_shifted_by_its_own_size(saved: Path) -> None:
    """As by a backbone of that size; a picture of another shape and the same area is alike."""
    small, large = (opened(saved, resolution=side) for side in (16, 64))
    assert small.process_of(small.latent_shape) == small.process
    assert small.process_of(large.latent_shape) == large.process
    channels, height, width = large.latent_shape
    assert small.process_of((channels, height // 2, width * 2)) == large.process
    fixed = opened(saved, shift=2.0).process_of(large.latent_shape)
    assert fixed == replace(large.process, shift=2.0)
    module = PersonalizationModule(small, LoraTuning(), TextOnly)
    latents = torch.zeros(3, *large.latent_shape)
    torch.manual_seed(0)
    noised = module._noised(PriorBatch(latents, latents, ("a dog",) * 3))
    torch.manual_seed(0)
    clean = small.scale_latents(torch.randn_like(latents))
    assert torch.equal(noised.times, large.process.noised(clean).times)


@torch.no_grad()
def test_the_scale_of_guidance_is_an_input_and_1_in_training(saved: Path) -> None:
    backbone = opened(saved)
    backbone.load()
    noisy, times = torch.randn(1, *backbone.latent_shape), torch.tensor([500.0])
    text = backbone.encode(["a dog"])
    plain, one, more = (backbone.predict(noisy, times, text, g) for g in (None, 1.0, 3.5))
    assert torch.equal(plain, one)
    assert not torch.allclose(one, more)


def test_a_word_is_found_among_the_tokens_of_t5(saved: Path) -> None:
    places = opened(saved).word_places(["a sks dog", "a dog"], "sks")
    assert places.shape == (2, 12)
    assert places.sum(dim=1).tolist() == [1, 0]


def test_a_resolution_that_is_no_whole_patches_is_refused(saved: Path) -> None:
    with pytest.raises(UserError, match=r"resolution 18 is no multiple of 4.* give 16 or 20"):
        opened(saved, resolution=18)


@pytest.mark.parametrize(
    ("part", "key", "value", "named"),
    [
        ("text_encoder_2", "d_model", 40, "joint_attention_dim"),
        ("text_encoder", "hidden_size", 8, "pooled_projection_dim"),
        ("transformer", "in_channels", 32, "in_channels"),
        ("transformer", "_class_name", "SD3Transformer2DModel", "_class_name"),
    ],
)
def test_other_layouts_are_refused(
    folder: Path, part: str, key: str, value: object, named: str
) -> None:
    path = folder / part / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(UserError, match=rf"is no FLUX\.1: {named} in transformer"):
        opened(folder)


def test_a_missing_t5_is_named(folder: Path) -> None:
    shutil.rmtree(folder / "text_encoder_2")
    with pytest.raises(UserError, match=r"has no text_encoder_2; .* takes folders with"):
        opened(folder)
