"""The strategy that splits the frozen denoiser: its name, and what does not go with it."""

from typing import Any

import pytest
import yaml
from jsonargparse import Namespace
from lightning import Trainer
from lightning.pytorch.strategies import DDPStrategy

from idgen.cli import main
from idgen.errors import UserError
from idgen.runs.freezing import ConfigReader
from idgen.runs.sharding import FrozenShardedStrategy, is_sharded
from idgen.runs.trainer import check_trainer_values, let_gradients_share_memory
from tests.workspace import Workspace

TWO = {"trainer.devices": 2, "trainer.strategy": "frozen_sharded"}


def namespace(**given: Any) -> Any:
    return Namespace(**given)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed_stage_3", "ModelParallelStrategy"])
def test_strategies_that_split_what_is_trained_are_refused(strategy: str) -> None:
    path = f"lightning.pytorch.strategies.{strategy}"
    for given in (strategy, namespace(class_path=path)):
        with pytest.raises(UserError, match=rf"--trainer\.strategy: {strategy} .*frozen_sharded"):
            check_trainer_values(namespace(strategy=given, accumulate_grad_batches=1))
    for name in ("ddp", "frozen_sharded"):
        check_trainer_values(namespace(strategy=name, accumulate_grad_batches=1))


@pytest.mark.parametrize(
    ("strategy", "mend"),
    [
        ("frozen-sharded", r"did you mean 'frozen_sharded'\?$"),
        ("FrozenShardedStrategy", r"did you mean 'frozen_sharded'\?$"),
        ("dpp", r"did you mean 'ddp'\?$"),
        ("zero", "take auto, ddp or frozen_sharded$"),
    ],
)
def test_a_misspelled_name_is_refused_with_the_right_one(strategy: str, mend: str) -> None:
    with pytest.raises(UserError, match=rf"^--trainer\.strategy: no .*{strategy}'.*; {mend}"):
        check_trainer_values(namespace(strategy=strategy, accumulate_grad_batches=1))
    for name in ("auto", "DDP", "ddp_spawn", "Frozen_Sharded"):
        check_trainer_values(namespace(strategy=name, accumulate_grad_batches=1))


def test_it_is_known_by_its_name_and_by_its_class() -> None:
    path = f"{FrozenShardedStrategy.__module__}.{FrozenShardedStrategy.__name__}"
    for strategy in ("frozen_sharded", FrozenShardedStrategy()):
        made = Trainer(strategy=strategy, devices=2, accelerator="cpu", logger=False).strategy
        assert type(made) is FrozenShardedStrategy
        let_gradients_share_memory(made)
        assert made._ddp_kwargs["gradient_as_bucket_view"]
        assert is_sharded(made)
    assert is_sharded("frozen_sharded")
    assert is_sharded("Frozen_Sharded"), "Lightning takes it too"
    assert not is_sharded("ddp")
    assert not is_sharded(None)
    assert path == "idgen.runs.sharding.FrozenShardedStrategy", "docs/running.md names it"


def test_the_stored_config_names_it(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [f"--{key}={value}" for key, value in TWO.items()]
    with pytest.raises(SystemExit) as ended:
        main(["fit", f"--config={workspace.config}", *options, "--print_config"])
    assert ended.value.code in (None, 0)
    assert yaml.safe_load(capsys.readouterr().out)["trainer"]["strategy"] == "frozen_sharded"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"trainer.devices": 1}, r"--trainer\.strategy: .*there is one; .*--trainer\.devices"),
        (
            {"trainer.callbacks": [{"class_path": "EMAWeightAveraging"}]},
            r"--trainer\.callbacks: EMAWeightAveraging keeps a whole copy .*take ddp",
        ),
        (
            {"model.backbone.init_args.dtype": "nf4"},
            r"--model\.backbone\.init_args\.dtype: weights in nf4 cannot be split .*bfloat16",
        ),
        ({"compile.when": "always"}, r"--compile\.when: .*split between processes is not compiled"),
    ],
)
def test_what_does_not_go_with_it_is_refused_before_work(
    workspace: Workspace, changed: dict[str, Any], said: str
) -> None:
    reader = ConfigReader()
    reader.build(reader.read([str(workspace.config)], TWO)).check_settings()
    with pytest.raises(UserError, match=f"^{said}"):
        reader.build(reader.read([str(workspace.config)], {**TWO, **changed})).check_settings()


def test_one_process_is_refused_on_the_command_line(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    assert workspace.fit("--trainer.strategy=frozen_sharded") == 2
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line]
    assert "--trainer.strategy: frozen_sharded splits the frozen weights" in line
    assert not workspace.run.exists()


def test_drawings_leave_no_weights_that_cannot_be_trained_through(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As memory of inference mode could not; gloo, which all else here runs with, has none."""
    trainer = Trainer(strategy="frozen_sharded", devices=2, accelerator="cpu", logger=False)
    loops: list[Any] = [trainer.validate_loop, trainer.test_loop, trainer.predict_loop]
    assert all(loop.inference_mode for loop in loops)
    monkeypatch.setattr(DDPStrategy, "setup", lambda strategy, trainer: None)
    trainer.strategy.setup(trainer)
    assert not any(loop.inference_mode for loop in loops)
    own: Any = trainer.fit_loop.epoch_loop.val_loop
    assert not own.inference_mode
