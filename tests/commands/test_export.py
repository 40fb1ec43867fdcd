"""`idgen export` from the command line to files, and what it refuses."""

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from PIL import Image

from idgen.cli import main
from idgen.commands import export as command
from idgen.errors import UserError
from idgen.export.formats import FORMATS
from idgen.export.hub import HubRepository
from idgen.export.verification import StandaloneDrawer
from tests.workspace import Workspace

FUSED = "model: {conditioning: {init_args: {fuse_at_inference: true}}}"
MOVED = "model: {backbone: {init_args: {source: /nowhere/sd15}}}"


@pytest.fixture(autouse=True)
def one_process(drawer: StandaloneDrawer, monkeypatch: pytest.MonkeyPatch) -> None:
    """All exports are drawn by one process."""
    monkeypatch.setattr(StandaloneDrawer, "__enter__", lambda self: drawer)


def exported(trained: Workspace, out: Path, *options: str, kind: str = "kohya") -> int:
    given = ("export", str(trained.last), "--format", kind, "--output", str(out))
    return main([*given, *options])


def test_an_export_is_compared_and_brings_a_card(
    trained: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "exports" / "my_dog"
    assert exported(trained, out, "--samples=2", "--base-model=owner/tiny") == 0
    printed = capsys.readouterr().out
    assert re.search(r"drawn again without idgen: at most [01] of 255 grey levels", printed)
    assert [path.name for path in out.parent.iterdir()] == ["my_dog"]
    names = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert names == {
        "sks_dog.safetensors",
        "README.md",
        "idgen_config.yaml",
        "images/drawing.png",
        "images/grid.png",
        "images/00-a_sks_dog_on_the_beach.png",
    }
    drawing = Image.open(out / "images" / "drawing.png")
    # The prompt's first drawing is also the first sample.
    assert drawing.tobytes() == Image.open(out / "images/00-a_sks_dog_on_the_beach.png").tobytes()
    check_card((out / "README.md").read_text(), trained)
    config = (out / "idgen_config.yaml").read_text()
    assert str(trained.folder) not in config
    assert yaml.safe_load(config)["model"]["tuning"]["init_args"]["rank"] == 2


def check_card(text: str, trained: Workspace) -> None:
    data = ModelCard(text).data.to_dict()
    assert data["base_model"] == "owner/tiny"
    assert data["base_model_relation"] == "adapter"
    assert data["license"] == "other"
    assert {"lora", "text-to-image", "idgen"} <= set(data["tags"])
    assert data["instance_prompt"] == "a photo of a sks dog"
    assert data["widget"] == [
        {
            "text": "a sks dog on the beach",
            "output": {"url": "images/00-a_sks_dog_on_the_beach.png"},
        }
    ]
    for heading in ("### diffusers", "### A1111 and Forge", "### ComfyUI", "## Scores"):
        assert f"\n{heading}\n" in text
    assert "idgen export last.ckpt --format kohya --output my_dog" in text
    assert "look it up before you share this" in text
    assert str(trained.folder) not in text
    rows = (trained.run / "validation" / "scores.csv").read_text().splitlines()
    last = dict(zip(rows[0].split(","), rows[-1].split(","), strict=True))
    assert f"| {float(last['dino']):.3f} | {float(last['clip_i']):.3f} |" in text


def test_names_of_formats_and_types_are_known_before_imports() -> None:
    assert tuple(FORMATS) == command.FORMATS
    assert all(isinstance(getattr(torch, name), torch.dtype) for name in command.DTYPES)


def test_a_reference_photo_goes_into_embeddings_alone(
    trained: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = str(trained.photos / "0.png")
    out = tmp_path / "out"
    assert exported(trained, out, "--reference", photo) == 2
    refused = capsys.readouterr().err
    assert "--reference: --format kohya cannot hold a photo's feature" in refused
    assert "--format embeddings" in refused
    options = ("--reference", photo, "--samples=0", "--prompt", "a [V] dog in the snow")
    assert exported(trained, out, *options, kind="embeddings") == 0
    assert "at most" in capsys.readouterr().out
    assert "- a sks dog in the snow\n" in (out / "README.md").read_text()


REFUSED = {
    "fusion at inference": (["--config=fused.yaml"], "fusion at inference"),
    "the way out": (["--config=fused.yaml"], "--format fusion, or --format embeddings"),
    "a base that moved": (["--config=moved.yaml"], "say with --base where the base model is"),
    "another base": (["--base=/nowhere"], "there is no folder '/nowhere'"),
    "offline": (["--push=user/name"], "--push: the hub cannot be reached"),
    "no name": (["--push=name"], "--push: 'name' is no name on the hub"),
    "private alone": (["--private"], "--private is for --push"),
    "samples": (["--samples=-1"], "--samples must be 0 or more"),
    "a prompt without [V]": (["--prompt=a dog"], "--prompt 'a dog' does not name the subject"),
    "an unknown type": (["--dtype=int8"], "--dtype"),
    "no photo": (["--reference-weight=1"], "give --reference too"),
}


@pytest.mark.parametrize("case", list(REFUSED))
def test_what_cannot_be_exported_is_one_line_and_leaves_nothing(
    case: str,
    trained: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: "hf_of_a_test")
    monkeypatch.chdir(tmp_path)
    Path("fused.yaml").write_text(FUSED)
    Path("moved.yaml").write_text(MOVED)
    options, said = REFUSED[case]
    before = {path.name for path in tmp_path.iterdir()}
    assert exported(trained, tmp_path / "out", *options) == 2
    error = capsys.readouterr().err.strip()
    assert said in error
    assert error.count("\n") == 0
    assert {path.name for path in tmp_path.iterdir()} == before


def test_a_method_that_fuses_nothing_needs_no_fusion_format(
    trained: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exported(trained, tmp_path / "out", kind="fusion") == 2
    assert "take --format diffusers or kohya" in capsys.readouterr().err


def test_a_full_folder_stays_as_it_is(
    trained: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    assert exported(trained, tmp_path) == 2
    assert f"--output: {tmp_path} is not empty" in capsys.readouterr().err
    assert (tmp_path / "mine.txt").read_text() == "mine"


def test_a_run_that_diverged_is_refused(
    trained: Workspace, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = torch.load(trained.last, weights_only=True)
    next(iter(checkpoint["state_dict"].values())).fill_(torch.nan)
    torch.save(checkpoint, tmp_path / "diverged.ckpt")
    options = ["--format", "kohya", "--output", str(tmp_path / "out")]
    assert main(["export", str(tmp_path / "diverged.ckpt"), *options]) == 2
    error = capsys.readouterr().err
    assert "CKPT" in error
    assert "is not finite; take another checkpoint" in error

    # Finite itself, but nothing that is drawn with it.
    checkpoint = torch.load(trained.last, weights_only=True)
    for weight in checkpoint["state_dict"].values():
        weight.mul_(1e20)
    del checkpoint["idgen"]["weights_digest"]
    torch.save(checkpoint, tmp_path / "diverged.ckpt")
    assert main(["export", str(tmp_path / "diverged.ckpt"), *options, "--samples=0"]) == 2
    assert "CKPT: it draws nothing that is finite" in capsys.readouterr().err
    assert {path.name for path in tmp_path.iterdir()} == {"diverged.ckpt"}


def test_files_that_draw_something_else_are_not_kept(
    trained: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    black = torch.zeros(3, 16, 16, dtype=torch.uint8)
    monkeypatch.setattr(StandaloneDrawer, "draw", lambda self, job: black)
    assert exported(trained, tmp_path / "out", "--samples=0") == 2
    assert "differs from idgen's own drawing by up to" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert exported(trained, tmp_path / "out", "--samples=0", "--no-verify") == 0
    assert "no (`--no-verify`)" in (tmp_path / "out" / "README.md").read_text()


class FakeHub:
    """Notes what is asked of it, as huggingface_hub's HfApi would be."""

    token = "hf_of_a_test"

    def __init__(self, fails: bool = False) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.fails = fails

    def whoami(self) -> dict[str, str]:
        return {"name": "user"}

    def create_repo(self, name: str, **options: Any) -> str:
        self.asked.append((name, options))
        return f"https://hub.test/{name}"

    def upload_folder(self, **options: Any) -> None:
        if self.fails:
            raise ConnectionError("gone")
        self.asked.append(("upload", options))


def test_a_push_makes_the_repository_and_uploads_the_folder(
    trained: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    hub = FakeHub()
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: hub)
    options = ("--push=user/my_dog", "--private", "--no-verify", "--samples=0")
    assert exported(trained, tmp_path / "out", *options) == 0
    assert "uploaded to https://hub.test/user/my_dog" in capsys.readouterr().out
    (name, made), (_, sent) = hub.asked
    assert (name, made["private"]) == ("user/my_dog", True)
    assert sent["folder_path"] == str(tmp_path / "out")
    assert 'load_lora_weights("user/my_dog"' in (tmp_path / "out" / "README.md").read_text()


def test_a_push_that_breaks_off_keeps_the_folder(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=rf"the export is in {tmp_path}: hf upload user/name"):
        HubRepository("user/name", False, FakeHub(fails=True)).push(tmp_path, "message")


def test_a_push_without_a_token_says_where_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    hub = FakeHub()
    hub.token = ""
    with pytest.raises(UserError, match="there is no token; set HF_TOKEN"):
        HubRepository("user/name", False, hub).check()
