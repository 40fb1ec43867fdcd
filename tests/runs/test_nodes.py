"""Nodes that wait for each other say so, and for how long."""

from datetime import timedelta
from typing import Any

import pytest
from lightning import Trainer
from lightning.fabric.utilities.rank_zero import rank_zero_only

from idgen.errors import UserError
from idgen.runs.nodes import wait_for_nodes

OPTIONS: dict[str, Any] = {
    "accelerator": "cpu",
    "devices": 1,
    "logger": False,
    "enable_checkpointing": False,
}


@pytest.fixture(autouse=True)
def place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MASTER_ADDR", "10.0.0.7")
    monkeypatch.setenv("MASTER_PORT", "29500")
    # A trainer sets it for the whole process; other tests are of the first rank.
    monkeypatch.setattr(rank_zero_only, "rank", 0)


def test_each_node_says_what_it_waits_for(monkeypatch: pytest.MonkeyPatch) -> None:
    assert wait_for_nodes(Trainer(**OPTIONS)) is None
    note = wait_for_nodes(Trainer(num_nodes=3, **OPTIONS))
    assert note is not None
    assert "waiting for 3 processes on 3 nodes to meet at 10.0.0.7:29500, 600 seconds" in note
    assert "NODE_RANK=1 to 2" in note
    monkeypatch.setenv("NODE_RANK", "1")
    monkeypatch.setenv("IDGEN_NODES_TIMEOUT", "90")
    note = wait_for_nodes(Trainer(num_nodes=3, **OPTIONS))
    assert note is not None
    assert "10.0.0.7:29500, 90 seconds" in note
    assert "NODE_RANK" not in note
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert wait_for_nodes(Trainer(num_nodes=3, **OPTIONS | {"devices": 2})) is None


@pytest.mark.parametrize("given", ["soon", "0", "-3", "nan", "inf"])
def test_what_is_no_time_is_refused(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDGEN_NODES_TIMEOUT", given)
    with pytest.raises(UserError, match=f"IDGEN_NODES_TIMEOUT={given} "):
        wait_for_nodes(Trainer(num_nodes=2, **OPTIONS))


def test_the_limit_is_that_of_the_meeting_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("IDGEN_NODES_TIMEOUT", "90")
    trainer = Trainer(num_nodes=2, **OPTIONS)
    strategy: Any = trainer.strategy
    own, seen = strategy._timeout, []
    monkeypatch.setattr(strategy, "setup_environment", lambda: seen.append(strategy._timeout))
    wait_for_nodes(trainer)
    strategy.setup_environment()
    assert seen == [timedelta(seconds=90)]
    assert strategy._timeout == own != seen[0]
