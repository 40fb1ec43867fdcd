"""The training tools that need no trained weights."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from transformers import CLIPTokenizer

from idgen.errors import UserError
from idgen.mini.assets import CHECKSUMS
from idgen.mini.world import SIDE, draw, sample_factors
from tools.train_mini.all import commands
from tools.train_mini.dataset import build_dataset
from tools.train_mini.install import COPIED, install
from tools.train_mini.pictures import TrainingPictures, to_pixels
from tools.train_mini.tokenizer import build_tokenizer, known_words

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("work")
    build_dataset(folder / "data", pictures=500, workers=1)
    return folder


def test_picture_k_of_the_data_set_is_that_of_factors_k(work: Path) -> None:
    pictures = TrainingPictures.read(work)
    assert len(pictures) == 500
    rows = np.array([0, 7, 499])
    drawings = [draw(sample_factors(int(row))) for row in rows]
    truth = np.stack([drawing.picture for drawing in drawings])
    assert (pictures.pixels(rows) == to_pixels(truth)).all()
    assert float(pictures.pixels(rows).min()) >= -1
    assert float(pictures.pixels(rows).max()) <= 1
    masks = np.stack([drawing.mask for drawing in drawings])
    assert pictures.mask(rows).shape == (3, 1, SIDE, SIDE)
    assert (pictures.mask(rows)[:, 0].numpy() == masks).all()


def test_a_data_set_that_is_there_is_not_drawn_again(work: Path) -> None:
    before = (work / "data" / "pictures.npy").stat().st_mtime_ns
    build_dataset(work / "data", pictures=500, workers=1)
    assert (work / "data" / "pictures.npy").stat().st_mtime_ns == before


def test_a_data_set_of_another_size_is_not_taken_for_the_one_asked_for(work: Path) -> None:
    with pytest.raises(UserError, match="--pictures 500"):
        build_dataset(work / "data", pictures=1000, workers=1)
    assert len(TrainingPictures.read(work)) == 500


def test_a_data_set_that_a_kill_cut_off_is_drawn(tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tools.train_mini.dataset.os.replace", stop)
        with pytest.raises(KeyboardInterrupt):
            build_dataset(tmp_path / "data", pictures=500, workers=1)
    with pytest.raises(UserError, match=r"tools\.train_mini\.dataset"):
        TrainingPictures.read(tmp_path)
    build_dataset(tmp_path / "data", pictures=500, workers=1)
    assert len(TrainingPictures.read(tmp_path)) == 500


def test_each_known_word_is_one_token_and_others_are_spelt(tmp_path: Path) -> None:
    build_tokenizer(tmp_path)
    tokenizer = CLIPTokenizer.from_pretrained(tmp_path)
    for word in known_words():
        assert len(tokenizer(word, add_special_tokens=False).input_ids) == 1
    spelt = tokenizer("zebra", add_special_tokens=False).input_ids
    assert len(spelt) > 1
    assert tokenizer.decode(spelt).strip() == "zebra"
    assert tokenizer.eos_token_id == len(tokenizer) - 1


def test_install_replaces_a_part_whole(tmp_path: Path) -> None:
    source, folder = tmp_path / "work" / "sam", tmp_path / "weights" / "sam"
    (source / "inner").mkdir(parents=True)
    (source / "inner" / "a.safetensors").write_bytes(b"new")
    (source / ".hidden").write_bytes(b"x")
    folder.mkdir(parents=True)
    (folder / "stale.bin").write_bytes(b"old")
    install(source, folder)
    files = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    assert files == {"inner/a.safetensors"}
    assert {path.name for path in folder.parent.iterdir()} == {"sam"}


def test_install_command_refuses_unknown_parts_and_writes_checksums(tmp_path: Path) -> None:
    for part in COPIED:
        (tmp_path / part).mkdir()
        (tmp_path / part / "config.json").write_text("{}")
    command = [sys.executable, "-m", "tools.train_mini.install", "--work", str(tmp_path)]
    command += ["--weights", str(tmp_path / "weights")]
    refused = subprocess.run(
        [*command, "vae"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert "vae" in refused.stderr
    assert not (tmp_path / "weights").exists()
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    assert (tmp_path / "weights" / CHECKSUMS).is_file()
    assert (tmp_path / "weights" / "dino" / "config.json").is_file()


def test_install_from_a_wrong_folder_replaces_nothing(tmp_path: Path) -> None:
    weights, work = tmp_path / "weights", tmp_path / "work"
    for folder in (weights / "encoder", weights / "sam", work / "encoder"):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(folder.parent.name)
    with pytest.raises(UserError, match=str(work / "sam")):
        install(work / "sam", weights / "sam")
    command = [sys.executable, "-m", "tools.train_mini.install", "--work", str(work)]
    command += ["--weights", str(weights), "encoder", "sam"]
    refused = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert refused.returncode == 2
    assert refused.stderr.count("\n") == 1
    assert str(work / "sam") in refused.stderr
    kept = [path for path in weights.rglob("*") if path.is_file()]
    assert len(kept) == 2
    assert {path.read_text() for path in kept} == {"weights"}


def test_all_skips_what_is_done_and_stops_where_a_step_fails(tmp_path: Path) -> None:
    steps = list(commands(tmp_path, tmp_path / "weights", "cpu", 1))
    (tmp_path / "done").mkdir()
    for name in steps[: steps.index("install")]:
        (tmp_path / "done" / name).touch()
    command = [sys.executable, "-m", "tools.train_mini.all", "--work", str(tmp_path)]
    command += ["--weights", str(tmp_path / "weights")]
    stopped = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert stopped.returncode == 2
    assert stopped.stdout.count("done before") == steps.index("install")
    assert str(tmp_path / "encoder") in stopped.stderr
    assert not (tmp_path / "done" / "install").exists()
    assert not (tmp_path / "weights").exists()


def test_every_step_of_all_is_a_module_that_exists() -> None:
    folder = ROOT / "tools" / "train_mini"
    steps = commands(Path("run"), Path("kept"), "cpu", 1)
    for arguments in steps.values():
        assert (folder / f"{arguments[0]}.py").is_file()
    for name in ("install", "pipeline", "measure", "measure_pipeline"):
        assert steps[name][steps[name].index("--weights") + 1] == "kept"
