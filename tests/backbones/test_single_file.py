"""Models in one file: what they draw, what is made of them, and what is refused."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from idgen.backbones import (
    FluxBackbone,
    SDXLBackbone,
    SingleFile,
    StableDiffusion3Backbone,
    StableDiffusionBackbone,
)
from idgen.backbones.opening import backbone_of
from idgen.backbones.pipeline import PipelineBackbone
from idgen.backbones.single_file import Source
from idgen.cli import main
from idgen.errors import UserError
from idgen.locks import locked
from idgen.models.conditioning import TextOnly
from idgen.processes import Prediction, VariancePreserving
from idgen.sampling import DrawingRequest, Sampler
from tests.backbones.original_names import save_single_file
from tests.backbones.tiny_families import save_flux, save_sd3, save_sdxl
from tests.workspace import TinyModels, make_workspace

CPU = torch.device("cpu")
KINDS: dict[str, Any] = {
    "sd1": StableDiffusionBackbone,
    "sdxl": SDXLBackbone,
    "sd2": StableDiffusionBackbone,
    "sd3": StableDiffusion3Backbone,
    "dev": FluxBackbone,
    "schnell": FluxBackbone,
}
OF_LENGTH: dict[str, dict[str, Any]] = {
    "sd3": {"t5_tokens": 12},
    "dev": {"t5_tokens": 12, "resolution": 16},
    "schnell": {"t5_tokens": 12, "resolution": 16},
}
every = pytest.mark.parametrize("name", KINDS)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("IDGEN_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture(scope="module")
def folders(tiny_pipeline: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Pipeline folders; not to be changed."""
    made = tmp_path_factory.mktemp("folders")
    return {
        "sd1": tiny_pipeline,
        "sdxl": save_sdxl(made / "sdxl"),
        "sd2": tiny_pipeline,
        # Diffusers tells its two CLIPs in a file apart by their widths.
        "sd3": save_sd3(made / "sd3", widths=(12, 20)),
        "dev": save_flux(made / "dev"),
        "schnell": save_flux(made / "schnell", guided=False),
    }


@pytest.fixture(scope="module")
def written(folders: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of the same models in one file each; not to be changed."""
    made = tmp_path_factory.mktemp("files")
    for name, folder in folders.items():
        save_single_file(folder, made / f"{name}.safetensors", open_clip=name == "sd2")
    return made


@pytest.fixture(autouse=True)
def narrow_flux(monkeypatch: pytest.MonkeyPatch) -> None:
    """Diffusers' reader of FLUX.1 knows the published width alone: the tiny one takes its place."""
    from diffusers.loaders import single_file_utils

    code = single_file_utils.convert_flux_transformer_checkpoint_to_diffusers.__code__
    assert 3072 in code.co_consts
    narrow = code.replace(co_consts=tuple(64 if c == 3072 else c for c in code.co_consts))
    monkeypatch.setattr(
        single_file_utils.convert_flux_transformer_checkpoint_to_diffusers, "__code__", narrow
    )


@pytest.fixture
def files(written: Path, tmp_path: Path) -> dict[str, Path]:
    """Copies of these."""
    copies = shutil.copytree(written, tmp_path / "files")
    return {name: copies / f"{name}.safetensors" for name in KINDS}


def configuration(folder: Path, copy: Path) -> Path:
    """A pipeline folder without its weights."""
    return Path(shutil.copytree(folder, copy, ignore=shutil.ignore_patterns("*.safetensors")))


def drawn(backbone: PipelineBackbone) -> torch.Tensor:
    backbone.load()
    request = DrawingRequest("a dog", "a dog", 0, 0, 0)
    return Sampler(3, 4.0).draw(backbone, TextOnly(backbone.features), [request], CPU).images


def open_file(name: str, file: Path, config: Path) -> PipelineBackbone:
    backbone = KINDS[name](SingleFile(str(file), str(config)), **OF_LENGTH.get(name, {}))
    assert isinstance(backbone, PipelineBackbone)
    return backbone


@every
def test_a_file_is_drawn_with_as_the_folder_is(
    name: str, folders: dict[str, Path], files: dict[str, Path], tmp_path: Path
) -> None:
    config = configuration(folders[name], tmp_path / "config")
    backbone = open_file(name, files[name], config)
    other = KINDS[name](str(folders[name]), **OF_LENGTH.get(name, {}))
    backbone.load()
    other.load()
    expected = other.state_dict()
    assert backbone.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in backbone.state_dict().items())
    assert torch.equal(drawn(backbone), drawn(other))


@every
def test_it_is_converted_once_and_known_by_its_content(
    name: str,
    folders: dict[str, Path],
    files: dict[str, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    config = configuration(folders[name], tmp_path / "config")
    first = open_file(name, files[name], config)
    assert not list(Path(first.source).rglob("*.safetensors")), "opening it converts nothing"
    identity = first.identity
    assert str(files[name]) in caplog.text
    assert first.source in caplog.text
    moved = files[name].rename(tmp_path / "elsewhere.safetensors")
    caplog.clear()
    again = open_file(name, moved, config)
    assert again.identity == identity
    changed = load_file(moved)
    changed[next(iter(changed))] += 1
    save_file(changed, moved)
    assert open_file(name, moved, config).identity != identity
    # The folder is a pipeline folder like any other.
    folder = KINDS[name](first.source, **OF_LENGTH.get(name, {}))
    assert torch.equal(drawn(folder), drawn(first))


def test_a_second_start_converts_nothing(
    folders: dict[str, Path], files: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    open_file("sd1", files["sd1"], folders["sd1"]).check()
    assert "converting" in caplog.text
    caplog.clear()
    open_file("sd1", files["sd1"], folders["sd1"]).check()
    assert "converting" not in caplog.text


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_half(
    dtype: torch.dtype, folders: dict[str, Path], tmp_path: Path
) -> None:
    file = save_single_file(folders["sdxl"], tmp_path / "half.safetensors", dtype=dtype)
    backbone = open_file("sdxl", file, folders["sdxl"])
    backbone.check()
    for path in Path(backbone.source).rglob("*.safetensors"):
        assert {value.dtype for value in load_file(path).values()} == {dtype}


def types_in(folder: str, part: str) -> set[torch.dtype]:
    [path] = Path(folder, part).glob("*.safetensors")
    return {value.dtype for value in load_file(path).values()}


@pytest.mark.parametrize("name", ["sd1", "sdxl", "sd3", "dev"])
def test_each_network_is_in_what_most_of_it_is_in(
    name: str, folders: dict[str, Path], tmp_path: Path
) -> None:
    types = {"dtype": torch.float16, "vae": torch.float32, "text_encoder": torch.bfloat16}
    file = save_single_file(folders[name], tmp_path / "mixed.safetensors", **types)
    state = load_file(file)
    # A few weights in another type, of the denoiser and of the autoencoder, decide nothing.
    for head, other in (("model.diffusion_model.", torch.float32), ("first_", torch.float16)):
        names = [n for n in state if n.startswith(head) and n.endswith(".bias")]
        state |= {n: state[n].to(other) for n in names[:3]}
    save_file(state, file)
    backbone = open_file(name, file, configuration(folders[name], tmp_path / "config"))
    backbone.check()
    denoiser = backbone.denoiser_part
    assert types_in(backbone.source, denoiser) == {torch.float16}
    assert types_in(backbone.source, "vae") == {torch.float32}
    assert types_in(backbone.source, "text_encoder") == {torch.bfloat16}
    vae = load_file(next(Path(backbone.source, "vae").glob("*.safetensors")))
    [plain] = (folders[name] / "vae").glob("*.safetensors")
    same = [torch.equal(value, vae[key]) for key, value in load_file(plain).items()]
    assert same.count(False) <= 3, "a float32 autoencoder is not rounded"


def test_weights_in_8_bits_are_refused_by_the_networks_name(
    folders: dict[str, Path], files: dict[str, Path]
) -> None:
    state = load_file(files["sd1"])
    name = "cond_stage_model.transformer.text_model.final_layer_norm.weight"
    save_file({**state, name: state[name].to(torch.float8_e4m3fn)}, files["sd1"])
    with pytest.raises(UserError, match="holds its text_encoder in F8_E4M3; take the file in"):
        open_file("sd1", files["sd1"], folders["sd1"]).check()


def test_what_killed_processes_left_is_removed_and_what_others_write_is_not(
    cache: Path, folders: dict[str, Path], files: dict[str, Path]
) -> None:
    first = open_file("sd1", files["sd1"], folders["sd1"])
    place = Path(first.source).parent
    stale = [cache / "single_files" / ".tmp-1" / "a", Path(first.source) / ".tmp-2"]
    for folder in stale:
        folder.mkdir(parents=True)
        (folder / "half.safetensors").write_bytes(b"")
    (Path(first.source) / ".tmp-3").write_bytes(b"")
    first.check()
    assert not list(Path(first.source).glob(".tmp-*"))
    stale[1].mkdir()
    with locked(place / ".lock"):
        # Another process is at work in there.
        open_file("sdxl", files["sdxl"], folders["sdxl"])
        assert stale[1].is_dir()
    open_file("sd3", files["sd3"], folders["sd3"])
    assert not list((cache / "single_files").rglob(".tmp-*"))


def test_a_file_that_is_gone_is_what_was_made_of_it(
    folders: dict[str, Path],
    files: dict[str, Path],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = configuration(folders["sd1"], tmp_path / "config")
    monkeypatch.chdir(tmp_path)
    relative = files["sd1"].relative_to(tmp_path)
    first = open_file("sd1", relative, Path("config"))
    files["sd1"].rename(tmp_path / "moved")
    # What is half made is no model.
    assert "there is no file" in refused(SingleFile(str(relative), "config"))
    (tmp_path / "moved").rename(files["sd1"])
    identity = first.identity
    files["sd1"].unlink()
    shutil.rmtree(config)
    monkeypatch.chdir(tmp_path.parent)
    again = open_file("sd1", files["sd1"], config)
    assert again.source == first.source
    assert again.identity == identity
    said = [r.getMessage() for r in caplog.records if "is gone" in r.getMessage()]
    assert said == [f"{files['sd1']} is gone; what was made of it is taken: {first.source}"]
    # Of another configuration nothing was made.
    assert "there is no file" in refused(SingleFile(str(files["sd1"]), str(folders["sd1"])))
    (Path(first.source) / ".converted").unlink()
    assert "there is no file" in refused(SingleFile(str(files["sd1"]), str(config)))


def test_a_variant_is_of_folders(folders: dict[str, Path], files: dict[str, Path]) -> None:
    source = SingleFile(str(files["sd1"]), str(folders["sd1"]))
    with pytest.raises(UserError, match=r"^StableDiffusionBackbone\.variant: 'fp16' .*null"):
        StableDiffusionBackbone(source, variant="fp16")


def test_an_interrupted_conversion_is_done_again(
    folders: dict[str, Path], files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffusers import AutoencoderKL

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(AutoencoderKL, "save_pretrained", killed)
        with pytest.raises(KeyboardInterrupt):
            open_file("sd1", files["sd1"], folders["sd1"]).check()
    backbone = open_file("sd1", files["sd1"], folders["sd1"])
    assert torch.equal(drawn(backbone), drawn(StableDiffusionBackbone(str(folders["sd1"]))))
    assert not list(Path(backbone.source).glob(".tmp-*"))


def test_parts_that_the_file_lacks_come_from_the_folder(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    file = save_single_file(folders["sd1"], tmp_path / "pruned.safetensors", vae=False)
    config = configuration(folders["sd1"], tmp_path / "config")
    with pytest.raises(UserError, match=r"pruned\.safetensors holds no vae, and neither does"):
        open_file("sd1", file, config).check()
    backbone = open_file("sd1", file, folders["sd1"])
    assert torch.equal(drawn(backbone), drawn(StableDiffusionBackbone(str(folders["sd1"]))))


def test_a_file_that_says_that_it_predicts_v_does(
    folders: dict[str, Path], files: dict[str, Path]
) -> None:
    state = load_file(files["sdxl"]) | {"v_pred": torch.zeros(0), "ztsnr": torch.zeros(0)}
    save_file(state, files["sdxl"])
    process = open_file("sdxl", files["sdxl"], folders["sdxl"]).process
    assert isinstance(process, VariancePreserving)
    assert process.prediction is Prediction.v_prediction
    assert process.alphas_cumprod[-1] == 0


def test_the_command_line_trains_on_a_file_and_draws(
    folders: dict[str, Path],
    files: dict[str, Path],
    tmp_path: Path,
    tiny_models: TinyModels,
    capsys: pytest.CaptureFixture[str],
) -> None:
    workspace, key = make_workspace(tmp_path / "work", tiny_models), "--model.backbone.init_args"
    named = [f"{key}.source.file={files['sd1']}", f"{key}.source.config={folders['sd1']}"]
    assert workspace.fit(*named, "--trainer.max_steps=1", "--trainer.val_check_interval=null") == 0
    source = torch.load(workspace.last, weights_only=True)["idgen"]["backbone_source"]
    prompt = ["a [V] dog", "-n=1", "--steps=1", "--size=16"]
    for model in (workspace.last, source):
        out = tmp_path / f"of-{Path(model).name}"
        assert main(["sample", str(model), *prompt, f"--out={out}"]) == 0
        assert len(list((out / "images").rglob("*.png"))) == 1
    capsys.readouterr()
    no = f"--out={tmp_path / 'no'}"
    assert main(["sample", str(files["sd1"]), *prompt, no]) == 2
    said = capsys.readouterr().err
    assert "holds no configuration and no tokenizer" in said
    assert "give --backbone a pipeline folder of a Stable Diffusion 1.x" in said
    assert "Backbone.source" not in said
    config, bare = f"--backbone={folders['sd1']}", f"--out={tmp_path / 'bare'}"
    assert main(["sample", str(files["sd1"]), *prompt, bare, config]) == 0
    assert len(list((tmp_path / "bare" / "images").rglob("*.png"))) == 1
    # A file's path is a value, and no file of settings.
    for options in ([f"{key}.source={files['sd1']}"], [f"{key}.source={tmp_path / 'gone'}"]):
        assert workspace.fit(*options) == 2
        said = capsys.readouterr().err
        assert "UTF-8" not in said
        assert "holds no configuration and no tokenizer" in said or "gone" in said
    assert main(["sample", str(workspace.last), *prompt, no, f"--backbone={files['sd1']}"]) == 2
    assert "holds no configuration and no tokenizer" in capsys.readouterr().err
    # It is drawn with, though the file is gone, and not with another in its place.
    kept = files["sd1"].rename(tmp_path / "kept.safetensors")
    assert main(["sample", str(workspace.last), *prompt, f"--out={tmp_path / 'gone'}"]) == 0
    pictures = [next((tmp_path / o / "images").rglob("*.png")) for o in ("of-last.ckpt", "gone")]
    assert len({path.read_bytes() for path in pictures}) == 1
    state = load_file(kept)
    save_file({**state, name_of(state): state[name_of(state)] + 1}, files["sd1"])
    capsys.readouterr()
    assert main(["sample", str(workspace.last), *prompt, no]) == 2
    assert "have changed since" in (said := capsys.readouterr().err) or "differ from" in said


def name_of(state: dict[str, torch.Tensor]) -> str:
    return next(iter(state))


def test_weights_of_another_folder_are_another_model(
    folders: dict[str, Path], files: dict[str, Path], tmp_path: Path
) -> None:
    state = load_file(files["sd1"])
    pruned = {name: value for name, value in state.items() if not name.startswith("first_stage")}
    save_file(pruned, files["sd1"])
    first, second = tmp_path / "first", tmp_path / "second"
    for folder in (first, second):
        shutil.copytree(folders["sd1"], folder)
    [vae] = (second / "vae").glob("*.safetensors")
    changed = {name: value * 2 for name, value in load_file(vae).items()}
    save_file(changed, vae)
    one, two = (open_file("sd1", files["sd1"], folder) for folder in (first, second))
    assert one.source != two.source
    before = drawn(one)
    assert not torch.equal(before, drawn(two))
    # The folder is moved: what was made of the file looks for its weights in the new place.
    moved = first.rename(tmp_path / "moved")
    assert torch.equal(drawn(open_file("sd1", files["sd1"], moved)), before)


def test_a_file_that_is_gone_and_one_of_odd_shapes(
    folders: dict[str, Path], files: dict[str, Path], tmp_path: Path
) -> None:
    config, path = str(folders["sd1"]), tmp_path / "odd.safetensors"
    assert "there is no file" in refused(SingleFile(str(tmp_path / "gone.safetensors"), config))
    first = "model.diffusion_model.input_blocks.0.0.weight"
    for shape in ((), (3,)):
        save_file({first: torch.zeros(shape), "a.attn2.to_k.weight": torch.zeros(())}, path)
        assert "give the configuration of its own layout" in refused(SingleFile(str(path), config))


def test_without_a_network_the_configuration_has_to_be_named(files: dict[str, Path]) -> None:
    with pytest.raises(UserError, match=r"sd1\.safetensors holds no configuration .*\.config to"):
        StableDiffusionBackbone(str(files["sd1"]))


def refused(source: Source) -> str:
    with pytest.raises(UserError) as raised:
        backbone_of(source)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_what_is_no_whole_model_is_refused(
    folders: dict[str, Path], files: dict[str, Path], tmp_path: Path
) -> None:
    config, path = str(folders["sd1"]), tmp_path / "other.safetensors"

    def refusal(names: list[str]) -> str:
        save_file({name: torch.zeros(2, 4) for name in names}, path)
        return refused(SingleFile(str(path), config))

    assert "is a LoRA, and no model" in refusal(["lora_unet_mid_block.lora_up.weight"])
    assert "is a LoRA, and no model" in refusal(["unet.mid_block.to_k.lora_A.weight"])
    assert "is no whole model of a family that is known" in refusal(["blocks.0.attn.weight"])
    assert "is no whole model of a family that is known" in refusal(["down_blocks.0.weight"])
    unet, refiner = (
        "model.diffusion_model.input_blocks.0.0.weight",
        "conditioner.embedders.0.model.x",
    )
    assert "is SDXL's refiner" in refusal([unet, refiner])
    whole = files["sd1"].read_bytes()
    for size in (4, 300, len(whole) - 9):
        path.write_bytes(whole[:size])
        assert "cut short" in refused(SingleFile(str(path), config))
    pickle = tmp_path / "model.ckpt"
    pickle.write_bytes(whole)
    assert "model.ckpt is a pickle, which can run any code" in refused(str(pickle))
    assert "from_single_file" in refused(str(pickle))


def test_a_configuration_of_another_family_or_size_is_refused(
    folders: dict[str, Path], files: dict[str, Path], tmp_path: Path
) -> None:
    xl, one = folders["sdxl"], folders["sd1"]
    said = refused(SingleFile(str(files["sd1"]), str(xl)))
    assert "is a Stable Diffusion 1.x" in said
    assert "give the configuration of a StableDiffusionPipeline" in said
    config = configuration(one, tmp_path / "config")
    path = config / "unet" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "cross_attention_dim": 48}))
    said = refused(SingleFile(str(files["sd1"]), str(config)))
    assert "its U-Net has cross_attention_dim 32" in said
    path.write_text((one / "unet" / "config.json").read_text())
    text = config / "text_encoder" / "config.json"
    text.write_text(json.dumps({**json.loads(text.read_text()), "num_hidden_layers": 5}))
    with pytest.raises(UserError, match="does not fit the configuration"):
        open_file("sd1", files["sd1"], config).check()


def test_a_cache_that_cannot_be_written_is_named(
    folders: dict[str, Path],
    files: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("")
    monkeypatch.setenv("IDGEN_CACHE", str(blocked))
    assert "set IDGEN_CACHE to" in refused(SingleFile(str(files["sd1"]), str(folders["sd1"])))
