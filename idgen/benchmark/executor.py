"""Where cells run: here, as processes of this machine."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from queue import SimpleQueue

from idgen.benchmark.cell import Cell, Outcome
from idgen.benchmark.run_cell import Processes, run_cell


class Executor(ABC):
    """Runs cells that do not depend on each other.

    A cell is all that a worker needs: files to write, commands to run, a folder that the
    benchmark reads afterwards. An engine for a cluster runs `run_cell` on a machine that sees
    the folder.
    """

    @abstractmethod
    def run(
        self, cells: Sequence[Cell], started: Callable[[Cell], None] = lambda cell: None
    ) -> Generator[Outcome, None, None]:
        """Runs cells, in any order.

        Args:
            cells: What to run; finished ones cost nothing.
            started: Told of each cell that starts.

        Yields:
            The outcome of each cell once it has ended; a failure does not stop the others.
        """


class LocalExecutor(Executor):
    """Several at a time on this machine, each with its share of cores and its own GPU."""

    def __init__(self, jobs: int, cores: int, gpus: Sequence[str] = ()) -> None:
        """Sets how many.

        Args:
            jobs: Cells at a time.
            cores: Cores to share.
            gpus: The visible GPUs, as `CUDA_VISIBLE_DEVICES` names them; none if there are none.

        Raises:
            ValueError: If jobs is below 1.
        """
        if jobs < 1:
            raise ValueError("jobs must be 1 or more")
        self.jobs = jobs
        self.threads = max(1, cores // jobs)
        self.gpus = list(gpus)
        self._processes = Processes()
        # What the user has set stays: on a busy machine more threads than free cores only spin.
        # It is read once, for it is another while a process that is forked from is started.
        self._omp_threads = os.environ.get("OMP_NUM_THREADS", str(self.threads))

    def run(
        self, cells: Sequence[Cell], started: Callable[[Cell], None] = lambda cell: None
    ) -> Generator[Outcome, None, None]:
        """Runs cells; closing the iterator, or an error in its loop, stops them all."""
        slots: SimpleQueue[int] = SimpleQueue()
        for slot in range(self.jobs):
            slots.put(slot)
        pool = ThreadPoolExecutor(self.jobs, thread_name_prefix="cell")
        futures = [pool.submit(self._run, cell, slots, started) for cell in cells]
        try:
            yield from (future.result() for future in as_completed(futures))
        finally:
            if not all(future.done() for future in futures):
                self._processes.stop()
            pool.shutdown(wait=True, cancel_futures=True)

    def _run(
        self, cell: Cell, slots: "SimpleQueue[int]", started: Callable[[Cell], None]
    ) -> Outcome:
        slot = slots.get()
        try:
            started(cell)
            return run_cell(cell, self._processes, self._environment(slot))
        finally:
            slots.put(slot)

    def _environment(self, slot: int) -> dict[str, str]:
        found = {"OMP_NUM_THREADS": self._omp_threads}
        if self.gpus and self.jobs > 1:
            found["CUDA_VISIBLE_DEVICES"] = self.gpus[slot % len(self.gpus)]
        return found
