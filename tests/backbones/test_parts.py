"""Pipeline folders as they are found in the wild."""

import json
import shutil
import warnings
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from diffusers import UNet2DConditionModel
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file, save_file
from transformers import CLIPTextModel

from idgen.backbones import StableDiffusionBackbone, SubjectWords
from idgen.errors import UserError
from idgen.models.tuning import TokenTuning
from idgen.sampling import Sampler

UNET = "diffusion_pytorch_model"


@pytest.fixture
def folder(tiny_pipeline: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_pipeline, tmp_path / "pipeline"))


def rename_to_variant(folder: Path, variant: str) -> None:
    for part, stem in (("unet", UNET), ("vae", UNET), ("text_encoder", "model")):
        path = folder / part / f"{stem}.safetensors"
        path.rename(path.with_name(f"{stem}.{variant}.safetensors"))


def shard(folder: Path) -> None:
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    (folder / "unet" / f"{UNET}.safetensors").unlink()
    unet.save_pretrained(folder / "unet", max_shard_size="20KB")
    assert len(list((folder / "unet").glob(f"{UNET}-*-of-*.safetensors"))) > 1


def shard_variant(folder: Path) -> None:
    """As diffusers saves it: the number of the shard behind the variant."""
    rename_to_variant(folder, "fp16")
    unet = UNet2DConditionModel.from_pretrained(folder / "unet", variant="fp16")
    (folder / "unet" / f"{UNET}.fp16.safetensors").unlink()
    unet.save_pretrained(folder / "unet", max_shard_size="20KB", variant="fp16")
    assert len(list((folder / "unet").glob(f"{UNET}.fp16-*-of-*.safetensors"))) > 1
    text = CLIPTextModel.from_pretrained(folder / "text_encoder", variant="fp16")
    (folder / "text_encoder" / "model.fp16.safetensors").unlink()
    text.save_pretrained(folder / "text_encoder", max_shard_size="20KB", variant="fp16")
    assert len(list((folder / "text_encoder").glob("model.fp16-*-of-*.safetensors"))) > 1


def shard_variant_of_the_hub(folder: Path) -> None:
    """As many repositories have it: the variant behind the number of the shard."""
    shard_variant(folder)
    index = folder / "unet" / f"{UNET}.safetensors.index.fp16.json"
    content = index.read_text()
    for path in (folder / "unet").glob(f"{UNET}.fp16-*.safetensors"):
        number = path.name.removeprefix(f"{UNET}.fp16").removesuffix(".safetensors")
        name = f"{UNET}{number}.fp16.safetensors"
        content = content.replace(path.name, name)
        path.rename(path.with_name(name))
    index.write_text(content)


def assert_same_weights(folder: Path, other: Path) -> None:
    first, second = (StableDiffusionBackbone(str(path)) for path in (folder, other))
    for backbone in (first, second):
        backbone.check()
        backbone.load()
    states = first.state_dict(), second.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


@pytest.mark.parametrize(
    "change",
    [
        shard,
        lambda folder: rename_to_variant(folder, "fp16"),
        shard_variant,
        shard_variant_of_the_hub,
    ],
)
def test_weights_in_shards_or_of_one_variant_alone_are_taken(
    folder: Path, tiny_pipeline: Path, change: Callable[[Path], None]
) -> None:
    change(folder)
    assert_same_weights(folder, tiny_pipeline)


def test_a_variant_is_chosen_by_name(folder: Path, tiny_v_pipeline: Path) -> None:
    for path in tiny_v_pipeline.rglob("*.safetensors"):
        target = folder / path.relative_to(tiny_v_pipeline)
        shutil.copy(path, target.with_name(target.name.replace(".safetensors", ".ema.safetensors")))
    plain, other = (StableDiffusionBackbone(str(folder), variant=v) for v in (None, "ema"))
    assert plain.identity != other.identity
    plain.load()
    other.load()
    key = "unet.conv_in.weight"
    assert not torch.equal(plain.state_dict()[key], other.state_dict()[key])


def test_several_variants_without_a_name_are_refused(folder: Path) -> None:
    rename_to_variant(folder, "fp16")
    unet = folder / "unet" / f"{UNET}.fp16.safetensors"
    shutil.copy(unet, unet.with_name(f"{UNET}.ema.safetensors"))
    with pytest.raises(UserError, match=r"no plain weights.*that is there: ema, fp16"):
        StableDiffusionBackbone(str(folder)).check()


@pytest.mark.parametrize("change", [shard, shard_variant])
def test_each_shard_is_part_of_the_identity(folder: Path, change: Callable[[Path], None]) -> None:
    change(folder)
    before = StableDiffusionBackbone(str(folder)).identity
    last = max((folder / "unet").glob(f"{UNET}*-of-*.safetensors"))
    content = bytearray(last.read_bytes())
    content[-1] ^= 1
    last.write_bytes(content)
    assert StableDiffusionBackbone(str(folder)).identity != before


def test_pickled_weights_alone_are_refused(folder: Path) -> None:
    path = folder / "unet" / f"{UNET}.safetensors"
    path.rename(path.with_suffix(".bin"))
    with pytest.raises(UserError, match=r"safetensors are missing; .*\.bin is a pickle"):
        StableDiffusionBackbone(str(folder)).check()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("addition_embed_type", "text_time"),
        ("class_embed_type", "timestep"),
        ("time_cond_proj_dim", 256),
        ("in_channels", 9),
        ("num_class_embeds", 10),
        ("encoder_hid_dim_type", "text_proj"),
        ("encoder_hid_dim", 64),
    ],
)
def test_other_families_are_refused_by_their_own_name(folder: Path, key: str, value: Any) -> None:
    path = folder / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    index = folder / "model_index.json"
    named = {**json.loads(index.read_text()), "_class_name": "SomeOtherPipeline"}
    index.write_text(json.dumps(named))
    with pytest.raises(UserError, match=r"StableDiffusionBackbone\.source: .*SomeOtherPipeline"):
        StableDiffusionBackbone(str(folder))


def test_a_family_of_other_parts_is_named_too(folder: Path) -> None:
    (folder / "unet").rename(folder / "transformer")
    index = folder / "model_index.json"
    index.write_text(json.dumps({**json.loads(index.read_text()), "_class_name": "FluxPipeline"}))
    with pytest.raises(UserError, match=r"\(FluxPipeline\) has no unet"):
        StableDiffusionBackbone(str(folder))


def test_shards_without_their_index_are_refused(folder: Path) -> None:
    shard(folder)
    index = folder / "unet" / f"{UNET}.safetensors.index.json"
    index.unlink()
    with pytest.raises(UserError, match=f"{index.name} is missing"):
        StableDiffusionBackbone(str(folder)).check()


def test_a_variant_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"no variant 'fp16'; .* the plain one"):
        StableDiffusionBackbone(str(folder), variant="fp16").check()


@pytest.mark.parametrize(
    ("part", "file"), [("unet", f"{UNET}.safetensors"), ("text_encoder", "model.safetensors")]
)
def test_missing_weights_are_named_as_they_are_called(folder: Path, part: str, file: str) -> None:
    (folder / part / file).unlink()
    with pytest.raises(UserError, match=f"{part}/{file} are missing"):
        StableDiffusionBackbone(str(folder)).check()


def test_a_missing_shard_is_named_before_work(folder: Path) -> None:
    shard(folder)
    lost = max((folder / "unet").glob(f"{UNET}-*.safetensors"))
    lost.unlink()
    with pytest.raises(UserError, match=f"{lost.name} are missing"):
        StableDiffusionBackbone(str(folder)).check()


def test_a_lora_beside_the_weights_is_named(folder: Path) -> None:
    save_file({"a": torch.ones(1)}, folder / "pytorch_lora_weights.safetensors")
    backbone = StableDiffusionBackbone(str(folder))
    with pytest.warns(UserWarning, match=r"pytorch_lora_weights\.safetensors is not used"):
        backbone.check()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _ = backbone.pipeline.identity()  # once is enough


@pytest.mark.parametrize("key", ["lora_A.default.weight", "lora.down.weight"])
def test_weights_that_carry_lora_are_refused_before_work(folder: Path, key: str) -> None:
    path = folder / "unet" / f"{UNET}.safetensors"
    layer = "down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_q"
    save_file({**load_file(path), f"{layer}.{key}": torch.ones(2, 2)}, path)
    with pytest.raises(UserError, match=rf"unet/{UNET}\.safetensors carries LoRA .*{key}"):
        StableDiffusionBackbone(str(folder)).check()


@pytest.mark.parametrize("variant", [None, "fp16"])
def test_all_shards_of_a_variant_are_downloaded(
    folder: Path, variant: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hub has shards and whole files, plain and as a variant; the client's filter chooses."""
    wanted = [
        f"unet/{UNET}.safetensors.index{{}}.json",
        f"unet/{UNET}-00001-of-00002{{}}.safetensors",
        f"unet/{UNET}-00002-of-00002{{}}.safetensors",
        f"vae/{UNET}{{}}.safetensors",
        "text_encoder/model{}.safetensors",
    ]
    on_the_hub = [name.format(dot) for name in wanted for dot in ("", ".fp16", ".non_ema")]
    # As diffusers saves shards of a variant.
    saved = [f"unet/{UNET}.{{}}-0000{n}-of-00002.safetensors" for n in (1, 2)]
    on_the_hub += [name.format(other) for name in saved for other in ("fp16", "non_ema")]
    on_the_hub += ["v1-5-pruned.safetensors", "safety_checker/model.safetensors"]
    on_the_hub += [f"unet/{UNET}.bin", "unet/config.json", "scheduler/scheduler_config.json"]
    fetched: list[str] = []

    def download(name: str, revision: str | None, allow_patterns: list[str]) -> str:
        fetched[:] = filter_repo_objects(on_the_hub, allow_patterns=allow_patterns)
        return str(folder)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    StableDiffusionBackbone("owner/sharded", variant=variant).pipeline.fetch()
    dot = "" if variant is None else f".{variant}"
    configs = {"unet/config.json", "scheduler/scheduler_config.json"}
    asked = [*wanted, *(saved if variant else ())]
    expected = {n.format(variant if n in saved else dot) for n in asked} | configs
    assert set(fetched) == expected


def test_half_a_backbone_is_never_taken_for_a_whole_one(folder: Path) -> None:
    (folder / "text_encoder" / "model.safetensors").write_bytes(b"damaged")
    backbone = StableDiffusionBackbone(str(folder))
    for _ in range(2):
        with pytest.raises(UserError, match="text_encoder"):
            backbone.load()


def test_settings_that_are_no_settings_are_refused(folder: Path) -> None:
    (folder / "unet" / "config.json").write_text("[]")
    with pytest.raises(UserError, match=r"config\.json holds no settings"):
        StableDiffusionBackbone(str(folder))


class TwoEncoders(StableDiffusionBackbone):
    """A family with a second text encoder and tokenizer."""

    networks: ClassVar[Mapping[str, str]] = {
        **StableDiffusionBackbone.networks,
        "text_encoder_2": "transformers.CLIPTextModel",
    }
    tokenizer_kinds: ClassVar[Mapping[str, str]] = {
        "tokenizer": "CLIPTokenizer",
        "tokenizer_2": "CLIPTokenizer",
    }


def test_a_family_may_have_two_encoders(folder: Path) -> None:
    for part in ("text_encoder", "tokenizer"):
        shutil.copytree(folder / part, folder / f"{part}_2")
    backbone = TwoEncoders(str(folder))
    backbone.check()
    assert len(backbone.identity) == 64
    backbone.load()
    # As if the second vocabulary had its words at other places.
    extra = backbone.tokenizers[1]
    assert backbone.add_word("<extra>")[1] == len(extra) - 1
    backbone.attach(TokenTuning(), SubjectWords("<new1>", "dog"))
    for number, encoder in enumerate(backbone.text_encoders):
        table: Any = encoder.get_input_embeddings()  # type: ignore[operator]
        (row,) = backbone.word_ids("dog", number)
        torch.testing.assert_close(table.vector.data, table.base.weight[row])


@pytest.mark.skipif(find_spec("scipy") is not None, reason="scipy is there")
@pytest.mark.parametrize(
    "changed",
    [{"_class_name": "LMSDiscreteScheduler"}, {"use_beta_sigmas": True}],
)
def test_a_scheduler_without_its_package_names_it(folder: Path, changed: dict[str, Any]) -> None:
    configure_scheduler(folder, **changed)
    with pytest.raises(UserError, match="scipy"):
        Sampler().check(StableDiffusionBackbone(str(folder)))


@pytest.mark.parametrize(
    "changed",
    [{"solver_type": "no"}, {"timestep_spacing": "no"}, {"final_sigmas_type": "no"}],
)
def test_a_scheduler_that_no_drawing_can_be_made_with(
    folder: Path, changed: dict[str, Any]
) -> None:
    Sampler().check(StableDiffusionBackbone(str(folder)))
    configure_scheduler(folder, **changed)
    with pytest.raises(UserError, match=r"cannot be drawn with \(.*mend scheduler"):
        Sampler().check(StableDiffusionBackbone(str(folder)))


def configure_scheduler(folder: Path, **changed: Any) -> None:
    """Changes a scheduler's configuration, and its class where that is among it."""
    for path in (folder / "scheduler" / "scheduler_config.json", folder / "model_index.json"):
        content = json.loads(path.read_text())
        if path.name == "model_index.json":
            content["scheduler"][1] = changed.get("_class_name", content["scheduler"][1])
        else:
            content |= changed
        path.write_text(json.dumps(content))
