"""Two subjects through the real command line, with the embedded models."""

import csv
import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from idgen.backbones import StableDiffusionBackbone
from idgen.cli import main
from idgen.data.datamodule import SubjectDataModule
from idgen.data.pairs import Pairs
from idgen.data.subject import Subject
from idgen.mini.truth import PAIR_SCORES
from idgen.prepare.subject import stacked

CONFIGS = Path(__file__).parents[1] / "configs"
SAMPLER = "--model.sampler.init_args.steps=2"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with prepared subjects, pairs and a run of two steps; not to be changed."""
    folder = tmp_path_factory.mktemp("two")
    assert main(["fit", *options(folder)]) == 0
    return folder


def options(folder: Path, *more: str) -> list[str]:
    return [
        f"--config={CONFIGS / 'two_subjects.yaml'}",
        f"--trainer.default_root_dir={folder / 'run'}",
        f"--data.subject.prepared={folder / 'robot'}",
        f"--data.companion.prepared={folder / 'cat'}",
        "--trainer.max_steps=2",
        "--trainer.val_check_interval=2",
        "--trainer.num_sanity_val_steps=0",
        "--trainer.accelerator=cpu",
        "--data.pairs.count=6",
        "--data.validation_images=1",
        SAMPLER,
        *more,
    ]


def last(folder: Path) -> Path:
    return folder / "run" / "checkpoints" / "last.ckpt"


def test_it_trains_on_both_and_on_pairs(folder: Path) -> None:
    assert len(list((folder / "pairs").glob("robot-cat-*/*.png"))) == 6
    stored = yaml.safe_load((folder / "run" / "config.yaml").read_text())["data"]
    assert stored["companion"]["prepared"] == str(folder / "cat")
    scores = list(csv.DictReader((folder / "run" / "validation" / "scores.csv").open()))
    assert [row["step"] for row in scores] == ["2"]


def test_what_was_trained_is_tested_with_true_scores(folder: Path, tmp_path: Path) -> None:
    command = ["test", f"--ckpt_path={last(folder)}", "--data.test_images=1"]
    assert main([*command, f"--drawings.output={tmp_path / 'test'}"]) == 0
    metrics = json.loads((tmp_path / "test" / "metrics.json").read_text())
    assert metrics["images"] == 10
    assert metrics["subject"] == "robot and cat"
    for name in ("both_there", "first_identity", "second_identity", "both_right"):
        assert 0 <= metrics[name] <= 1
    assert metrics["leakage"] is metrics["masked_dino"] is None
    with (tmp_path / "test" / "images.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert set(PAIR_SCORES) <= rows[0].keys()
    assert rows[1]["prompt"] == "a zwx cat and a sks robot in the desert"
    assert rows[1]["plain_prompt"] == "a cat and a robot in the desert"
    right = [float(row["both_right"]) for row in rows if row["both_right"]]
    assert metrics["both_right"] == pytest.approx(sum(right) / len(right))


def test_both_or_one_of_them_are_drawn_from_the_checkpoint_alone(
    folder: Path, tmp_path: Path
) -> None:
    prompts = ["a [V1] robot and a [V2] cat in the snow", "a [V2] cat at night"]
    command = ["sample", str(last(folder)), *prompts, "-n", "1", "--steps", "2"]
    assert main([*command, "--out", str(tmp_path / "out")]) == 0
    names = sorted(path.name for path in (tmp_path / "out" / "images").iterdir())
    assert names == [
        "000-a-sks-robot-and-a-zwx-cat-in-the-snow-0.png",
        "001-a-zwx-cat-at-night-0.png",
    ]


def test_each_row_is_told_whom_it_shows(folder: Path) -> None:
    data = SubjectDataModule(
        Subject("mini:robot", prepared=str(folder / "robot")),
        StableDiffusionBackbone("mini"),
        batch_size=32,
        test_prompts="mini-two",
        validation_prompts="mini-two",
        companion=Subject("mini:cat", token="zwx", prepared=str(folder / "cat")),
        pairs=Pairs(count=6),
    )
    data.prepare_data()
    data.setup("fit")
    robots, cats = (one.open().load_views() for one in data._sets)
    batches = iter(data.train_dataloader())
    shown: Counter[str] = Counter()
    for _ in range(4):
        batch = next(batches)
        for row, (spoken, plain) in enumerate(zip(batch.prompts, batch.class_prompts, strict=True)):
            latents = batch.latent_mean[row]
            if spoken == "a photo of a sks robot":
                assert plain == "a photo of a robot"
                assert (stacked(robots.latent_mean) == latents).flatten(1).all(dim=1).any()
            elif spoken == "a photo of a zwx cat":
                assert plain == "a photo of a cat"
                assert (stacked(cats.latent_mean) == latents).flatten(1).all(dim=1).any()
            else:
                assert {"sks", "zwx"} < set(spoken.split())
                assert not {"sks", "zwx"} & set(plain.split())
                assert torch.equal(batch.subject_mask[row], torch.ones_like(latents[:1]))
            shown[plain] += 1
    assert set(shown) == {
        *("a photo of a robot", "a photo of a cat"),
        *("a photo of a robot and a cat", "a photo of a cat and a robot"),
    }
    both = shown["a photo of a robot and a cat"] + shown["a photo of a cat and a robot"]
    assert 0.3 < both / 128 < 0.7


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--data.companion.token=sks"], "--data.companion.token 'sks' is the token of the first"),
        (["--data.companion.token=a b"], "--data.companion.token 'a b' is 2 tokens"),
        (['--data.test_prompts=["a [V1] robot"]'], "--data.test_prompts: prompt 'a [V1] robot'"),
        (["--data.validation_prompts=mini"], "--data.validation_prompts: prompt"),
        (['--data.predict_prompts=["a cat"]'], "names neither subject"),
        (["--data.pairs.prompt=a [V2] {class_noun2}"], "--data.pairs.prompt"),
        (["--data.companion=null"], "--data.pairs: there is one subject"),
        (["--data.other_background=0.5"], "--data.other_background is for one subject"),
        (["--data.companion.photos=mini:robot"], "a photo is one of data.subject.photos too"),
        (["--data.companion.photos=nowhere"], "nowhere"),
        (
            [f"--config={CONFIGS / 'method' / 'textual_inversion.yaml'}"],
            "trains the word of one subject",
        ),
        (
            [f"--config={CONFIGS / 'mechanism' / 'attention_in_mask.yaml'}"],
            "terms.attention_in_mask",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else None,
)
def test_bad_input_is_one_line_before_any_work(
    more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fit", *options(tmp_path, *more)]) == 2
    errors = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(errors) == 1
    assert said in errors[0]
    assert not list(tmp_path.iterdir())


def test_one_folder_is_not_for_two(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = f"--data.companion.prepared={tmp_path / 'robot'}"
    assert main(["fit", *options(tmp_path, same)]) == 2
    assert "--data.companion.prepared: both subjects" in capsys.readouterr().err


def test_prepare_takes_both(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = folder / "run" / "config.yaml"
    assert main(["prepare", f"--config={config}"]) == 0
    out = capsys.readouterr().out
    assert f"{folder / 'robot'} is up to date: 5 photos" in out
    assert f"{folder / 'cat'} is up to date: 5 photos" in out


def test_both_are_exported_and_drawn_with_what_was_exported(folder: Path, tmp_path: Path) -> None:
    prompt, out = "a [V1] robot and a [V2] cat in the snow", tmp_path / "out"
    made = ["--format", "kohya", "--output", str(tmp_path / "both"), "--samples=0"]
    assert main(["export", str(folder / "run"), *made, "--no-verify", "--prompt", prompt]) == 0
    card = (tmp_path / "both" / "README.md").read_text()
    assert "\n# sks robot and zwx cat\n" in card
    # The base is found in the card.
    command = ["sample", str(tmp_path / "both"), prompt, "--beside", str(folder / "run")]
    assert main([*command, "-n", "1", "--steps=2", "--out", str(out)]) == 0
    ours, theirs = (next((out / "images" / name).iterdir()) for name in ("run", "both"))
    assert theirs.name == "000-a-sks-robot-and-a-zwx-cat-in-the-snow-0.png"
    pixels = [np.asarray(Image.open(path)).astype(int) for path in (ours, theirs)]
    assert np.abs(pixels[0] - pixels[1]).max() <= 1
