"""Each is one line, exit code 2, before work starts, nothing lost."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from idgen.cli import main
from tests.loading import nothing_loaded
from tests.tiny import save_open_clip, save_pipeline
from tests.workspace import Workspace, run_idgen


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs a command that is to be refused, and returns its line."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        assert main(list(arguments)) == 2
        printed = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
        assert len(printed) == 1
        return printed[0]

    return run


Refusal = Callable[..., str]


def fit(workspace: Workspace, *options: str) -> list[str]:
    return ["fit", f"--config={workspace.config}", *options]


def test_no_photo(workspace: Workspace, refusal: Refusal, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    assert str(empty) in refusal(*fit(workspace, f"--data.subject.photos={empty}"))
    assert str(tmp_path / "no") in refusal(*fit(workspace, f"--data.subject.photos={tmp_path}/no"))


@pytest.mark.parametrize("content", [b"", b"this is no image", None])
def test_a_file_that_is_no_whole_image(
    workspace: Workspace, refusal: Refusal, content: bytes | None
) -> None:
    broken = workspace.photos / "9.png"
    whole = (workspace.photos / "0.png").read_bytes()
    broken.write_bytes(whole[: len(whole) // 2] if content is None else content)
    assert "9.png" in refusal(*fit(workspace))
    assert not workspace.last.exists()


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"", "is empty"), (b"\xff", "is no UTF-8"), (b"a sks dog", "names the token 'sks'")],
)
def test_a_caption_that_cannot_be_used(
    workspace: Workspace, refusal: Refusal, content: bytes, said: str
) -> None:
    path = workspace.photos / "1.txt"
    path.write_bytes(content)
    with nothing_loaded():
        line = refusal(*fit(workspace, "--data.captions.use=always"))
    assert f"the caption {path} {said}" in line
    assert not workspace.run.exists()
    assert not (workspace.folder / "prepared").exists()


def test_a_misspelled_key_names_the_nearest(workspace: Workspace, refusal: Refusal) -> None:
    assert "max_steps" in refusal(*fit(workspace, "--trainer.max_stepz=3"))
    assert "rank" in refusal(*fit(workspace, "--model.tuning.init_args.rnak=3"))
    settings = workspace.settings()
    settings["data"]["batchsize"] = settings["data"].pop("batch_size")
    workspace.write(settings)
    assert "batch_size" in refusal(*fit(workspace))


@pytest.mark.parametrize(
    ("option", "whole"), [("--trainer.max_step=3", "max_steps"), ("--ckpt_pat=x", "ckpt_path")]
)
def test_a_key_cut_short_is_no_key(
    workspace: Workspace, refusal: Refusal, option: str, whole: str
) -> None:
    assert f"did you mean '{whole}'?" in refusal(*fit(workspace, option)).replace("trainer.", "")


@pytest.mark.parametrize(
    ("option", "reason"),
    [
        ("--data.prior.cuont=3", "Option 'cuont' is not accepted; did you mean 'count'?"),
        ("--data.prior.count=0", "count and batch_size must be 1 or more"),
        ("--fidelity.segmenter=idgen.prepare.NoSuch", "has no attribute 'NoSuch'"),
    ],
)
def test_a_refusal_of_an_optional_part_is_its_own_reason(
    workspace: Workspace, refusal: Refusal, option: str, reason: str
) -> None:
    line = refusal(*fit(workspace, option))
    assert line.rstrip().endswith(reason)
    assert "NoneType" not in line


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("--model.tuning=idgen.models.tuning.LoraTunning", "idgen.models.tuning.LoraTuning"),
        ("--model.tuning=idgen.model.tuning.LoraTuning", "idgen.models.tuning.LoraTuning"),
        ("--model.tuning=LoraTunning", "idgen.models.tuning.LoraTuning"),
        (
            "--model.conditioning=idgen.models.conditioning.TextOnyl",
            "idgen.models.conditioning.TextOnly",
        ),
        ("--model.optimizer=torch.optim.AdamWW", "torch.optim.AdamW"),
        ("--fidelity.segmenter=idgen.prepare.GrabcutSegmenter", "idgen.prepare.GrabCutSegmenter"),
        ("--fidelity.clip=idgen.metrics.encoders.Nothing", None),
    ],
)
def test_an_unknown_class_names_the_nearest(
    workspace: Workspace, refusal: Refusal, option: str, meant: str | None
) -> None:
    line = refusal(*fit(workspace, option))
    key, _, given = option.removeprefix("--").partition("=")
    assert key in line
    assert given.rpartition(".")[2] in line
    assert "Expected a path" not in line
    if meant is None:
        assert "did you mean" not in line
    else:
        assert line.endswith(f"; did you mean {meant!r}?")


def test_an_unknown_class_in_a_config_names_the_nearest(
    workspace: Workspace, refusal: Refusal
) -> None:
    text = workspace.config.read_text()
    workspace.config.write_text(text.replace("prepare.MaskFiles", "prepare.MaskFile"))
    assert refusal(*fit(workspace)).endswith("; did you mean 'idgen.prepare.MaskFiles'?")
    line = refusal("prepare", f"--config={workspace.config}")
    assert line.endswith("; did you mean 'idgen.prepare.MaskFiles'?")


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_a_command_without_a_config_asks_for_one(refusal: Refusal, command: str) -> None:
    line = refusal(command)
    assert "--data.subject.photos" in line
    assert "--config" in line


def test_an_image_encoder_of_another_width(
    workspace: Workspace, refusal: Refusal, tmp_path: Path
) -> None:
    wide = save_open_clip(tmp_path / "wide", width=48)
    key = "--data.preparation.image_encoder.init_args.model"
    line = refusal(*fit(workspace, f"{key}=local-dir:{wide}"))
    assert "48" in line
    assert "32" in line


def test_another_backbone(trained: Workspace, refusal: Refusal, tmp_path: Path) -> None:
    other = save_pipeline(tmp_path / "other", seed=5)
    option = f"--model.backbone.init_args.source={other}"
    line = refusal("test", f"--ckpt_path={trained.last}", option, f"--drawings.output={tmp_path}/o")
    assert "backbone" in line


def test_another_method(trained: Workspace, refusal: Refusal, tmp_path: Path) -> None:
    options = [f"--ckpt_path={trained.last}", f"--drawings.output={tmp_path}/o"]
    line = refusal("test", *options, "--model.tuning.init_args.rank=3")
    assert "another method or size" in line
    line = refusal("test", *options, "--model.conditioning.init_args.experts=0")
    assert "another method or size" in line


def test_another_method_of_the_same_shapes_is_not_trained_further(
    trained: Workspace, refusal: Refusal, tmp_path: Path
) -> None:
    before = trained.last.read_bytes()
    resume = ["fit", f"--ckpt_path={trained.last}", "--trainer.max_steps=5"]
    for option, named in (
        ("--model.conditioning.init_args.fused=implicit", "model.conditioning.fused"),
        ("--model.conditioning.init_args.fuse_at_inference=true", "fuse_at_inference"),
        ("--model.tuning.init_args.alpha=7", "model.tuning.alpha"),
    ):
        assert named in refusal(*resume, option)
    assert trained.last.read_bytes() == before
    out = f"--drawings.output={tmp_path}/o"
    draw = ["predict", f"--ckpt_path={trained.last}", "--data.predict_images=1"]
    assert "model.tuning.alpha" in refusal(*draw, out, "--model.tuning.init_args.alpha=7")
    fused = "--model.conditioning.init_args.fuse_at_inference=true"
    assert main([*draw, out, fused]) == 0


def test_a_reference_that_would_have_another_photos_mask(
    workspace: Workspace, refusal: Refusal, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    photo = shutil.copy(workspace.photos / "0.png", tmp_path / "elsewhere" / "0.png")
    line = refusal("predict", f"--config={workspace.config}", f"--data.reference={photo}")
    assert "is no photo of the trained subject" in line
    assert not workspace.run.exists()


def test_a_reference_that_the_method_cannot_keep(
    workspace: Workspace, refusal: Refusal, tmp_path: Path
) -> None:
    photo = workspace.photos / "0.png"
    method = "--model.conditioning=idgen.models.conditioning.TextOnly"
    broken = "--data.preparation.segmenter.init_args.folder=/nowhere"
    options = (f"--config={workspace.config}", method, broken, f"--data.reference={photo}")
    # Before the segmenter is asked for anything.
    assert "--data.reference: " in refusal("predict", *options)


def test_a_prompt_without_the_token(trained: Workspace, refusal: Refusal, tmp_path: Path) -> None:
    out = tmp_path / "out"
    line = refusal("sample", str(trained.last), "a dog on the beach", "--out", str(out))
    assert "[V]" in line
    assert not out.exists()


def test_a_prompt_that_is_too_long(trained: Workspace, refusal: Refusal, tmp_path: Path) -> None:
    prompt = "a [V] dog " + "on the beach " * 10
    assert "32" in refusal("sample", str(trained.last), prompt, "--out", str(tmp_path / "out"))


def test_sample_names_its_own_options(trained: Workspace, refusal: Refusal, tmp_path: Path) -> None:
    command = ["sample", str(trained.last), "a [V] dog", "--out", str(tmp_path / "out")]
    for option, value in (("--steps", "5000"), ("--guidance", "nan"), ("--reference-weight", "-2")):
        more = ["--reference", str(trained.photos / "0.png")] if "weight" in option else []
        assert f"error: {option}" in refusal(*command, *more, f"{option}={value}")
    for name in ("no.ckpt", "null"):  # null is a word of YAML
        assert f"error: CKPT: there is no file {name};" in refusal("sample", name, *command[2:])
    assert "photo 'null' does not exist" in refusal(*command, "--reference=null")


def test_a_test_that_would_draw_nothing(
    trained: Workspace, refusal: Refusal, tmp_path: Path
) -> None:
    given = ["test", f"--ckpt_path={trained.last}", f"--drawings.output={tmp_path / 'out'}"]
    said = refusal(*given, "--trainer.limit_test_batches=0")
    assert "limit_test_batches is 0, and so nothing is drawn" in said
    assert not (tmp_path / "out").exists()


def test_a_run_is_not_overwritten(trained: Workspace, refusal: Refusal) -> None:
    before = trained.last.read_bytes()
    line = refusal(*fit(trained))
    assert "holds this run, which is finished" in line
    assert "--ckpt_path" in line
    assert "holds another run" in refusal(*fit(trained, "--trainer.max_steps=9"))
    assert trained.last.read_bytes() == before


def test_drawings_are_not_overwritten(trained: Workspace, refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    line = refusal("sample", str(trained.last), "a [V] dog", "--out", str(tmp_path))
    assert "not empty" in line
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_no_right_to_write(workspace: Workspace, refusal: Refusal, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("a file, no folder")
    option = f"--trainer.default_root_dir={tmp_path / 'file' / 'run'}"
    assert "cannot write" in refusal(*fit(workspace, option))


def test_no_space(workspace: Workspace, refusal: Refusal, monkeypatch: pytest.MonkeyPatch) -> None:
    full = shutil.disk_usage(workspace.folder)._replace(free=1 << 20)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: full)
    assert "1 MiB" in refusal(*fit(workspace))
    assert not workspace.run.exists()


def test_a_hub_id_without_a_network(workspace: Workspace, refusal: Refusal) -> None:
    option = "--model.backbone.init_args.source=nobody/no-such-model"
    line = refusal(*fit(workspace, option))
    assert "folder" in line
    assert "nobody/no-such-model" in line


def test_checkpoints_that_are_none(workspace: Workspace, refusal: Refusal, tmp_path: Path) -> None:
    assert "no file" in refusal("test", f"--ckpt_path={tmp_path}/no.ckpt")
    damaged = tmp_path / "damaged.ckpt"
    damaged.write_bytes(b"PK not a checkpoint")
    assert "damaged" in refusal("test", f"--ckpt_path={damaged}")
    foreign = tmp_path / "foreign.ckpt"
    torch.save({"state_dict": {}}, foreign)
    assert "not written by idgen" in refusal("test", f"--ckpt_path={foreign}")


def test_a_truncated_checkpoint(trained: Workspace, refusal: Refusal, tmp_path: Path) -> None:
    short = tmp_path / "short.ckpt"
    shutil.copy(trained.last, short)
    with short.open("r+b") as file:
        file.truncate(short.stat().st_size // 2)
    assert "damaged" in refusal("test", f"--ckpt_path={short}")


def test_a_token_that_the_tokenizer_spells(workspace: Workspace, refusal: Refusal) -> None:
    assert "zebra" in refusal(*fit(workspace, "--data.subject.token=zebra"))


@pytest.mark.parametrize(
    ("option", "named"),
    [
        ("--model.tuning.init_args.rank=0", "rank"),
        ("--model.tuning.init_args.targets=[]", "targets"),
        ("--model.tuning.init_args.targets=[to_out]", "to_out"),
        ("--model.sampler.init_args.steps=0", "steps"),
        ("--model.sampler.init_args.steps=5000", "noise schedule"),
        (f"--model.sampler.init_args.negative_prompt={'on the beach ' * 20}", "negative_prompt"),
        (
            '--data.prior={"count": 1, "sampler": {"class_path": "idgen.sampling.Sampler", '
            '"init_args": {"steps": 5000}}}',
            "--data.prior.sampler: Sampler.steps",
        ),
        (
            '--fidelity.segmenter={"class_path": "idgen.prepare.MaskFiles", '
            '"init_args": {"folder": "masks"}}',
            "fidelity.segmenter",
        ),
        ("--model.conditioning.init_args.experts=-1", "experts"),
        ("--model.conditioning.init_args.explicit=false", "explicit"),
        ("--model.conditioning.init_args.entry_scale=0", "entry_scale"),
        ("--model.conditioning.init_args.dropout=1", "dropout must be"),
        ("--model.conditioning.init_args.low_rank=0", "low_rank must be"),
        ("--data.other_background=2", "data.other_background must be"),
        ("--data.composites.count=3", "data.composites: the backgrounds are those of data.scenes"),
        ("--data.composites.share=0", "share must be"),
        ("--data.scenes.per_prompt=0", "per_prompt"),
        ("--data.scenes.per_prompt=2", "data.scenes"),
        (
            "--model.terms.scene_diffusion=idgen.terms.SceneDiffusion",
            "data.scenes: terms.SceneDiffusion needs scene images",
        ),
        ("--model.terms.diffusion.init_args.weight=-1", "--model.terms.diffusion.init_args.weight"),
        (
            '--model.terms.prior_preservation={"class_path": "idgen.terms.PriorPreservation", '
            '"init_args": {"weight": -1}}',
            "--model.terms.prior_preservation.init_args.weight must",
        ),
        ("--model.terms.implicit_text.init_args.weight=.nan", "implicit_text"),
        ("--model.terms.diffusion.init_args.background=1.5", "background"),
        (
            '--model.terms.mine={"class_path": "idgen.terms.AttentionInMask"}',
            "--model.terms.mine.init_args.reduction: ",
        ),
        ('--model.background_noise={"end": 0.7}', "--model.background_noise.start must"),
        (
            '--model.conditioning={"class_path": "idgen.models.residual_tokens.ResidualTokens", '
            '"init_args": {"photos": 2}}',
            "--model.conditioning.init_args.photos: it is 2, and there are 3 photos; set it to 3",
        ),
        ("--model.sampler.init_args.guidance=.nan", "guidance"),
        ("--model.tuning.init_args.alpha=0", "alpha"),
        ("--model.backbone.init_args.min_snr_gamma=.nan", "min_snr_gamma"),
        ("--model.optimizer.init_args.lr=-1", "learning rate"),
        (
            '--model.scheduler={"class_path": "torch.optim.lr_scheduler.StepLR", '
            '"init_args": {"step_size": 0}}',
            "--model.scheduler",
        ),
        ("--data.prior.count=0", "count"),
        ("--data.subject.token=<new1>", "TokenTuning"),
        ("--data.subject.token=dog", "part of the class noun"),
        ("--data.subject.token=photo", "part of the training prompt"),
        ("--trainer.precision=bf16-true", "take bf16-mixed"),
        (
            "--model.terms.weak_denoising.init_args.background=null",
            "--model.terms.weak_denoising.init_args.background is null",
        ),
        ("--data.batch_size=null", "data.batch_size"),
        ("--model.tuning.init_args.rank=null", "--model.tuning.init_args.rank is null"),
        ("--model.backbone.init_args.min_snr_gamma=-1", "min_snr_gamma"),
        ("--fidelity.clip.init_args.batch_size=0", "batch_size"),
        ("--fidelity.dino.init_args.model=/nowhere", "/nowhere"),
        (
            '--fidelity.segmenter={"class_path": "idgen.prepare.SamSegmenter", '
            '"init_args": {"checkpoint": "/nowhere.pth"}}',
            "/nowhere.pth",
        ),
        ("--fidelity.scores=[tests.parts_of_users.Brightnes]", "Brightness"),
        ("--drawings.grid_prompts=0", "grid_prompts"),
        ("--checkpoint.monitor=val/foo", "val/balance"),
        ("--checkpoint.keep=-7", "keep"),
        ("--seed_everything=-1", "seed_everything"),
        ("--trainer.max_steps=-5", "max_steps"),
        ("--trainer.accelerator=foo", "foo"),
        ("--data.preparation.image_encoder.init_args.model=local-dir:/nowhere", "/nowhere"),
        ("--data.preparation.segmenter.init_args.folder=/nowhere", "/nowhere"),
        ("--data.preparation.init_args.resolution=4", "resolution"),
        ("--data.reference_weight=-2", "reference_weight"),
        ("--data.captions.dropout=1", "data.captions.dropout must be in [0, 1)"),
        ("--data.captions.shared_scene=1.5", "data.captions.shared_scene is a cosine"),
        ("--data.captions.use=sometimes", "{never,always,auto}"),
        ("--data.captions.use=auto", "has a caption, put NAME.txt beside the photos"),
        (
            '--data.preparation.captioner={"class_path": "idgen.prepare.ClipCaptioner", '
            '"init_args": {"phrases": "/nowhere.txt"}}',
            "--data.preparation.init_args.captioner.init_args.phrases: cannot read /nowhere.txt",
        ),
        (
            '--data.preparation.captioner={"class_path": "idgen.prepare.VlmCaptioner", '
            '"init_args": {"model": {"class_path": "idgen.models.vision_language.'
            'VisionLanguageModel", "init_args": {"model": "/nowhere"}}}}',
            "captioner.init_args.model.init_args.model: there is no folder '/nowhere'",
        ),
        ('--data.validation_prompts=["a [V]robot"]', "word of its own"),
        ("--data.validation_prompts=[a [V] dog]", "quote"),
        ("--data.validation_prompts=config.yaml", "config.yaml"),
    ],
)
def test_values_out_of_range(
    workspace: Workspace, refusal: Refusal, option: str, named: str
) -> None:
    with nothing_loaded():
        line = refusal(*fit(workspace, option))
    assert named in line
    assert len(line) < 400
    assert not workspace.run.exists()


def test_a_captioner_is_no_model_that_scores(workspace: Workspace, refusal: Refusal) -> None:
    model = workspace.settings()["fidelity"]["clip"]["init_args"]["model"]
    captioner = {"class_path": "idgen.prepare.ClipCaptioner", "init_args": {"model": model}}
    given = f"--data.preparation.captioner={json.dumps(captioner)}"
    with nothing_loaded():
        line = refusal(*fit(workspace, "--data.captions.use=always", given))
    assert "captioner: its model is that of fidelity.clip" in line
    assert not workspace.run.exists()
    assert not (workspace.folder / "prepared").exists()


def test_no_other_photo_to_be_told_of(workspace: Workspace, refusal: Refusal) -> None:
    for name in ("1.png", "2.png"):
        (workspace.photos / name).unlink()
    line = refusal(*fit(workspace, "--data.other_background=0.5"))
    assert "data.other_background: there is one photo" in line
    assert not workspace.run.exists()


def test_checkpoints_of_another_are_not_replaced(workspace: Workspace, refusal: Refusal) -> None:
    workspace.last.parent.mkdir(parents=True)
    workspace.last.write_text("precious")
    assert "holds another run" in refusal(*fit(workspace))
    elsewhere = workspace.folder / "elsewhere"
    options = [
        f"--trainer.default_root_dir={elsewhere}",
        f"--checkpoint.dirpath={workspace.last.parent}",
    ]
    assert "holds another run" in refusal(*fit(workspace, *options))
    assert workspace.last.read_text() == "precious"


def test_a_refused_resume_leaves_the_prepared_subject_alone(
    workspace: Workspace, refusal: Refusal, tmp_path: Path
) -> None:
    assert workspace.fit("--trainer.max_steps=1") == 0
    prepared = workspace.folder / "prepared"
    before = sorted(prepared.rglob("*"))
    other = save_pipeline(tmp_path / "other", seed=5)
    option = f"--model.backbone.init_args.source={other}"
    assert "backbone" in refusal("fit", f"--ckpt_path={workspace.last}", option)
    assert sorted(prepared.rglob("*")) == before


def test_a_loss_that_is_not_finite_keeps_the_checkpoint(
    workspace: Workspace, refusal: Refusal
) -> None:
    assert workspace.fit("--trainer.max_steps=1") == 0
    before = workspace.last.read_bytes()
    # Their sum is beyond float32.
    weights = [f"--model.terms.{n}.init_args.weight=3e38" for n in ("diffusion", "weak_denoising")]
    line = refusal("fit", f"--ckpt_path={workspace.last}", "--trainer.max_steps=3", *weights)
    assert "not finite" in line
    assert workspace.last.read_bytes() == before


def test_a_run_that_failed_early_can_be_started_again(workspace: Workspace) -> None:
    workspace.run.mkdir()
    (workspace.run / "config.yaml").write_text("left: behind")
    assert workspace.fit("--trainer.max_steps=1", "--trainer.num_sanity_val_steps=0") == 0


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model_index.json", "{"),
        ("model_index.json", "{}"),
        ("scheduler/scheduler_config.json", None),
        ("tokenizer/vocab.json", None),
        ("tokenizer/tokenizer.json", "{"),
        ("text_encoder/model.safetensors", "short"),
        ("vae/config.json", "{}"),
    ],
)
def test_a_damaged_pipeline_is_named(
    workspace: Workspace, refusal: Refusal, tmp_path: Path, file: str, content: str | None
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(workspace.models.pipeline, copy)
    if file == "tokenizer/vocab.json":
        (copy / "tokenizer" / "tokenizer.json").unlink(missing_ok=True)
    if content is None:
        (copy / file).unlink()
    else:
        (copy / file).write_text(content)
    line = refusal(*fit(workspace, f"--model.backbone.init_args.source={copy}"))
    assert str(copy) in line


def test_photos_are_checked_before_weights_are_loaded(
    workspace: Workspace, refusal: Refusal, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(workspace.models.pipeline, copy)
    (copy / "unet" / "diffusion_pytorch_model.safetensors").write_text("short")
    source = f"--model.backbone.init_args.source={copy}"
    assert str(copy) in refusal(*fit(workspace, source))
    (workspace.folder / "masks" / "1.png").unlink()
    assert "masks missing" in refusal(*fit(workspace, source))
    broken = workspace.photos / "9.png"
    broken.write_text("this is no image")
    assert "9.png" in refusal(*fit(workspace, source))
    (workspace.folder / "mine").mkdir()
    (workspace.folder / "mine" / "mine.txt").write_text("mine")
    prepared = f"--data.subject.prepared={workspace.folder / 'mine'}"
    assert "holds other files" in refusal(*fit(workspace, source, prepared))
    line = refusal("predict", f"--config={workspace.config}", source, f"--data.reference={broken}")
    assert "9.png" in line


def test_a_refusal_is_one_line_and_a_run_says_its_seed(workspace: Workspace) -> None:
    whole = run_idgen("fit", f"--config={workspace.config}", "--trainer.max_steps=1")
    assert whole.returncode == 0, whole.stderr
    assert whole.stderr.count("Seed set to 0\n") == 1
    refused = run_idgen(
        "fit", f"--config={workspace.config}", "--fidelity.dino.init_args.model=/no"
    )
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1, refused.stderr
    assert not refused.stdout


def test_noise_that_fades_over_a_run_without_an_end(workspace: Workspace, refusal: Refusal) -> None:
    endless = ("--trainer.max_steps=-1", "--trainer.max_epochs=-1", "--model.background_noise={}")
    assert "--trainer.max_steps: " in refusal(*fit(workspace, *endless))
