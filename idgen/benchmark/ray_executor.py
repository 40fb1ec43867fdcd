"""Cells as tasks of a Ray cluster: placement, retries and lost machines are Ray's."""

import os
import tarfile
import tempfile
import uuid
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from idgen.benchmark.carrying import left_by, packed, read_by, removed, unpacked
from idgen.benchmark.cell import Cell, Outcome
from idgen.benchmark.executor import Executor
from idgen.benchmark.run_cell import Processes, run_cell
from idgen.errors import UserError, first_line

_RETRIES = 3
"""How often Ray starts a cell again whose worker or machine was lost; the cell goes on then."""


class RayExecutor(Executor):
    """Runs cells on Ray: on this machine, or on a cluster that shares the folder of results.

    Ray places each cell where its cores and GPUs are free, and starts it again where a worker
    is lost. A cell goes on from its last checkpoint. Results come home through the shared file
    system. Where a machine does not see it, Ray carries there what the cell reads, and home what
    it left; a cell whose machine is lost then starts anew.
    """

    def __init__(
        self, folder: Path, address: str | None = None, cpus: float = 1.0, gpus: float = 0.0
    ) -> None:
        """Connects.

        Args:
            folder: Of the results.
            address: Of the cluster: `auto` for the one that this machine is part of, or
                `ray://HOST:10001`; None for a cluster of this machine alone.
            cpus: Cores of a cell.
            gpus: GPUs of a cell; a part of one may be shared.

        Raises:
            UserError: If Ray is not installed, there is no such cluster, or it can never place a
                cell.
        """
        ray = _ray()
        self._folder, self._cpus, self._gpus = folder, cpus, gpus
        try:
            ray.init(**_options(address))
        except (OSError, RuntimeError, ValueError) as error:
            where = address or "this machine"
            raise UserError(
                f"engine ray: no cluster at {where} ({first_line(error, 160)}); start one with "
                "'ray start --head', or leave --address out for this machine alone"
            ) from error
        self._ray = ray
        try:
            check_resources(ray.cluster_resources(), cpus, gpus)
        except UserError:
            self.close()
            raise

    def close(self) -> None:
        """Lets go of the cluster; one of this machine alone ends."""
        self._ray.shutdown()

    def run(
        self, cells: Sequence[Cell], started: Callable[[Cell], None] = lambda cell: None
    ) -> Generator[Outcome, None, None]:
        """Runs cells; closing the iterator, or an error in its loop, cancels what is left."""
        ray = self._ray
        task = ray.remote(_run_remote).options(
            num_cpus=self._cpus, num_gpus=self._gpus, max_retries=_RETRIES, retry_exceptions=False
        )
        token = self._folder / ".seen-by-all-machines"
        token.parent.mkdir(parents=True, exist_ok=True)
        # Not only that there is one: a driver that was killed elsewhere may have left its own.
        mark = uuid.uuid4().hex
        token.write_text(mark)
        threads = os.environ.get("OMP_NUM_THREADS", str(max(1, int(self._cpus))))
        waiting: dict[Any, Cell] = {}
        for cell in cells:
            started(cell)
            waiting[task.remote(cell, (str(token), mark), threads)] = cell
        try:
            while waiting:
                (ready, *_), _ = ray.wait(list(waiting), num_returns=1)
                cell = waiting.pop(ready)
                try:
                    ended: Ended = ray.get(ready)
                except ray.exceptions.RayError as error:
                    yield Outcome(cell, f"Ray: {first_line(error, 200)}", 1)
                    continue
                if ended.outcome is None:
                    needed = ray.put(packed(read_by(cell)))
                    waiting[task.remote(cell, (str(token), mark), threads, needed)] = cell
                    continue
                if ended.left is not None:
                    unpacked(ended.left, over=True)
                yield ended.outcome
        finally:
            for reference in waiting:
                ray.cancel(reference, force=False)
            token.unlink(missing_ok=True)


def check_resources(have: Mapping[str, float], cpus: float, gpus: float) -> None:
    """Refuses cells that a cluster could never place: Ray would wait for ever.

    Args:
        have: What the cluster has in all, as Ray names it.
        cpus: Cores of a cell.
        gpus: GPUs of a cell.

    Raises:
        UserError: If it has less.
    """
    if gpus > have.get("GPU", 0.0) or cpus > have.get("CPU", 0.0):
        raise UserError(
            f"engine ray: a cell asks for {cpus:g} cores and {gpus:g} GPUs, and the cluster has "
            f"{have.get('CPU', 0.0):g} and {have.get('GPU', 0.0):g} in all; lower cpus_per_trial "
            "or gpus_per_trial"
        )


class Ended(NamedTuple):
    """What comes back of a cell.

    Attributes:
        outcome: What became of it; None where the machine did not see what it reads, and nothing
            was run.
        left: An archive of what it left, where that has to be carried home.
    """

    outcome: Outcome | None
    left: bytes | None = None


def _run_remote(
    cell: Cell, token: tuple[str, str], threads: str, needed: bytes | None = None
) -> Ended:
    """Runs a cell on whatever machine this is.

    Args:
        cell: The cell.
        token: A file in the folder of results and what it holds, which tell whether this machine
            sees it.
        threads: For `OMP_NUM_THREADS`.
        needed: An archive of what the cell reads, for a machine that does not.
    """
    path, mark = Path(token[0]), token[1]
    if path.exists() and path.read_text() == mark:
        return Ended(_run_here(cell, threads))
    if needed is None:
        return Ended(None)
    try:
        unpacked(needed, over=False)
        outcome = _run_here(cell, threads)
        left = left_by(cell)
        home = packed(left)
    except (UserError, OSError, tarfile.TarError) as error:
        return Ended(Outcome(cell, f"on {os.uname().nodename}: {error}", 1))
    # The inputs stay, for the next cell that reads them; so does what was stopped, which nobody
    # may be there to take home.
    if not outcome.stopped:
        removed(left)
    return Ended(outcome, home)


def _run_here(cell: Cell, threads: str) -> Outcome:
    import signal

    processes = Processes()

    def stop(*_: object) -> None:
        processes.stop()

    # A cancelled task is told by an interrupt: its command saves then.
    previous = signal.signal(signal.SIGINT, stop)
    try:
        return run_cell(cell, processes, {"OMP_NUM_THREADS": threads})
    finally:
        signal.signal(signal.SIGINT, previous)


def _options(address: str | None) -> dict[str, Any]:
    common = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is not None:
        return {**common, "address": address}
    # Not /tmp/ray, which every user of the machine would share.
    place = Path(tempfile.gettempdir()) / f"idgen-ray-{os.getuid()}"
    return {**common, "address": "local", "include_dashboard": False, "_temp_dir": str(place)}


def _ray() -> Any:
    # Whoever uses idgen has not agreed to tell others of it.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "engine: 'ray' is not installed: pip install 'idgen[cluster]', or take the engine local"
        ) from error
    return ray
