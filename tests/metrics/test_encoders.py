import json
import shutil
from pathlib import Path
from typing import Any

import huggingface_hub
import open_clip
import open_clip.pretrained
import pytest
import torch
from open_clip import factory
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.nn.functional import normalize
from transformers import ViTModel

from idgen.errors import UserError
from idgen.metrics.encoders import ClipScorer, DinoScorer
from idgen.metrics.preprocessing import Preprocessing

from .tiny_models import (
    CLIP_CONFIG,
    CLIP_PREPROCESSING,
    CLIP_WIDTH,
    noise,
    random_clip_weights,
    save_clip,
    save_dino,
)

CPU = torch.device("cpu")
PROMPTS = ["a dog on the beach", "a teapot", "the moon"]


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_clip(tmp_path_factory.mktemp("models") / "clip")


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_dino(tmp_path_factory.mktemp("models") / "dino")


def embedded_by_open_clip(name: str, images: Tensor, **settings: Any) -> Tensor:
    model, _, transform = open_clip.create_model_and_transforms(name, **settings)
    pixels = [transform(Image.fromarray(image.permute(1, 2, 0).numpy())) for image in images]
    with torch.no_grad():
        embedded: Tensor = model.eval().encode_image(torch.stack(pixels), normalize=True)
    return embedded


def test_clip_images_equal_open_clips(clip_folder: Path) -> None:
    images = noise(5, 50, 64)
    name = f"local-dir:{clip_folder}"
    ours = ClipScorer(name).load(CPU).embed_images(images)
    expected = embedded_by_open_clip(name, images)
    assert ours.shape == (5, CLIP_WIDTH)
    # One or two 8-bit levels of difference in the resize are all there is.
    torch.testing.assert_close(ours, expected, atol=2e-2, rtol=0)
    assert (ours - expected).abs().mean() < 5e-3
    assert (ours[0] - ours[1]).abs().max() > 0.1


def test_clip_network_equals_open_clips_on_equal_pixels(clip_folder: Path) -> None:
    images = noise(3, 32, 32)
    ours = ClipScorer(f"local-dir:{clip_folder}").load(CPU).embed_images(images)
    expected = embedded_by_open_clip(f"local-dir:{clip_folder}", images)
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-5)


def test_clip_texts_equal_open_clips(clip_folder: Path) -> None:
    name = f"local-dir:{clip_folder}"
    ours = ClipScorer(name).load(CPU).embed_texts(PROMPTS)
    model = open_clip.create_model(name).eval()
    with torch.no_grad():
        expected = model.encode_text(open_clip.get_tokenizer(name)(PROMPTS), normalize=True)
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=1e-5)
    assert (ours[0] - ours[1]).abs().max() > 0.1


def test_clip_preprocessing_is_the_folders(clip_folder: Path, tmp_path: Path) -> None:
    scorer = ClipScorer(f"local-dir:{clip_folder}").load(CPU)
    config = CLIP_PREPROCESSING | {"size": 32}
    assert scorer.preprocessing == Preprocessing.of_open_clip(config)
    squashed = save_clip(tmp_path / "clip", resize_mode="squash")
    images = noise(2, 40, 90)
    theirs = image_transform_v2(PreprocessCfg(**config, resize_mode="squash"), is_train=False)
    prepared = ClipScorer(f"local-dir:{squashed}").load(CPU).preprocessing(images)
    expected = theirs(Image.fromarray(images[0].permute(1, 2, 0).numpy()))
    assert (prepared[0] - expected).abs().max() < 0.03


def test_dino_is_the_cls_token_of_the_last_hidden_state(dino_folder: Path) -> None:
    images = noise(4, 40, 60)
    scorer = DinoScorer(str(dino_folder)).load(CPU)
    model: Any = ViTModel.from_pretrained(dino_folder, add_pooling_layer=False)
    model.eval()
    with torch.no_grad():
        hidden = model(Preprocessing.of_dino(28)(images)).last_hidden_state
    ours = scorer.embed_images(images)
    torch.testing.assert_close(ours, normalize(hidden[:, 0], dim=1), atol=1e-6, rtol=1e-5)
    assert (ours[0] - ours[1]).abs().max() > 0.1


def test_dino_takes_mean_and_std_of_the_folder(dino_folder: Path, tmp_path: Path) -> None:
    folder = tmp_path / "dino"
    shutil.copytree(dino_folder, folder)
    config = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.1, 0.2, 0.3], "size": 99}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    scorer = DinoScorer(str(folder)).load(CPU)
    assert scorer.preprocessing == Preprocessing.of_dino(28, (0.5, 0.4, 0.3), (0.1, 0.2, 0.3))


@pytest.fixture(params=["clip", "dino"])
def scorer(
    request: pytest.FixtureRequest, clip_folder: Path, dino_folder: Path
) -> ClipScorer | DinoScorer:
    if request.param == "clip":
        return ClipScorer(f"local-dir:{clip_folder}", batch_size=3)
    return DinoScorer(str(dino_folder), batch_size=3)


def test_batches_and_order_do_not_matter(scorer: ClipScorer | DinoScorer) -> None:
    images = noise(7, 48, 48)
    together = scorer.load(CPU).embed_images(images)
    backwards = scorer.embed_images(images.flip(0)).flip(0)
    one_by_one = torch.cat([scorer.embed_images(image[None]) for image in images])
    torch.testing.assert_close(together, backwards, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(together, one_by_one, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(together.norm(dim=1), torch.ones(7))


def test_photos_of_several_sizes(scorer: ClipScorer | DinoScorer) -> None:
    photos = [noise(1, 40, 60, 1)[0], noise(1, 70, 30, 2)[0], noise(1, 64, 64, 3)[0]] * 2
    together = scorer.load(CPU).embed_images(photos)
    for photo, embedding in zip(photos, together, strict=True):
        alone = scorer.embed_images(photo[None])[0]
        torch.testing.assert_close(embedding, alone, atol=1e-6, rtol=1e-5)


def test_nothing_to_embed(scorer: ClipScorer | DinoScorer) -> None:
    some = scorer.load(CPU).embed_images(noise(1, 32, 32))
    assert scorer.embed_images(noise(1, 32, 32)[:0]).shape == (0, some.shape[1])
    assert scorer.embed_images([]).shape == (0, some.shape[1])


def test_training_does_not_reach_the_scores(scorer: ClipScorer | DinoScorer) -> None:
    images = noise(2, 48, 48)
    plain = scorer.load(CPU).embed_images(images)
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.enable_grad():
        under_autocast = scorer.embed_images(images)
    assert under_autocast.dtype == torch.float32
    assert torch.equal(plain, under_autocast)
    assert not plain.requires_grad


def test_scorers_are_light_until_loaded(scorer: ClipScorer | DinoScorer) -> None:
    with pytest.raises(RuntimeError, match="call load"):
        scorer.embed_images(noise(1, 32, 32))
    with scorer.loaded(CPU) as loaded:
        first = loaded.embed_images(noise(1, 32, 32))
    with pytest.raises(RuntimeError, match="call load"):
        scorer.embed_images(noise(1, 32, 32))
    assert torch.equal(scorer.load(CPU).embed_images(noise(1, 32, 32)), first)


def test_at_rest_the_weights_stay_and_embed_as_before(scorer: ClipScorer | DinoScorer) -> None:
    scorer.rest()
    with scorer.loaded(CPU):
        network, before = scorer._loaded_encoder.network, scorer.embed_images(noise(2, 32, 32))
        scorer.rest()
        assert scorer.load(CPU)._loaded_encoder.network is network
        assert torch.equal(scorer.embed_images(noise(2, 32, 32)), before)
    assert scorer._encoder is None


def test_at_rest_the_weights_are_not_on_an_accelerator(
    scorer: ClipScorer | DinoScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    moved: list[torch.device] = []
    with scorer.loaded(CPU):
        network = scorer._loaded_encoder.network
        monkeypatch.setattr(network, "to", lambda device: moved.append(torch.device(device)))
        scorer.load(torch.device("cuda"))
        monkeypatch.setattr("idgen.metrics.scorer.free", moved.append)
        scorer.rest()
        # Freed there once nothing is there any more.
        assert moved == [torch.device("cuda"), CPU, torch.device("cuda")]
        assert scorer._device == CPU


def test_texts_need_loading_and_may_be_none(clip_folder: Path) -> None:
    scorer = ClipScorer(f"local-dir:{clip_folder}")
    with pytest.raises(RuntimeError, match="call load"):
        scorer.embed_texts(PROMPTS)
    assert scorer.load(CPU).embed_texts([]).shape == (0, CLIP_WIDTH)
    scorer.release()
    with pytest.raises(RuntimeError, match="call load"):
        scorer.embed_texts(PROMPTS)


def test_identity_follows_the_weights(clip_folder: Path, dino_folder: Path, tmp_path: Path) -> None:
    shutil.copytree(clip_folder, tmp_path / "same")
    other = save_clip(tmp_path / "other", seed=1)
    clip = ClipScorer(f"local-dir:{clip_folder}").identity
    assert clip == ClipScorer(f"local-dir:{tmp_path / 'same'}").identity
    assert clip != ClipScorer(f"local-dir:{other}").identity
    dino = DinoScorer(str(dino_folder)).identity
    assert dino != DinoScorer(str(save_dino(tmp_path / "dino", seed=1))).identity
    hub = DinoScorer("facebook/dino-vits16")
    assert hub.identity != DinoScorer("facebook/dino-vits16", revision="main").identity
    names = [ClipScorer("ViT-B-32", tag).identity for tag in ("openai", "laion2b_s34b_b79k")]
    assert len({clip, *names}) == 3


def register(monkeypatch: pytest.MonkeyPatch, weights: Path, quick_gelu: bool) -> None:
    """Makes `tiny` with weights `trained` known to open_clip, as it knows ViT-B-32's."""
    text = {k: v for k, v in CLIP_CONFIG["text_cfg"].items() if k != "hf_tokenizer_name"}
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny", CLIP_CONFIG | {"text_cfg": text})
    tag = {"file": str(weights), "quick_gelu": quick_gelu, **CLIP_PREPROCESSING}
    monkeypatch.setitem(open_clip.pretrained._PRETRAINED, "tiny", {"trained": tag})


@pytest.mark.parametrize("quick_gelu", [True, False])
def test_weights_trained_with_quick_gelu_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, quick_gelu: bool
) -> None:
    weights = tmp_path / "weights.safetensors"
    save_file(random_clip_weights(0, quick_gelu), weights)
    register(monkeypatch, weights, quick_gelu)
    images = noise(2, 32, 32)
    ours = ClipScorer("tiny", "trained").load(CPU).embed_images(images)
    right, wrong = (
        embedded_by_open_clip("tiny", images, pretrained="trained", force_quick_gelu=forced)
        for forced in (quick_gelu, not quick_gelu)
    )
    torch.testing.assert_close(ours, right, atol=1e-6, rtol=1e-5)
    if quick_gelu:
        assert (ours - wrong).abs().max() > 1e-4


def test_weights_may_be_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    weights = tmp_path / "weights.safetensors"
    save_file(random_clip_weights(3, quick_gelu=False), weights)
    register(monkeypatch, tmp_path / "absent", quick_gelu=False)
    images = noise(2, 32, 32)
    scorer = ClipScorer("tiny", str(weights))
    expected = embedded_by_open_clip("tiny", images, pretrained=str(weights))
    torch.testing.assert_close(scorer.load(CPU).embed_images(images), expected)
    before = scorer.identity
    save_file(random_clip_weights(4, quick_gelu=False), weights)
    assert ClipScorer("tiny", str(weights)).identity != before


def as_openai_trains(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Half precision but in embeddings and norms, stored in single."""
    whole = ("embedding", "ln_", "logit_scale")
    return {k: v if any(w in k for w in whole) else v.half().float() for k, v in weights.items()}


@pytest.mark.parametrize("suffix", ["safetensors", "pt"])
def test_a_file_of_openais_weights_needs_quick_gelu(
    suffix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    register(monkeypatch, tmp_path / "absent", quick_gelu=False)
    quick = factory._MODEL_CONFIGS["tiny"] | {"quick_gelu": True}
    monkeypatch.setitem(factory._MODEL_CONFIGS, "tiny-quickgelu", quick)
    path = tmp_path / f"weights.{suffix}"
    weights = as_openai_trains(random_clip_weights(3, quick_gelu=True))
    if suffix == "pt":
        torch.save({"state_dict": {f"module.{k}": v for k, v in weights.items()}}, path)
    else:
        save_file(weights, path)
    with pytest.raises(UserError, match="QuickGELU: take 'tiny-quickgelu'"):
        _ = ClipScorer("tiny", str(path)).identity
    images = noise(2, 32, 32)
    ours = ClipScorer("tiny-quickgelu", str(path)).load(CPU).embed_images(images)
    expected = embedded_by_open_clip("tiny", images, pretrained=str(path), force_quick_gelu=True)
    torch.testing.assert_close(ours, expected)


def test_weights_in_half_precision_throughout_may_be_anybodys(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    register(monkeypatch, tmp_path / "absent", quick_gelu=False)
    path = tmp_path / "weights.safetensors"
    save_file({k: v.half() for k, v in random_clip_weights(3, quick_gelu=False).items()}, path)
    assert ClipScorer("tiny", str(path)).identity


def test_openais_own_archive_is_taken_by_name_alone(tmp_path: Path) -> None:
    path = tmp_path / "ViT-B-32.pt"
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(path))  # type: ignore[no-untyped-call]
    with pytest.raises(UserError, match=r"set pretrained to 'openai'.*'ViT-B-32-quickgelu'"):
        _ = ClipScorer("ViT-B-32", str(path)).identity


def test_a_damaged_file_of_weights_is_refused_before_work(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"damaged")
    with pytest.raises(UserError, match=r"cannot load 'ViT-B-32' with weights .*weights\.pt"):
        _ = ClipScorer("ViT-B-32", str(tmp_path / "weights.pt")).identity


@pytest.mark.parametrize(
    ("model", "pretrained", "message"),
    [
        ("local-dir:/nowhere/at/all", None, "/nowhere/at/all/open_clip_config.json"),
        ("ViT-B-33", "openai", "no architecture 'ViT-B-33'"),
        ("ViT-B-32", None, "needs its weights named"),
        ("ViT-B-32", "openal", "'openal' is neither"),
    ],
)
def test_a_misnamed_clip_is_refused(model: str, pretrained: str | None, message: str) -> None:
    scorer = ClipScorer(model, pretrained)
    with pytest.raises(UserError, match=message):
        _ = scorer.identity
    with pytest.raises(UserError, match=message):
        scorer.load(CPU)


@pytest.mark.parametrize("model", ["/nowhere/at/all", "./nowhere", "nowhere", "a/b/c"])
def test_a_misnamed_dino_is_refused(model: str) -> None:
    scorer = DinoScorer(model)
    with pytest.raises(UserError, match=f"no folder '{model}'"):
        _ = scorer.identity
    with pytest.raises(UserError, match=f"no folder '{model}'"):
        scorer.load(CPU)


def test_random_weights_never_score(clip_folder: Path, dino_folder: Path, tmp_path: Path) -> None:
    clip = tmp_path / "clip"
    shutil.copytree(clip_folder, clip)
    (clip / "open_clip_model.safetensors").unlink()
    with pytest.raises(UserError, match="no weights"):
        ClipScorer(f"local-dir:{clip}").load(CPU)

    dino = tmp_path / "dino"
    shutil.copytree(dino_folder, dino)
    weights = load_file(dino / "model.safetensors")
    weights.pop("layernorm.weight")
    save_file(weights, dino / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"lacks layernorm\.weight"):
        DinoScorer(str(dino)).load(CPU)


def test_damaged_weights_are_one_line(clip_folder: Path, dino_folder: Path, tmp_path: Path) -> None:
    for source, name in ((clip_folder, "open_clip_model"), (dino_folder, "model")):
        folder = tmp_path / source.name
        shutil.copytree(source, folder)
        path = folder / f"{name}.safetensors"
        path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(UserError, match="cannot load"):
        ClipScorer(f"local-dir:{tmp_path / clip_folder.name}").load(CPU)
    with pytest.raises(UserError, match="cannot load"):
        DinoScorer(str(tmp_path / dino_folder.name)).load(CPU)


def test_a_model_of_another_kind_is_no_dino(clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no config\.json"):
        DinoScorer(str(clip_folder)).load(CPU)


def test_the_hub_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="give its folder"):
        DinoScorer("facebook/dino-vits16").load(CPU)
    with pytest.raises(UserError, match="local-dir:/path/to/folder"):
        ClipScorer("ViT-B-32", "openai").load(CPU)
