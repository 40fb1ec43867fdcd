import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusion3Pipeline

from idgen.backbones import StableDiffusion3Backbone, SubjectWords
from idgen.errors import UserError
from idgen.models.conditioning import DecoupledFusion
from idgen.models.tuning import LoraTuning
from idgen.processes import RectifiedFlow
from idgen.sampling import Sampler
from tests.backbones.tiny_families import save_sd3

CPU = torch.device("cpu")
PROMPTS = ["a sks dog on the beach", "a dog"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_sd3(tmp_path_factory.mktemp("sd3") / "pipeline")


@pytest.fixture
def folder(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "pipeline"))


def change(path: Path, **changed: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changed}))


@torch.no_grad()
@pytest.mark.parametrize("t5", [True, False])
def test_texts_are_those_of_the_pipeline(saved: Path, t5: bool) -> None:
    backbone = StableDiffusion3Backbone(str(saved), t5=t5, t5_tokens=12)
    backbone.load()
    assert len(backbone.text_encoders) == 2 + t5
    text = backbone.encode(PROMPTS)
    without = {} if t5 else {"text_encoder_3": None, "tokenizer_3": None}
    pipeline = StableDiffusion3Pipeline.from_pretrained(saved, **without)
    states, _, pooled, _ = pipeline.encode_prompt(
        PROMPTS, None, None, CPU, do_classifier_free_guidance=False, max_sequence_length=12
    )
    torch.testing.assert_close(text.states, states)
    torch.testing.assert_close(text.pooled, pooled)
    # Zeros in T5's place are no tokens.
    assert text.mask[:, 32:].any() == t5
    places = backbone.word_places(PROMPTS, "sks")
    assert places.shape == text.mask.shape
    assert places.sum(dim=1).tolist() == [1 + t5, 0]


def test_without_t5_nothing_of_it_is_needed(folder: Path) -> None:
    for part in ("text_encoder_3", "tokenizer_3"):
        shutil.rmtree(folder / part)
    with pytest.raises(UserError, match=r"has no text_encoder_3, tokenizer_3; fetch T5, or set t5"):
        StableDiffusion3Backbone(str(folder))
    backbone = StableDiffusion3Backbone(str(folder), t5=False)
    backbone.check()
    assert len(backbone.identity) == 64


def test_missing_weights_of_t5_say_that_it_may_be_left_out(folder: Path) -> None:
    (folder / "text_encoder_3" / "model.safetensors").unlink()
    with pytest.raises(
        UserError, match=r"text_encoder_3/model\.safetensors are missing; .*t5 to f"
    ):
        StableDiffusion3Backbone(str(folder)).check()
    (folder / "text_encoder" / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"text_encoder/model\.safetensors are missing; fetch the"):
        StableDiffusion3Backbone(str(folder)).check()


@pytest.mark.parametrize(
    ("part", "key", "value", "named"),
    [
        ("text_encoder_3", "d_model", 40, "joint_attention_dim"),
        ("text_encoder", "projection_dim", 8, "pooled_projection_dim"),
        ("vae", "latent_channels", 16, "in_channels"),
        ("transformer", "_class_name", "FluxTransformer2DModel", "_class_name"),
    ],
)
def test_other_layouts_are_refused(
    folder: Path, part: str, key: str, value: object, named: str
) -> None:
    change(folder / part / "config.json", **{key: value})
    with pytest.raises(UserError, match=rf"is no Stable Diffusion 3: {named} in transformer"):
        StableDiffusion3Backbone(str(folder))


def test_training_times_are_shifted_as_drawings_are(saved: Path) -> None:
    process = StableDiffusion3Backbone(str(saved)).process
    assert isinstance(process, RectifiedFlow)
    assert process.shift == 3.0
    own = StableDiffusion3Backbone(str(saved), shift=1.5, logit_mean=0.5, logit_std=0.25).process
    assert isinstance(own, RectifiedFlow)
    assert (own.shift, own.logit_mean, own.logit_std) == (1.5, 0.5, 0.25)


def test_sizes_are_whole_patches(saved: Path) -> None:
    backbone = StableDiffusion3Backbone(str(saved))
    Sampler(size=(24, 16)).check(backbone)
    with pytest.raises(UserError, match=r"22 x 16 is not in whole patches .* each 4 pixels wide"):
        Sampler(size=(22, 16)).check(backbone)


def test_an_image_encoder_has_to_say_its_width(saved: Path) -> None:
    features = StableDiffusion3Backbone(str(saved)).features
    with pytest.raises(ValueError, match="no image twin; set image_width"):
        DecoupledFusion(features)
    assert DecoupledFusion(features, image_width=32).projection is not None


def test_text_encoders_are_chosen_one_by_one(saved: Path) -> None:
    backbone, words = StableDiffusion3Backbone(str(saved)), SubjectWords("sks", "dog")
    names = LoraTuning(text_encoders=[1]).declare(backbone, words)
    assert {n.split(".")[0] for n in names} == {"transformer", "text_encoder_2"}
    with pytest.raises(UserError, match="no layer of T5EncoderModel ends in 'q_proj'"):
        LoraTuning().declare(backbone, words)
    with pytest.raises(UserError, match=r"text_encoders: .* has 3, from 0 to 2; 3 is none of them"):
        LoraTuning(text_encoders=[3]).declare(backbone, words)
    with pytest.raises(ValueError, match="numbers from 0"):
        LoraTuning(text_encoders=[])
