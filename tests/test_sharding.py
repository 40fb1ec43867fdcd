"""A frozen transformer split between processes, and LoRA that stays whole in each."""

import os
from pathlib import Path
from typing import Any

import pytest
from torch.multiprocessing.spawn import spawn

from idgen.errors import UserError
from idgen.runs.trainer import check_trainer_values
from tests.backbones.tiny_families import save_sd3
from tests.split_process import PROCESSES, compare, other_process


def test_a_split_frozen_model_predicts_and_learns_as_the_whole(tmp_path: Path) -> None:
    folder = save_sd3(tmp_path / "sd3")
    port = 20000 + os.getpid() % 20000
    # The first is this one: a process takes the longest for its imports.
    given = (str(folder), port)
    others = spawn(other_process, given, PROCESSES - 1, join=False)  # type: ignore[no-untyped-call]
    compare(0, *given)
    while not others.join():
        pass


@pytest.mark.parametrize("strategy", ["fsdp", "deepspeed_stage_3", "ModelParallelStrategy"])
def test_strategies_that_split_what_is_trained_are_refused(strategy: str) -> None:
    path = f"lightning.pytorch.strategies.{strategy}"
    for given in (strategy, settings(class_path=path)):
        with pytest.raises(UserError, match=rf"--trainer\.strategy: {strategy} .*take ddp"):
            check_trainer_values(settings(strategy=given, accumulate_grad_batches=1))
    check_trainer_values(settings(strategy="ddp", accumulate_grad_batches=1))


def settings(**given: Any) -> Any:
    from jsonargparse import Namespace

    return Namespace(**given)  # type: ignore[no-untyped-call]
