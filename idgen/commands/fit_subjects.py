"""`idgen fit` where photos are those of several subjects: a run for each, then a table."""

import sys
from pathlib import Path

from rich.console import Console

from idgen.benchmark.running import alone, check_engine, executing, run_cells
from idgen.commands.terminating import terminating
from idgen.files import atomic_write
from idgen.runs.folder import ROOT_KEY
from idgen.runs.several import SeveralSubjects
from idgen.subjects.options import SubjectOptions
from idgen.subjects.plan import CELLS, TABLE, plan_subjects
from idgen.subjects.table import read_subject_result, subjects_csv, subjects_table

_WIDTH_OF_A_FILE = 140


def fit_subjects(found: SeveralSubjects, options: SubjectOptions) -> int:
    """Trains and tests what is not finished of several subjects, and reports all of them.

    Args:
        found: The subjects, and the config that all share.
        options: How to run them.

    Returns:
        0, or 1 if a subject failed.

    Raises:
        UserError: For anything the user can mend before work starts.
    """
    check_engine(options)
    root = Path(found.config["trainer"]["default_root_dir"])
    runs = plan_subjects(found.config, found.folders, options.test)
    cells = [run.cell for run in runs]
    finished = sum(cell.is_done() for cell in cells)
    print(f"{len(runs)} subjects in {root}: {finished} are finished", file=sys.stderr)
    with alone(root / CELLS, "fit", ROOT_KEY):
        try:
            with terminating(), executing(options, options.jobs, root) as executor:
                run_cells(executor, cells, "training")
        finally:
            results = [read_subject_result(run) for run in runs]
            atomic_write(root / TABLE, subjects_csv(results).encode())
    console = Console(width=None if sys.stdout.isatty() else _WIDTH_OF_A_FILE)
    console.print(subjects_table(results))
    failed = sum(result.status != "done" for result in results)
    if failed:
        said = f"{failed} of {len(results)} subjects failed; their logs are in {root / CELLS}"
        print(f"idgen fit: error: {said}", file=sys.stderr)
    return 1 if failed else 0
