"""Z-Image: conversations as prompts, texts without padding, other sizes, what is refused."""

import json
import shutil
from pathlib import Path

import diffusers
import pytest
import torch

from idgen.backbones import TextStates, ZImageBackbone
from idgen.data.cast import Cast
from idgen.data.subject import Subject
from idgen.errors import UserError
from idgen.models.conditioning import TextOnly
from idgen.sampling import DrawingRequest, Sampler, drawing_noise
from tests.backbones.tiny_families import save_z_image


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_z_image(tmp_path_factory.mktemp("z_image"))


@pytest.fixture(scope="module")
def backbone(folder: Path) -> ZImageBackbone:
    made = ZImageBackbone(str(folder), text_tokens=40, resolution=16)
    made.load()
    return made


def test_states_are_those_of_diffusers(backbone: ZImageBackbone, folder: Path) -> None:
    prompts = ["a sks dog on the beach", "a photo"]
    pipeline = diffusers.ZImagePipeline.from_pretrained(folder)
    with torch.no_grad():
        expected, _ = pipeline.encode_prompt(list(prompts), "cpu", False, max_sequence_length=40)
    texts = backbone.encode(prompts)
    for row, states in enumerate(expected):
        torch.testing.assert_close(texts.states[row][texts.mask[row]], states)
    assert texts.pooled is None


@torch.no_grad()
def test_what_stands_in_padding_changes_nothing(backbone: ZImageBackbone) -> None:
    texts = backbone.encode(["a sks dog", "a photo of a dog in the snow"])
    noisy, times = torch.randn(2, *backbone.latent_shape), torch.tensor([300.0, 800.0])
    changed = TextStates(texts.states.masked_fill(~texts.mask[..., None], 7.0), texts.mask)
    plain = backbone.predict(noisy, times, texts)
    assert torch.equal(plain, backbone.predict(noisy, times, changed))
    real = texts.with_states(texts.states + 1.0)
    assert not torch.allclose(plain, backbone.predict(noisy, times, real))


def test_a_word_that_is_spelt_is_found_inside_the_conversation(backbone: ZImageBackbone) -> None:
    prompts = ["a sks dog", "sks on the beach", "a dog"]
    tokenizer = backbone.tokenizers[0]
    assert len(backbone.word_ids("sks")) > 1
    tokens, places = backbone.tokenize(prompts), backbone.word_places(prompts, "sks")
    found = [tokenizer.decode(ids[at]) for ids, at in zip(tokens.ids[0], places, strict=True)]
    assert found == [" sks", "sks", ""]
    assert [backbone.says(prompt, "sks") for prompt in prompts] == [True, True, False]
    assert not backbone.says("a skate dog", "sks")


def test_a_subjects_token_may_be_several(backbone: ZImageBackbone, folder: Path) -> None:
    subject = Subject("photos", "dog", token="sks")
    subject.check(backbone)
    Cast(subject, None).check_words("a [V] dog on the beach", backbone)
    Cast(subject, None).check_words("[V] dog on the beach", backbone)
    with pytest.raises(UserError, match="is part of the class noun 'sks dog'"):
        Subject("photos", "sks dog", token="sks").check(backbone)
    own = ZImageBackbone(str(folder), text_tokens=40, resolution=16)
    own.add_word("<new1>")
    assert own.word_ids("<new1>") == own.add_word("<new1>")
    Subject("photos", "dog", token="<new1>").check(own)
    assert own.word_places(["a <new1> dog"], "<new1>").sum() == 1


@pytest.mark.parametrize("dynamic", [False, True])
def test_pictures_of_another_shape_equal_those_of_diffusers(tmp_path: Path, dynamic: bool) -> None:
    folder = save_z_image(tmp_path / "p", use_dynamic_shifting=dynamic)
    backbone = ZImageBackbone(str(folder), text_tokens=40, resolution=16)
    backbone.load()
    request = DrawingRequest("a sks dog", "a sks dog", 0, 0, 0)
    sampler = Sampler(3, 4.0, size=(24, 16))
    drawn = sampler.draw(
        backbone, TextOnly(backbone.features), [request], torch.device("cpu")
    ).images[0]
    pipeline = diffusers.ZImagePipeline.from_pretrained(folder)
    pipeline.set_progress_bar_config(disable=True)
    [image] = pipeline(
        [request.prompt],
        num_inference_steps=3,
        guidance_scale=3.0,
        latents=drawing_noise(request, (4, 8, 12))[None],
        width=24,
        height=16,
        max_sequence_length=40,
        output_type="pt",
    ).images
    assert (drawn.float() - (image * 255).round()).abs().max() <= 1


def test_layouts_that_do_not_fit_are_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"resolution 18 is no multiple of 4"):
        ZImageBackbone(str(folder), text_tokens=40, resolution=18)
    with pytest.raises(ValueError, match="text_tokens must be from 1 to 512"):
        ZImageBackbone(str(folder), text_tokens=0, resolution=16)
    broken = Path(shutil.copytree(folder, tmp_path / "wide"))
    config = broken / "text_encoder" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "hidden_size": 24}))
    with pytest.raises(UserError, match=r"no Z-Image: cap_feat_dim .* is 16, .* 24 is needed"):
        ZImageBackbone(str(broken), text_tokens=40, resolution=16)


def test_a_tokenizer_without_conversations_is_refused(folder: Path, tmp_path: Path) -> None:
    broken = Path(shutil.copytree(folder, tmp_path / "plain"))
    (broken / "tokenizer" / "chat_template.jinja").unlink()
    backbone = ZImageBackbone(str(broken), text_tokens=40, resolution=16)
    with pytest.raises(UserError, match="frames no conversation"):
        backbone.tokenize(["a dog"])
    (broken / "tokenizer" / "chat_template.jinja").write_text("{% for message in %}")
    damaged = ZImageBackbone(str(broken), text_tokens=40, resolution=16)
    with pytest.raises(UserError, match="frames no conversation"):
        damaged.tokenize(["a dog"])


def test_a_prompt_that_is_too_long_is_refused(backbone: ZImageBackbone) -> None:
    with pytest.raises(UserError, match=r"has \d\d tokens, the text encoder of .* takes 40"):
        backbone.tokenize(["a dog " * 30])
