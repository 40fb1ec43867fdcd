"""Views of other sizes and shapes than the backbone's own square, through the command line."""

import json
import logging
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback
from PIL import Image

from idgen.cli import main
from idgen.prepare import PreparedSubject
from tests.backbones.tiny_families import FAMILIES, Family
from tests.commands.test_families import changed, weights
from tests.prepare.parts import contents
from tests.workspace import TinyModels, Workspace, make_workspace

SD = Family("sd", "StableDiffusionBackbone", lambda folder: folder)
EVERY = [SD, *FAMILIES]
every = pytest.mark.parametrize("family", EVERY, ids=lambda family: family.name)
Trained = Callable[[Family], Workspace]


def reshape(workspace: Workspace, number: int, size: tuple[int, int]) -> None:
    """Makes one of the photos, and its mask, another size: width and height."""
    for kind in ("photos", "masks"):
        path = workspace.folder / kind / f"{number}.png"
        Image.open(path).resize(size, Image.Resampling.NEAREST).save(path)


def bucketed(workspace: Workspace, family: Family) -> dict[str, Any]:
    """The family's settings with photos of two shapes in buckets."""
    settings = workspace.settings()
    if family is not SD:
        settings = changed(settings, family, family.save(workspace.folder / "pipeline"))
    reshape(workspace, 0, (64, 32))
    settings["data"]["preparation"] |= {"resolution": 16, "buckets": {"step": 4}}
    beside = {"class_path": "idgen.terms.BackgroundPreservation", "init_args": {"weight": 0.1}}
    settings["model"]["terms"]["background_preservation"] = beside
    settings["model"]["terms"]["weak_denoising"]["init_args"]["background"] = 0.0
    return settings


@pytest.fixture(scope="module")
def trained_on(tmp_path_factory: pytest.TempPathFactory, tiny_models: TinyModels) -> Trained:
    """Of a family, a workspace with a run of three steps, and a checkpoint of two."""

    @cache
    def made(family: Family) -> Workspace:
        workspace = make_workspace(tmp_path_factory.mktemp(family.name), tiny_models)
        workspace.write(bucketed(workspace, family))
        half = {"every_n_train_steps": 2, "dirpath": str(workspace.folder / "half")}
        callback = {"class_path": "lightning.pytorch.callbacks.ModelCheckpoint", "init_args": half}
        options = (
            "--trainer.max_steps=3",
            "--trainer.limit_val_batches=0",
            f"--trainer.callbacks+={json.dumps(callback)}",
            "--trainer.callbacks+=tests.commands.test_shapes.Shapes",
            f"--trainer.callbacks.folder={workspace.folder}",
        )
        assert workspace.fit(*options) == 0
        return workspace

    return made


class Shapes(Callback):
    """Writes down the shapes of the batches that are trained on."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.seen: list[list[list[int]]] = []

    def on_train_batch_start(
        self, trainer: L.Trainer, pl_module: L.LightningModule, batch: Any, batch_idx: int
    ) -> None:
        places = (batch.latent_mean, batch.latent_log_variance, batch.subject_mask)
        self.seen.append([list(values.shape) for values in places])
        framing = None if batch.framing is None else batch.framing.tolist()
        found = {"shapes": self.seen, "framing": framing}
        (self.folder / "shapes.json").write_text(json.dumps(found))


@every
def test_a_fit_shows_each_photo_in_its_shape(family: Family, trained_on: Trained) -> None:
    workspace = trained_on(family)
    found = json.loads((workspace.folder / "shapes.json").read_text())
    places = [shapes[0][2:] for shapes in found["shapes"]]
    assert places == [[8, 8], [8, 8], [6, 12]]
    for mean, log_variance, mask in found["shapes"]:
        assert mean == log_variance == [2, 4, *mean[2:]]
        assert mask == [2, 1, *mean[2:]]
    told = family.name == "sdxl"
    # The photo's size, the corner, and the view's own size.
    assert found["framing"] == ([[32, 64, 0, 0, 12, 24]] * 2 if told else None)
    state = weights(workspace.last)
    assert all(value.isfinite().all() for value in state.values())


@every
def test_resuming_with_two_shapes_equals_never_having_stopped(
    family: Family, trained_on: Trained, tmp_path: Path
) -> None:
    whole, run = trained_on(family), tmp_path / "run"
    [stopped] = whole.folder.glob("half/*.ckpt")
    half = weights(stopped)
    options = ("--trainer.callbacks=[]", "--trainer.limit_val_batches=0")
    root = f"--trainer.default_root_dir={run}"
    assert main(["fit", f"--ckpt_path={stopped}", root, *options]) == 0
    resumed, expected = weights(run / "checkpoints" / "last.ckpt"), weights(whole.last)
    assert all(torch.equal(value, resumed[name]) for name, value in expected.items())
    assert any(not torch.equal(value, half[name]) for name, value in expected.items())


@every
def test_a_resolution_of_no_whole_patches_is_refused(
    family: Family, trained_on: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = trained_on(family)
    unit = 2 if family.name in ("sd", "sdxl") else 4
    run = f"--trainer.default_root_dir={tmp_path / 'run'}"
    for key, near in (("--data.preparation", "fit"), ("--preparation", "prepare")):
        capsys.readouterr()
        options = [f"--config={workspace.config}", f"{key}.resolution=17"]
        options += [run] if near == "fit" else [f"--output={tmp_path / 'prepared'}"]
        assert main([near, *options]) == 2
        [line] = [text for text in capsys.readouterr().err.splitlines() if "error:" in text]
        assert ".resolution: 17 is no multiple of" in line
        assert f"give 16 or {16 + unit}" in line
        assert key in line
    assert not (tmp_path / "run").exists()
    assert not (tmp_path / "prepared").exists()


def test_a_wider_aspect_makes_latents_anew_and_squares_stay(
    tmp_path: Path, tiny_models: TinyModels
) -> None:
    """And buckets leave square views, and their files, as they are without."""
    workspace = make_workspace(tmp_path, tiny_models)
    reshape(workspace, 0, (64, 32))
    config = [f"--config={workspace.config}"]
    assert main(["prepare", *config]) == 0
    folder = workspace.folder / "prepared"
    square = contents(folder)
    assert main(["prepare", *config, "--preparation.buckets.step=4"]) == 0
    shaped = contents(folder)
    changed = {
        name for name in square.keys() | shaped.keys() if square.get(name) != shaped.get(name)
    }
    features = {name for name in changed if name.startswith(("latents", "embeddings"))}
    assert changed - features == {"index.json", "contact_sheet.html"}
    assert len(features) == 4, "the wide photo's alone, before and after"
    views = PreparedSubject(folder).load_views()
    assert views.shapes == [(6, 12)] * 2 + [(8, 8)] * 4
    framing = PreparedSubject(folder).load_framing()
    assert framing[0].tolist() == [32, 64, 0, 0, 12, 24]
    assert framing[2, 4:].tolist() == [16, 16]
    assert main(["prepare", *config]) == 0
    assert contents(folder) == square


def test_it_is_said_where_drawings_have_another_size(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    options = ("--data.preparation.resolution=24", "--trainer.max_steps=1")
    callback = f"--trainer.callbacks.folder={workspace.folder}"
    recorded = ("--trainer.callbacks+=tests.commands.test_shapes.Shapes", callback)
    assert workspace.fit(*options, *recorded, "--trainer.limit_val_batches=0") == 0
    assert "views have 24 pixels on a side, drawings 16" in caplog.text
    [shapes] = json.loads((workspace.folder / "shapes.json").read_text())["shapes"]
    assert shapes[0] == [2, 4, 12, 12]


@pytest.mark.parametrize(
    ("option", "error"),
    [
        ("step=6", "buckets.step: 6 is no multiple of 2"),
        ("max_aspect=0.5", "buckets.max_aspect: 0.5 is no number from 1 on"),
        ("step=4 --data.scenes.seed=1 --data.composites.seed=1", "composites: they are square"),
    ],
)
def test_buckets_that_fit_no_resolution_are_refused(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], option: str, error: str
) -> None:
    assert workspace.fit(*f"--data.preparation.buckets.{option}".split()) == 2
    [line] = [text for text in capsys.readouterr().err.splitlines() if "error:" in text]
    assert error in line
    assert "--data." in line
    assert not workspace.run.exists()
