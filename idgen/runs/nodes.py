"""Runs over several machines: they wait for each other, and not for ever."""

import os
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import lightning as L
import torch.distributed as dist

from idgen.errors import UserError, first_line

WAIT_VARIABLE = "IDGEN_NODES_TIMEOUT"
_WAIT = 600.0  # seconds; torchrun's own is as long
_LONGEST = 1e8  # three years


def wait_for_nodes(trainer: L.Trainer) -> str | None:
    """Gives the processes of a run over several nodes so long to meet, and no longer.

    Lightning would wait for half an hour, as long as for any exchange between processes, and end
    in a traceback. Exchanges keep their own limit.

    Args:
        trainer: Before it runs.

    Returns:
        What it will wait for, in one line; None where there is one node, or it is said by another
        process of this node.

    Raises:
        UserError: If the time in the environment is none.
    """
    if trainer.num_nodes < 2:
        return None
    strategy: Any = trainer.strategy
    place = strategy.cluster_environment
    address, wait = f"{place.main_address}:{place.main_port}", _seconds()
    said = (
        f"waiting for {trainer.world_size} processes on {trainer.num_nodes} nodes to meet at "
        f"{address}, {wait:g} seconds at most ({WAIT_VARIABLE})"
    )
    if hasattr(strategy, "_timeout"):
        what = f"{trainer.num_nodes} nodes"
        strategy.setup_environment = _Meeting(strategy, strategy.setup_environment, wait, what)
    if trainer.local_rank > 0:
        return None
    if trainer.node_rank > 0 or place.creates_processes_externally:
        return said
    others = trainer.num_nodes - 1
    here = " (set it here too, to an address that they reach)" * (place.main_address == "127.0.0.1")
    named = "NODE_RANK=1" if others == 1 else f"NODE_RANK=1 to {others}"
    return (
        f"{said}: start the same command on the other nodes with {named}, "
        f"MASTER_PORT={place.main_port} and MASTER_ADDR={place.main_address}{here}"
    )


@dataclass
class _Meeting:
    """Sets up a strategy's processes in a time of its own; it takes the place of the method."""

    strategy: Any
    set_up: Any
    wait: float
    what: str

    def __call__(self) -> None:
        place, exchanges = self.strategy.cluster_environment, self.strategy._timeout
        limit = timedelta(seconds=self.wait)
        self.strategy._timeout = limit
        try:
            self.set_up()
        except dist.DistError as error:
            raise UserError(
                f"trainer.num_nodes: the processes of {self.what} did not meet at "
                f"{place.main_address}:{place.main_port} within {self.wait:g} seconds "
                f"({first_line(error, 120)}); start the command on every node, where that address "
                f"can be reached, or set {WAIT_VARIABLE} to more seconds"
            ) from error
        finally:
            self.strategy._timeout = exchanges
        if exchanges is not None and dist.is_initialized():
            _limit_exchanges(exchanges)


def _limit_exchanges(limit: timedelta) -> None:
    """Gives the exchanges between processes their own limit, once all have met."""
    c10d = dist.distributed_c10d
    # Before torch 2.12 it has another name.
    set_timeout = getattr(dist, "set_timeout", None) or c10d._set_pg_timeout
    set_timeout(limit, None)
    with suppress(AttributeError):
        c10d._get_default_store().set_timeout(limit)


def _seconds() -> float:
    given = os.environ.get(WAIT_VARIABLE)
    with suppress(ValueError):
        if given is None or 0 < float(given) < _LONGEST:
            return _WAIT if given is None else float(given)
    raise UserError(f"{WAIT_VARIABLE}={given} in the environment is no number of seconds; unset it")
