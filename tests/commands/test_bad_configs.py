"""Configs that say something else than they seem to: one line, exit code 2, before work starts."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from idgen.cli import main
from tests.workspace import Workspace

Refusal = Callable[..., str]
ROOT = Path(__file__).parents[2]


@pytest.fixture
def refusal(capsys: pytest.CaptureFixture[str]) -> Refusal:
    """Runs a command that is to be refused, and returns its line."""

    def run(*arguments: str) -> str:
        capsys.readouterr()
        assert main(list(arguments)) == 2
        printed = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
        assert len(printed) == 1
        assert len(printed[0]) < 400
        return printed[0]

    return run


def written(workspace: Workspace, *path: str, value: Any) -> None:
    """Sets one key of the workspace's config."""
    settings = workspace.settings()
    inside = settings
    for key in path[:-1]:
        inside = inside.setdefault(key, {})
    inside[path[-1]] = value
    workspace.write(settings)


def added(workspace: Workspace, text: str) -> None:
    workspace.config.write_text(workspace.config.read_text() + text, encoding="utf-8")


@pytest.mark.parametrize("value", [[{"max_steps": 1}], 5, None, "no_such_file.yaml", "x" * 300])
@pytest.mark.parametrize("key", ["trainer", "data", "drawings", "checkpoint", "data.subject"])
def test_a_section_that_is_none(
    workspace: Workspace, refusal: Refusal, key: str, value: object
) -> None:
    written(workspace, *key.split("."), value=value)
    line = refusal("fit", f"--config={workspace.config}")
    assert f"{workspace.config}: {key} " in line
    assert f"such as {key}." in line


def test_a_section_that_is_none_elsewhere(workspace: Workspace, refusal: Refusal) -> None:
    config = f"--config={workspace.config}"
    assert "--trainer has to hold keys of its own" in refusal("fit", config, "--trainer=[1]")
    lone = workspace.folder / "trainer.yaml"
    lone.write_text("[1]")
    assert "trainer has to hold" in refusal("fit", config, f"--trainer={lone}")
    written(workspace, "trainer", value="trainer.yaml")
    assert "trainer has to hold" in refusal("fit", config)
    written(workspace, "model", "tuning", "init_args", value=[1])
    assert "model.tuning.init_args has to hold" in refusal("fit", config)
    workspace.config.write_text("- trainer\n")
    assert "has to hold keys and their values" in refusal("fit", config)
    workspace.config.write_text("")
    assert f"{workspace.config} is empty" in refusal("fit", config)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("\ntrainer: {max_steps: 1}\n", "the key 'trainer' is there already, in line"),
        ("\ntrainer.max_steps: 1\n", "the key 'trainer.max_steps' is there twice"),
        ("\nx: &x [*x]\n", "holds itself by an alias"),
        ("\ntrainer: [\n", "it is no YAML"),
        ("\nconfig: other.yaml\n", "a config cannot name another; give --config several times"),
    ],
)
def test_what_would_be_dropped_or_never_end(
    workspace: Workspace, refusal: Refusal, text: str, said: str
) -> None:
    added(workspace, text)
    line = refusal("fit", f"--config={workspace.config}")
    assert str(workspace.config) in line
    assert said in line


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nope: 1", "'nope'"),
        ("trainer: {max_stepz: 1}", "'trainer.max_stepz'; did you mean 'trainer.max_steps'?"),
        ("data: {validation_images: many}", "data.validation_images"),
        ("fidelity: {clip: {init_args: {nope: 1}}}", "'nope'"),
    ],
)
def test_the_config_that_has_the_key_is_named(
    workspace: Workspace, refusal: Refusal, text: str, said: str
) -> None:
    overlay = workspace.folder / "overlay.yaml"
    overlay.write_text(text)
    settings = workspace.settings()
    del settings["data"]["validation_images"]
    workspace.write(settings)
    config = f"--config={workspace.config}"
    line = refusal("fit", config, f"--config={overlay}")
    assert f"error: {overlay}: " in line
    assert said in line
    # What an option says is the option's.
    assert str(overlay) not in refusal("fit", config, "--data.validation_images=many")


def test_a_value_of_the_command_line_with_a_key_twice(
    workspace: Workspace, refusal: Refusal
) -> None:
    option = "--data.subject={photos: a, photos: b}"
    line = refusal("fit", f"--config={workspace.config}", option)
    assert "--data.subject, line 1: the key 'photos' is there twice" in line


def test_a_config_in_another_encoding(workspace: Workspace, refusal: Refusal) -> None:
    workspace.config.write_bytes(workspace.config.read_text().encode("utf-16"))
    for command in ("fit", "prepare"):
        assert "config.yaml is not UTF-8" in refusal(command, f"--config={workspace.config}")


def test_another_commands_config(workspace: Workspace, refusal: Refusal) -> None:
    benchmark = ROOT / "configs" / "benchmark" / "quick.yaml"
    for command in ("fit", "test", "prepare"):
        line = refusal(command, f"--config={benchmark}")
        assert line.endswith(f"run idgen benchmark --config {benchmark}")
    line = refusal("benchmark", f"--config={workspace.config}")
    assert f"{workspace.config} is for idgen fit; idgen benchmark takes one that names" in line


def test_a_checkpoint_that_a_config_names(
    trained: Workspace, refusal: Refusal, tmp_path: Path
) -> None:
    config = tmp_path / "resume.yaml"
    config.write_text("ckpt_path: nowhere.ckpt\n")
    assert "--ckpt_path: there is no file nowhere.ckpt" in refusal("fit", f"--config={config}")
    # Its stored config is enough, as with --ckpt_path.
    config.write_text(yaml.safe_dump({"ckpt_path": str(trained.last)}))
    options = (f"--drawings.output={tmp_path / 'out'}", "--data.predict_images=1")
    assert main(["predict", f"--config={config}", *options]) == 0
    config.write_text(yaml.safe_dump({"ckpt_path": str(trained.config)}))
    assert "is damaged or no checkpoint" in refusal("fit", f"--config={config}")


@pytest.mark.parametrize(
    ("path", "said"),
    [
        (("dta",), "there is no key dta; did you mean data?"),
        (("data", "preperation"), "no key data.preperation; did you mean data.preparation?"),
        (("model", "backbon"), "there is no key model.backbon; did you mean model.backbone?"),
        (("data", "subject", "foto"), "no key data.subject.foto; did you mean data.subject.photos"),
        (("data", "preparation", "veiws"), "did you mean 'views'?"),
    ],
)
def test_keys_that_prepare_would_pass_over(
    workspace: Workspace, refusal: Refusal, path: tuple[str, ...], said: str
) -> None:
    written(workspace, *path, value={"x": 1})
    assert said in refusal("prepare", f"--config={workspace.config}")
    assert not (workspace.folder / "prepared").exists()


def test_prepare_reads_keys_with_dots(workspace: Workspace, refusal: Refusal) -> None:
    added(workspace, "\ndata.preparation.views: -3\n")
    assert "preparation.views: -3 is below 0" in refusal("prepare", f"--config={workspace.config}")


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--data.subject.training_prompt=a [V] {classnoun}", "--data.subject.training_prompt"),
        ('--data.validation_prompts=["a [V] {0}"]', "nothing is filled in for {0}"),
        ('--data.prior={"prompt": "a {noun}"}', "nothing is filled in for {noun}"),
        ("--data.subject.class_noun=[V] dog", "--data.subject.class_noun"),
        ("--data.subject.class_noun={noun}", "--data.subject.class_noun"),
        ("--model.sampler.init_args.negative_prompt=a [V] dog", "init_args.negative_prompt"),
        ("--data.subject.photos=", "photos is blank"),
        ('--data.subject.photos=""', "photos is blank"),
        ("--data.subject.prepared=", "prepared is blank"),
        ("--model.tuning.init_args.rank=4096", "16 x 16; give 16 or less"),
        ("--model.tuning.init_args.text_rank=33", "32 x 32; give 32 or less"),
    ],
)
def test_words_and_sizes(workspace: Workspace, refusal: Refusal, option: str, said: str) -> None:
    assert said in refusal("fit", f"--config={workspace.config}", option)


def test_blank_folders_and_a_weight_of_nothing(refusal: Refusal) -> None:
    sample = ("sample", "last.ckpt", "a [V] dog")
    assert "--out is blank" in refusal(*sample, "--out", "")
    assert "give --reference too" in refusal(*sample, "--out=o", "--reference-weight=0.5")
    assert "FOLDER is blank" in refusal("prepare", "")
