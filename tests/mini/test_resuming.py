"""Trainings of the mini models, killed and started again."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from idgen.errors import UserError
from tools.train_mini.dataset import build_dataset
from tools.train_mini.latents import Latents
from tools.train_mini.loop import Schedule, load_checkpoint, train
from tools.train_mini.pictures import TrainingPictures
from tools.train_mini.share import Share
from tools.train_mini.start import start_from
from tools.train_mini.timed import TimedSchedule, TimedTraining, late_fall
from tools.train_mini.vae import build_vae


def small_model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))


def loss_of(model: nn.Module, step: int) -> Tensor:
    x = torch.randn(16, 3, generator=torch.Generator().manual_seed(step))
    loss: Tensor = (model(x) - x.prod(dim=1, keepdim=True)).square().mean()
    return loss


def assert_same(left: nn.Module, right: nn.Module) -> None:
    for name, value in left.state_dict().items():
        torch.testing.assert_close(right.state_dict()[name], value, rtol=0, atol=0)


def killed_at(step: int, model: nn.Module) -> Callable[[int], Tensor]:
    def loss(k: int) -> Tensor:
        if k == step:
            raise KeyboardInterrupt
        return loss_of(model, k)

    return loss


def test_a_killed_training_ends_where_an_unbroken_one_does(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    unbroken, broken, again = small_model(), small_model(), small_model()
    schedule = Schedule(120, rate=1e-2)
    (tmp_path / "a").mkdir()
    train("m", unbroken, lambda step: loss_of(unbroken, step), schedule, tmp_path / "a")
    with pytest.raises(KeyboardInterrupt):
        train("m", broken, killed_at(90, broken), schedule, tmp_path)
    train("m", again, lambda step: loss_of(again, step), schedule, tmp_path)
    assert_same(unbroken, again)
    assert "50 steps done before, 70 to go" in " ".join(capsys.readouterr().out.split())
    stored = small_model()
    assert load_checkpoint("m", stored, tmp_path) == 120
    assert_same(unbroken, stored)


def test_a_timed_training_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    def training(model: nn.Module) -> TimedTraining:
        def loss(step: int) -> tuple[Tensor, Tensor]:
            value = loss_of(model, step)
            return value, value.detach()

        schedule = TimedSchedule(10.0, 1e-2, late_fall, warmup=3)
        return TimedTraining(model, loss, schedule, tmp_path / "m.ckpt", Share())

    torch.manual_seed(0)
    first = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    second = nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 1))
    unbroken = training(first)
    for step in range(4):
        unbroken.train_step(float(step))
    unbroken.save()
    resumed = training(second)
    assert (resumed.step, resumed.spent) == (4, 3.0)
    for step in range(4, 8):
        assert unbroken.train_step(float(step)) == resumed.train_step(float(step))
    assert_same(first, second)
    assert all(torch.equal(value, resumed.ema[name]) for name, value in unbroken.ema.items())


def test_beginning_with_damaged_weights_is_refused(tmp_path: Path) -> None:
    model = small_model()
    with pytest.raises(UserError, match="0 files"):
        start_from(model, tmp_path)
    path = tmp_path / "model.safetensors"
    save_file(model.state_dict(), path)
    assert start_from(small_model(), tmp_path) == len(model.state_dict())
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(UserError, match=str(path)):
        start_from(model, tmp_path)


def test_latents_of_another_autoencoder_are_not_trained_on(tmp_path: Path) -> None:
    build_dataset(tmp_path / "data", pictures=500, workers=1)
    pictures = TrainingPictures.read(tmp_path)
    with pytest.raises(UserError, match=r"tools\.train_mini\.vae"):
        Latents(tmp_path, pictures, "cpu", Share())
    torch.manual_seed(0)
    torch.save(build_vae().state_dict(), tmp_path / "vae_ema.pt")
    latents = Latents(tmp_path, pictures, "cpu", Share())
    rows = np.array([0, 3, 499])
    kept = latents(rows)
    latents.save()
    again = Latents(tmp_path, pictures, "cpu", Share())
    assert again.scale == latents.scale
    assert torch.equal(again(rows), kept)
    with pytest.raises(UserError, match="--pictures 500"):
        Latents(tmp_path, pictures.first(400), "cpu", Share())
    shutil.copy(tmp_path / "vae_ema.pt", tmp_path / "kept.pt")
    torch.save(build_vae().state_dict(), tmp_path / "vae_ema.pt")
    with pytest.raises(UserError, match=r"unet\.ckpt"):
        Latents(tmp_path, pictures, "cpu", Share())
    shutil.copy(tmp_path / "kept.pt", tmp_path / "vae_ema.pt")
    assert Latents(tmp_path, pictures, "cpu", Share()).scale == latents.scale
