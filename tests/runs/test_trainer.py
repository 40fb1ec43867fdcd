"""The trainer's numbers, what a run waits for, and whether anything was trained."""

from functools import partial
from typing import Any

import pytest
import torch
from jsonargparse import Namespace
from lightning import Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy

from idgen.cli import main
from idgen.errors import UserError
from idgen.optimization import Optimization
from idgen.runs.checks import check_clipping, check_device
from idgen.runs.trainer import (
    check_end,
    expected_steps,
    let_gradients_share_memory,
    untrained_note,
)
from tests.workspace import Workspace


@pytest.mark.parametrize(
    "setting",
    [
        "val_check_interval=0",
        "val_check_interval=0.0",
        "check_val_every_n_epoch=0",
        "accumulate_grad_batches=0",
        "accumulate_grad_batches=-2",
        "gradient_clip_val=-1",
        "gradient_clip_val=.nan",
        "gradient_clip_val=.inf",
        "log_every_n_steps=-2",
        "num_sanity_val_steps=-4",
        "min_steps=-3",
        "min_epochs=-1",
    ],
)
def test_numbers_that_lightning_stumbles_over_later(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], setting: str
) -> None:
    assert workspace.fit(f"--trainer.{setting}") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert f"--trainer.{setting.partition('=')[0]}: " in line
    assert not workspace.run.exists()


@pytest.mark.parametrize("interval", ["0.5", "00:00:00:01"])
def test_validation_never_falls_between_steps_of_the_optimizer(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], interval: str
) -> None:
    options = ("--trainer.check_val_every_n_epoch=1", f"--trainer.val_check_interval={interval}")
    assert workspace.fit(*options, "--trainer.accumulate_grad_batches=2") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert f"--trainer.val_check_interval: {interval} may fall between two steps" in line
    assert not workspace.run.exists()


@pytest.mark.parametrize(
    "limit", ["limit_train_batches=5", "limit_train_batches=0.5", "overfit_batches=1"]
)
def test_an_epoch_cuts_no_step(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], limit: str
) -> None:
    assert workspace.fit(f"--trainer.{limit}", "--trainer.accumulate_grad_batches=2") == 2
    name, _, value = limit.partition("=")
    assert f"--trainer.{name}: {value} is no multiple" in capsys.readouterr().err
    assert not workspace.run.exists()


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        ("GradientAccumulationScheduler", "scheduling={0: 2}"),
        ("BatchSizeFinder", "steps_per_trial=1"),
        ("LearningRateFinder", "num_training_steps=2"),
        ("BackboneFinetuning", "unfreeze_backbone_at_epoch=1"),
        ("ModelPruning", "pruning_fn=l1_unstructured"),
        ("StochasticWeightAveraging", "swa_lrs=0.1"),
    ],
)
def test_callbacks_under_which_a_run_is_not_what_its_config_says(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], name: str, argument: str
) -> None:
    callback = f"--trainer.callbacks+=lightning.pytorch.callbacks.{name}"
    assert workspace.fit(callback, f"--trainer.callbacks.{argument}") == 2
    assert f"--trainer.callbacks: {name} " in capsys.readouterr().err
    assert not workspace.run.exists()


def test_a_run_that_nothing_ends_is_refused(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert workspace.fit("--trainer.max_steps=-1") == 2
    assert "--trainer.max_steps: nothing ends this run" in capsys.readouterr().err
    assert not workspace.run.exists()


@pytest.mark.parametrize(
    "ends",
    [
        {"max_steps": 5},
        {"max_epochs": 2},
        {"max_time": "00:00:01:00"},
        {"callbacks": [EarlyStopping("val/dino")]},
    ],
)
def test_a_run_that_something_ends(ends: dict[str, Any]) -> None:
    limits = {"max_epochs": -1, **ends}
    check_end(Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **limits))


@pytest.mark.parametrize(
    ("limits", "steps"),
    [
        ({"max_epochs": -1}, None),
        ({"max_epochs": -1, "max_steps": 7}, 7),
        ({"max_epochs": 2}, 20),
        ({"max_epochs": 2, "max_steps": 7}, 7),
        ({"max_epochs": 2, "limit_train_batches": 4}, 8),
        ({"max_epochs": 2, "limit_train_batches": 0.5}, 10),
        ({"max_epochs": 2, "accumulate_grad_batches": 4}, 20),
        ({"max_epochs": 2, "accumulate_grad_batches": 4, "limit_train_batches": 8}, 4),
        ({"fast_dev_run": True}, 1),
    ],
)
def test_how_many_steps_a_run_takes(limits: dict[str, Any], steps: int | None) -> None:
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, **limits)
    assert expected_steps(trainer, 10) == steps


def test_a_fit_that_trains_nothing_says_so(
    trained: Workspace, workspace: Workspace, recwarn: pytest.WarningsRecorder
) -> None:
    fast = ("--trainer.num_sanity_val_steps=0",)
    assert workspace.fit("--trainer.max_steps=0", *fast) == 0
    assert "nothing was trained: max_steps is 0" in [str(w.message) for w in recwarn.list]
    recwarn.clear()
    elsewhere = f"--trainer.default_root_dir={workspace.folder / 'none'}"
    assert workspace.fit(elsewhere, "--trainer.limit_train_batches=0", *fast) == 0
    said = [str(w.message) for w in recwarn.list]
    assert "nothing was trained: limit_train_batches is 0" in said
    recwarn.clear()
    resumed = f"--trainer.default_root_dir={workspace.folder / 'resumed'}"
    options = (f"--ckpt_path={trained.last}", resumed, "--trainer.max_steps=2")
    assert main(["fit", *options]) == 0
    note = "nothing was trained: max_steps is 2, and the checkpoint is at step 4"
    said = [str(w.message) for w in recwarn.list]
    assert note in said
    assert not any("exists and is not empty" in line for line in said)


def test_a_fit_that_trains_says_nothing_of_it(
    workspace: Workspace, recwarn: pytest.WarningsRecorder
) -> None:
    assert workspace.fit("--trainer.max_steps=1", "--trainer.limit_val_batches=0") == 0
    assert not any("nothing was trained" in str(w.message) for w in recwarn.list)


def test_a_trainer_that_did_not_fit_has_nothing_to_say() -> None:
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False)
    assert untrained_note(trainer, 0) is None


def test_processes_keep_gradients_once_unless_told_otherwise() -> None:
    plain, told = DDPStrategy(), DDPStrategy(gradient_as_bucket_view=False)
    for strategy in (plain, told, SingleDeviceStrategy()):
        let_gradients_share_memory(strategy)
    assert plain._ddp_kwargs == {"gradient_as_bucket_view": True}
    assert told._ddp_kwargs == {"gradient_as_bucket_view": False}


def test_a_gpu_without_bfloat16_is_refused_it(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu, mixed = torch.device("cuda"), Namespace({"precision": "bf16-mixed"})  # type: ignore[no-untyped-call]
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "Tesla T4")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    with pytest.raises(UserError, match=r"bf16-mixed: Tesla T4 .*take 16-mixed"):
        check_device(mixed, gpu)
    check_device(Namespace({"precision": "16-mixed"}), gpu)  # type: ignore[no-untyped-call]
    check_device(mixed, torch.device("cpu"))
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    check_device(mixed, gpu)


@pytest.mark.parametrize(
    ("scaler", "clip", "fused", "refused"),
    [
        (object(), 1.0, True, True),
        (object(), 1.0, None, False),
        (object(), None, True, False),
        (None, 1.0, True, False),
    ],
)
def test_an_optimizer_that_scales_by_itself_is_not_clipped(
    scaler: object, clip: float | None, fused: bool | None, refused: bool
) -> None:
    class Plugin:
        pass

    plugin, trainer = Plugin(), Trainer(accelerator="cpu", logger=False)
    plugin.scaler = scaler  # type: ignore[attr-defined]
    trainer.strategy.precision_plugin = plugin  # type: ignore[assignment]
    trainer.gradient_clip_val = clip
    optimization = Optimization(partial(torch.optim.AdamW, fused=fused), None)
    if refused:
        with pytest.raises(UserError, match="gradient_clip_val: with fused: true"):
            check_clipping(optimization, trainer)
    else:
        check_clipping(optimization, trainer)
