"""What holds for every family: drawings, learning, words, and what is refused."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch

from idgen.backbones import SubjectWords
from idgen.backbones.families import FAMILIES as KNOWN
from idgen.backbones.pipeline import PipelineBackbone
from idgen.errors import UserError
from idgen.models.conditioning import TextOnly
from idgen.models.tuning import LoraTuning, TokenTuning
from idgen.module import PersonalizationModule
from idgen.prepare.buckets import AspectBuckets
from idgen.prepare.features import view_sizes
from idgen.processes import RectifiedFlow
from idgen.sampling import DrawingRequest, Sampler, drawing_noise, to_uint8
from idgen.terms import Diffusion, Term
from tests.backbones.test_overfit import CPU, PROMPT, WholeDenoiser, picture, train
from tests.backbones.tiny_families import FAMILIES, Family

every = pytest.mark.parametrize("family", FAMILIES, ids=lambda family: family.name)
PROMPTS = ("a sks dog on the beach", "a photo of the snow")


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A pipeline folder of each family; not to be changed."""
    made = tmp_path_factory.mktemp("families")
    return {family.name: family.save(made / family.name) for family in FAMILIES}


def pipeline_of(folder: Path) -> Any:
    pipeline = diffusers.DiffusionPipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@every
@pytest.mark.parametrize("guided", [False, True])
def test_untuned_drawings_equal_those_of_diffusers(
    family: Family, folders: dict[str, Path], guided: bool
) -> None:
    backbone = family.open(folders[family.name])
    backbone.load()
    guidance = family.guidance if guided else 1.0
    requests = [DrawingRequest(prompt, prompt, 0, n, 0) for n, prompt in enumerate(PROMPTS)]
    drawn = Sampler(4, guidance).draw(backbone, TextOnly(backbone.features), requests, CPU).images
    pipeline = pipeline_of(folders[family.name])
    if not isinstance(backbone.process, RectifiedFlow):
        solver = diffusers.DPMSolverMultistepScheduler
        pipeline.scheduler = solver.from_config(
            pipeline.scheduler.config, algorithm_type="dpmsolver++"
        )
    noise = torch.stack([drawing_noise(r, backbone.latent_shape) for r in requests])
    latents = pipeline._pack_latents(noise, *noise.shape) if packs(pipeline) else noise
    images = pipeline(
        list(PROMPTS),  # one of them writes into it
        num_inference_steps=4,
        guidance_scale=backbone.diffusers_guidance(guidance),
        latents=latents,
        height=backbone.resolution,
        width=backbone.resolution,
        output_type="pt",
        **lengths(backbone),
    ).images
    expected = (images * 255).round()
    assert expected.std() > 5, "pictures of one colour would be equal in any case"
    assert (drawn.float() - expected).abs().max() <= 1


def packs(pipeline: Any) -> bool:
    return hasattr(pipeline, "_pack_latents")


def lengths(backbone: PipelineBackbone) -> dict[str, int]:
    """How many tokens the pipeline is to take, in families where that is a setting."""
    length = backbone.max_sequence_length
    return {} if length is None else {"max_sequence_length": length}


@every
@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_it_draws_the_picture_it_was_trained_on(
    family: Family, folders: dict[str, Path], tmp_path: Path
) -> None:
    """So noising, target, packing, guidance and solver agree with each other."""
    folder = folders[family.name]
    if family.learning:
        folder = family.save(tmp_path / "learning", **family.learning)
    backbone = family.open(folder)
    terms: dict[str, Term | None] = {"diffusion": Diffusion()}
    sampler = Sampler(12, guidance=1.0)
    module = PersonalizationModule(backbone, WholeDenoiser(), TextOnly, terms, sampler=sampler)
    module.configure_model()
    with backbone.autoencoder(CPU) as autoencoder, torch.no_grad():
        mean, _ = autoencoder.encode(picture(backbone.resolution))
        # A random autoencoder's latents may be of any scale.
        latents = backbone.unscale_latents((mean - mean.mean()) / mean.std())
        wanted = to_uint8(autoencoder.decode(latents)).float()
    train(module, latents, steps=family.steps, batch=8)
    drawing = DrawingRequest(PROMPT, PROMPT, 0, 0, 0)
    drawn = sampler.draw(backbone, module.conditioning, [drawing], CPU).images
    error = (drawn.float() - wanted).square().mean().item()
    assert wanted.std() > 10, "a picture of one colour would be drawn by anyone"
    assert 10 * math.log10(255**2 / error) >= 20


@every
def test_a_word_of_its_own_is_trained_in_every_encoder(
    family: Family, folders: dict[str, Path]
) -> None:
    backbone = family.open(folders[family.name])
    words = SubjectWords("<new1>", "dog")
    backbone.add_word("<new1>")
    backbone.load()
    backbone.attach(TokenTuning(), words)
    again, other = (backbone.encode([f"a {word} dog"]) for word in ("<new1>", "dog"))
    torch.testing.assert_close(again.states, other.states)
    again.states.sum().backward()  # type: ignore[no-untyped-call]
    trained = [weight for weight in backbone.parameters() if weight.requires_grad]
    assert len(trained) == len(backbone.text_encoders)


@every
def test_the_pooled_vector_is_of_the_prompts_end(family: Family, folders: dict[str, Path]) -> None:
    """Whatever ids the words of the prompt have, a new word's among them."""
    backbone = family.open(folders[family.name])
    if backbone.features.pooled_width is None:
        pytest.skip("it takes none")
    backbone.add_word("<new1>")
    backbone.load()
    backbone.attach(TokenTuning(), SubjectWords("<new1>", "dog"))
    new, known = (backbone.encode([f"a {word} on the beach"]) for word in ("<new1>", "dog"))
    assert new.pooled is not None
    assert known.pooled is not None
    torch.testing.assert_close(new.pooled, known.pooled)
    assert new.pooled.shape == (1, backbone.features.pooled_width)


@every
def test_layers_of_another_family_are_refused(family: Family, folders: dict[str, Path]) -> None:
    backbone = family.open(folders[family.name])
    with pytest.raises(UserError, match=r"LoraTuning\.targets: no layer of .* ends in 'query_key'"):
        LoraTuning(targets=["query_key"], text_rank=0).declare(backbone, SubjectWords("sks", "dog"))


@every
def test_another_familys_folder_says_whose_it_is(
    family: Family, folders: dict[str, Path], tiny_pipeline: Path
) -> None:
    with pytest.raises(UserError, match=r"StableDiffusionPipeline.*idgen\.backbones\.StableDiffus"):
        family.open(tiny_pipeline)
    name = json.loads((folders[family.name] / "model_index.json").read_text())["_class_name"]
    assert KNOWN[name] == family.backbone
    from idgen.backbones import StableDiffusionBackbone

    with pytest.raises(UserError, match=rf"{name}.*idgen\.backbones\.{family.backbone}"):
        StableDiffusionBackbone(str(folders[family.name]))


@every
def test_a_family_that_is_not_taken_is_named_with_those_that_are(
    family: Family, folders: dict[str, Path], tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(folders[family.name], tmp_path / "other"))
    (folder / "vae").rename(folder / "vqvae")
    index = folder / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": "KolorsPipeline"}))
    with pytest.raises(UserError, match=r"\(KolorsPipeline\) has no vae.*taken: StableDiffusionPi"):
        family.open(folder)


@every
def test_sizes_that_are_no_whole_patches_are_refused(
    family: Family, folders: dict[str, Path]
) -> None:
    backbone = family.open(folders[family.name])
    with pytest.raises(UserError, match=r"Sampler\.size: 15 x 16 .* give multiples of"):
        Sampler(size=(15, 16)).check(backbone)
    with pytest.raises(UserError, match=r"^preparation\.resolution: 15 x 16"):
        backbone.latent_shape_of(15, 16, "preparation.resolution")


@pytest.mark.parametrize(("name", "most"), [("sd35_medium", 32), ("z_image", 128)])
def test_pictures_larger_than_there_are_places_for_are_refused(
    name: str, most: int, folders: dict[str, Path]
) -> None:
    [family] = [family for family in FAMILIES if family.name == name]
    backbone = family.open(folders[name])
    assert backbone.latent_shape_of(most, 16)[1:] == (8, most // 2)
    with pytest.raises(UserError, match=rf"Sampler\.size: .* give at most {most} x {most}"):
        Sampler(size=(16, most + 4)).check(backbone)
    assert view_sizes(most, None, backbone) == ((most, most),)
    with pytest.raises(UserError, match=rf"preparation\.resolution: .* has places for {most};"):
        view_sizes(most + 4, None, backbone)
    with pytest.raises(UserError, match=r"or a lower buckets\.max_aspect"):
        view_sizes(most, AspectBuckets(), backbone)
