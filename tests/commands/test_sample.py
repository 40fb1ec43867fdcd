"""`idgen sample`: several models, prompts from files, pictures drawn again."""

import io
import json
import os
import shutil
import signal
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from idgen.cli import main
from idgen.loaded import sampling_job
from tests.commands.test_bad_input import Refusal, refusal  # noqa: F401
from tests.workspace import Workspace

SETTINGS = ("--steps=3", "--guidance=2.5", "--negative-prompt=snow", "--solver=ddim-sde")


def pixels(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path))


def record(path: Path) -> dict[str, object]:
    with Image.open(path) as picture:
        found: dict[str, object] = json.loads(picture.text["idgen"])  # type: ignore[attr-defined]
    return found


@pytest.fixture(scope="module")
def drawn(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models side by side, in a size of their own, with prompts from everywhere."""
    work = tmp_path_factory.mktemp("drawn")
    prompts = work / "prompts.txt"
    prompts.write_text("# scenes\n\n  a [V] {class_noun} in the snow\n", encoding="utf-8")
    out = work / "out"
    command = ["sample", str(trained.run), "a [V] dog on the beach", "--prompts", str(prompts)]
    command += ["--beside", str(trained.models.pipeline), "--out", str(out), "-n", "2"]
    assert main([*command, "--seed=7", "--size=24x16", *SETTINGS]) == 0
    return out


def test_models_stand_side_by_side(drawn: Path) -> None:
    assert sorted(path.name for path in (drawn / "images").iterdir()) == ["pipeline", "run"]
    names = sorted(path.name for path in (drawn / "images" / "run").iterdir())
    assert names == [
        "000-a-sks-dog-on-the-beach-0.png",
        "000-a-sks-dog-on-the-beach-1.png",
        "001-a-sks-dog-in-the-snow-0.png",
        "001-a-sks-dog-in-the-snow-1.png",
    ]
    bare = sorted((drawn / "images" / "pipeline").iterdir())
    assert bare[3].name == "001-a-dog-in-the-snow-1.png"
    every = [pixels(path) for path in sorted((drawn / "images").rglob("*.png"))]
    assert {picture.shape for picture in every} == {(16, 24, 3)}
    assert len({picture.tobytes() for picture in every}) == 8
    grid = pixels(drawn / "grid.png")
    # Two rows under the photos, two columns of two; each picture is 128 pixels wide at least.
    assert grid.shape[0] > 3 * 85
    assert grid.shape[1] > 4 * 128


def test_a_picture_says_how_it_was_drawn(drawn: Path, trained: Workspace) -> None:
    path = drawn / "images" / "run" / "001-a-sks-dog-in-the-snow-1.png"
    said = record(path)
    assert said["prompt"] == "a [V] dog in the snow"
    assert said["spoken"] == "a sks dog in the snow"
    assert (said["seed"], said["number"]) == (7, 1)
    assert said["sampler"] == {
        "steps": 3,
        "guidance": 2.5,
        "negative_prompt": "snow",
        "stochastic": True,
        "solver": "ddim",
        "size": [24, 16],
    }
    model = said["model"]
    assert isinstance(model, dict)
    stored = torch.load(trained.last, weights_only=True)
    assert model["path"] == str(trained.last)
    assert model["digest"] == stored["idgen"]["weights_digest"]
    assert model["step"] == 4
    with Image.open(path) as picture:
        texts = picture.text  # type: ignore[attr-defined]
    assert texts["Software"].startswith("idgen 0.")
    assert texts["Description"] == said["prompt"]


@pytest.mark.parametrize("model", ["run", "pipeline"])
def test_like_draws_it_again_to_the_pixel(
    drawn: Path, tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sorted((drawn / "images" / model).iterdir())[3]
    out = tmp_path / "again"
    assert main(["sample", "--like", str(path), "--out", str(out)]) == 0
    [again] = (out / "images").iterdir()
    assert again.name[3:] == path.name[3:]
    assert np.array_equal(pixels(again), pixels(path))
    assert record(again) == record(path)
    assert "to the pixel" in capsys.readouterr().out


def test_like_with_something_otherwise_and_with_another_picture(
    drawn: Path, tmp_path: Path, trained: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    path = sorted((drawn / "images" / "run").iterdir())[0]
    out = tmp_path / "other"
    assert main(["sample", "--like", str(path), "--out", str(out), "--seed=8"]) == 0
    [other] = (out / "images").iterdir()
    assert not np.array_equal(pixels(other), pixels(path))
    assert record(other)["sampler"] == record(path)["sampler"]

    # A picture whose pixels were changed and whose record was not.
    changed = tmp_path / "changed.png"
    with Image.open(path) as picture:
        texts = PngInfo()
        texts.add_itxt("idgen", picture.text["idgen"])  # type: ignore[attr-defined]
        pixel = picture.copy()
    pixel.putpixel((0, 0), tuple(255 - value for value in pixel.getpixel((0, 0))))  # type: ignore[union-attr]
    pixel.save(changed, pnginfo=texts)
    capsys.readouterr()
    assert main(["sample", "--like", str(changed), "--out", str(tmp_path / "no")]) == 1
    assert "differs from" in capsys.readouterr().out


def test_a_moved_model_is_named_and_another_one_is_refused(
    trained: Workspace,
    tmp_path: Path,
    refusal: Refusal,  # noqa: F811
) -> None:
    moved, base = tmp_path / "moved" / "checkpoints" / "last.ckpt", tmp_path / "base"
    moved.parent.mkdir(parents=True)
    shutil.copy(trained.last, moved)
    shutil.copytree(trained.models.pipeline, base)
    out = tmp_path / "out"
    first = ["sample", str(moved), "a [V] dog", "-n", "1", "--backbone", str(base)]
    assert main([*first, "--out", str(out)]) == 0
    [picture] = (out / "images").iterdir()
    away, again = tmp_path / "away.ckpt", tmp_path / "again"
    moved.rename(away)
    like = ["sample", "--like", str(picture), "--out", str(again)]
    line = refusal(*like)
    assert "last.ckpt, is not there any more" in line
    assert "idgen sample --like" in line
    base.rename(tmp_path / "base2")
    line = refusal(*like, str(away))
    assert f"--backbone: there is no folder '{base}'" in line
    assert not again.exists()
    assert main([*like, str(away), "--backbone", str(tmp_path / "base2")]) == 0
    assert np.array_equal(pixels(next((again / "images").iterdir())), pixels(picture))

    other = torch.load(away, weights_only=True)
    other["state_dict"] = {name: value + 1 for name, value in other["state_dict"].items()}
    del other["idgen"]["weights_digest"]
    torch.save(other, moved)
    like[-1] = str(tmp_path / "other")
    line = refusal(*like, str(moved), "--backbone", str(tmp_path / "base2"))
    assert "is not the model that drew" in line


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("a [V] dog\ncafé [V]\n".encode("latin-1"), "is not UTF-8 (line 2"),
        (b"\n# nothing\n", "holds no prompt"),
        (None, "cannot read"),
        (b"a dog in the snow", "does not name the subject"),
    ],
)
def test_prompt_files_that_cannot_be_used(
    trained: Workspace,
    tmp_path: Path,
    refusal: Refusal,  # noqa: F811
    content: bytes | None,
    said: str,
) -> None:
    path, out = tmp_path / "prompts.txt", tmp_path / "out"
    if content is not None:
        path.write_bytes(content)
    assert said in refusal("sample", str(trained.last), "--prompts", str(path), "--out", str(out))
    assert not out.exists()


def test_prompts_come_from_stdin(
    trained: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = io.TextIOWrapper(io.BytesIO("a [V] dog\n".encode("utf-8-sig")))
    monkeypatch.setattr(sys, "stdin", text)
    out = tmp_path / "out"
    command = ["sample", str(trained.last), "--prompts", "-", "--out", str(out), "-n", "1"]
    assert main([*command, "--no-record"]) == 0
    [picture] = (out / "images").iterdir()
    with Image.open(picture) as opened:
        assert opened.text == {}  # type: ignore[attr-defined]


def test_pictures_without_a_record(
    trained: Workspace,
    drawn: Path,
    tmp_path: Path,
    refusal: Refusal,  # noqa: F811
) -> None:
    out = str(tmp_path / "out")
    plain = trained.photos / "0.png"
    assert "does not say how it was drawn" in refusal("sample", "--like", str(plain), "--out", out)
    text = tmp_path / "a.png"
    text.write_text("no picture")
    assert "cannot be read as a picture" in refusal("sample", "--like", str(text), "--out", out)
    assert "there is no file" in refusal("sample", "--like", str(tmp_path / "no"), "--out", out)
    picture = str(next((drawn / "images" / "run").iterdir()))
    assert "leave prompts out" in refusal("sample", "--like", picture, "m", "p", "--out", out)
    assert "leave -n out" in refusal("sample", "--like", picture, "-n", "1", "--out", out)
    for wrong in ({"place": 99}, {"seed": "x"}, {"sampler": {"stepz": 1}}, {"format": 9}):
        changed = PngInfo()
        changed.add_itxt("idgen", json.dumps({**record(Path(picture)), **wrong}))
        with Image.open(picture) as opened:
            opened.save(tmp_path / "wrong.png", pnginfo=changed)
        line = refusal("sample", "--like", str(tmp_path / "wrong.png"), "--out", out)
        assert "says of how it was drawn cannot be read" in line
    assert not Path(out).exists()


def test_options_that_cannot_be_met(
    trained: Workspace,
    tmp_path: Path,
    refusal: Refusal,  # noqa: F811
) -> None:
    out = str(tmp_path / "out")
    command = ["sample", str(trained.last), "a [V] dog", "--out", out]
    assert "--size: 25 x 16 is not in whole latents" in refusal(*command, "--size=25x16")
    assert "--size: '3 x' is no size" in refusal(*command, "--size=3 x")
    assert "invalid choice" in refusal(*command, "--solver=euler-sde")
    assert "--steps must be 1 or more" in refusal(*command, "--steps=0")
    backbone = ("sample", str(trained.models.pipeline), "a {class_noun}", "--out", out)
    assert "no model knows what {class_noun} is" in refusal(*backbone)
    assert "MODEL is missing" in refusal("sample", "--out", out)
    assert "PROMPT is missing" in refusal("sample", str(trained.last), "--out", out)
    photo = str(trained.photos / "0.png")
    bare = refusal("sample", "mini", "a dog", "--out", out, "--reference", photo)
    assert "mini is no checkpoint" in bare
    assert not Path(out).exists()


def test_a_run_that_diverged_draws_nothing(
    trained: Workspace,
    tmp_path: Path,
    refusal: Refusal,  # noqa: F811
) -> None:
    checkpoint = torch.load(trained.last, weights_only=True)
    for value in checkpoint["state_dict"].values():
        value.mul_(1e20)
    del checkpoint["idgen"]["weights_digest"]
    path, out = tmp_path / "diverged.ckpt", tmp_path / "out"
    torch.save(checkpoint, path)
    line = refusal("sample", str(path), "a [V] dog", "--out", str(out))
    assert "draws nothing that is finite" in line
    assert not out.exists()


def test_a_signal_keeps_what_was_drawn(
    trained: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGTERM)

    # Between the first model's pictures and the second's.
    monkeypatch.setattr(sampling_job, "let_go", stop)
    out = tmp_path / "out"
    command = ["sample", str(trained.run), "a [V] dog", "-n", "1", "--out", str(out)]
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        main([*command, "--beside", str(trained.models.pipeline)])
    assert ended.value.code == 143
    assert len(list((out / "images").iterdir())) == 1
    assert signal.getsignal(signal.SIGTERM) is before


def test_an_exported_lora_draws_what_the_checkpoint_draws(
    trained: Workspace,
    tmp_path: Path,
    refusal: Refusal,  # noqa: F811
) -> None:
    """Written here with the names that diffusers has, not by idgen's own export."""
    from safetensors.torch import save_file

    state = torch.load(trained.last, weights_only=True)["state_dict"]
    weights = {
        name.removeprefix("backbone.").replace(".default.weight", ".weight"): value.contiguous()
        for name, value in state.items()
        if name.startswith("backbone.")
    }
    folder = tmp_path / "export"
    folder.mkdir()
    save_file(weights, folder / "pytorch_lora_weights.safetensors")
    command = ["a [V] dog on the beach", "-n", "2", "--steps=3"]
    line = refusal("sample", str(folder), *command, "--out", str(tmp_path / "no"))
    assert "does not say what it was trained on; give it: --backbone" in line
    out = tmp_path / "out"
    beside = ("--beside", str(folder), "--out", str(out))
    assert main(["sample", str(trained.last), *command, *beside]) == 0
    ours, theirs = (sorted((out / "images" / name).iterdir()) for name in ("run", "export"))
    assert len(ours) == len(theirs) == 2
    for one, other in zip(ours, theirs, strict=True):
        assert np.abs(pixels(one).astype(int) - pixels(other).astype(int)).max() <= 1
    like = ["sample", "--like", str(theirs[1]), "--out", str(tmp_path / "again")]
    assert main(like) == 0

    file = folder / "pytorch_lora_weights.safetensors"
    file.write_bytes(file.read_bytes()[:2000])
    for damaged in (folder, file):
        for base in ((), ("--backbone", str(trained.models.pipeline))):
            line = refusal("sample", str(damaged), *command, "--out", "no", *base)
            assert f"cannot read {file} (" in line
            assert "fetch it again" in line


def test_a_prompt_that_is_no_utf_8_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["sample", "mini", "a robot " + os.fsdecode(b"\xfc"), "--out", str(out)]) == 2
    assert "is no UTF-8" in capsys.readouterr().err
    assert not out.exists()
