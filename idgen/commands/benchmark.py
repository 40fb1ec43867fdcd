"""`idgen benchmark`: methods x subjects x seeds, then a report."""

import shlex
import sys
from collections.abc import Sequence
from dataclasses import asdict

from idgen import __version__
from idgen.benchmark.comparison import Comparison, compare
from idgen.benchmark.config import BenchmarkConfig
from idgen.benchmark.overview import overview_markdown, overview_picture
from idgen.benchmark.plan import Plan, make_plan
from idgen.benchmark.report import render_report
from idgen.benchmark.results import check_comparable, read_result
from idgen.benchmark.running import alone, check_engine, executing, run_plan
from idgen.benchmark.tables import as_csv, as_json, as_latex, as_markdown
from idgen.commands.terminating import terminating
from idgen.files import atomic_write
from idgen.pages.svg import standalone
from idgen.runs.building import note_parts
from idgen.runs.parser import OneLineParser, keys_in_errors, one_line_errors
from idgen.runs.quiet import quieten

_DESCRIPTION = (
    "Compares methods: each cell, one method on one subject with one seed, is an `idgen fit` and "
    "an `idgen test` in processes of their own and in a folder of its own. Then it writes "
    "report.html, results.json, results.csv, table.md and table.tex."
)
_EPILOG = (
    "Start with: idgen benchmark --config configs/benchmark/quick.yaml. "
    "It may be stopped or killed at any moment: the same command goes on, and no finished cell is "
    "run twice. A cell that fails does not stop the others; it is named at the end and in the "
    "report, and tried again by the next run; the exit code is 1 then. Results of another "
    "version, protocol or config are refused, with the field that differs. --only_report true "
    "writes the report of what is there."
)


def run_benchmark(options: Sequence[str]) -> int:
    """Runs what is missing of a comparison, and reports all of it.

    Returns:
        0, or 1 if cells failed.

    Raises:
        UserError: For anything the user can mend before work starts, or where scores of several
            protocols were found.
    """
    quieten()
    config, only_report = _parse(options)
    check_engine(config)
    plan = make_plan(config)
    check_comparable([read_result(planned) for planned in plan.cells])
    _announce(plan)
    with alone(plan.folder, "benchmark"):
        if not only_report:
            with terminating(), executing(config, config.jobs, plan.folder) as executor:
                run_plan(plan, executor)
        found = _write_report(plan, shlex.join(["idgen", "benchmark", *options]))
    for failed in found.failed:
        said = f"{failed.name}: {failed.reason} (exit code {failed.exit_code})"
        print(f"idgen benchmark: failed: {said}", file=sys.stderr)
    print(f"look at {plan.folder / 'report.html'}")
    # A failure that could not be written down, on a full disk, leaves its cell missing.
    unfinished = found.failed if only_report else [*found.failed, *found.missing]
    return 1 if unfinished else 0


def _parse(options: Sequence[str]) -> tuple[BenchmarkConfig, bool]:
    parser = OneLineParser(
        prog="idgen benchmark",
        description=_DESCRIPTION,
        usage="idgen benchmark --config FILE [--output DIR] [--jobs N] [--KEY VALUE ...]",
        epilog=_EPILOG,
    )
    parser.add_argument("--config", action="config", help="Such as configs/benchmark/mini.yaml.")
    parser.add_class_arguments(BenchmarkConfig)
    parser.add_argument(
        "--only_report", type=bool, default=False, help="Run nothing; report what is there."
    )
    given = parser.parse_args(list(options))
    given.pop("config", None)
    only_report = bool(given.pop("only_report"))
    note_parts(parser)
    with keys_in_errors(lambda: given), one_line_errors():
        return BenchmarkConfig(**vars(parser.instantiate_classes(given))), only_report


def _announce(plan: Plan) -> None:
    finished = sum(planned.is_done() for planned in plan.cells)
    elsewhere = sum(planned.recorded is not None for planned in plan.cells)
    print(
        f"{len(plan.cells)} cells in {plan.folder}: methods {len(plan.config.methods)}, subjects "
        f"{len(plan.subjects)}, seeds {len(plan.config.seeds)}; {finished} are finished"
        + (f", {elsewhere} of them elsewhere" if elsewhere else "")
    )


def _write_report(plan: Plan, command: str) -> Comparison:
    results = [read_result(planned) for planned in plan.cells]
    config = plan.config
    protocol = check_comparable(results)
    found = compare(results, list(config.methods), config.reference, protocol, config.resamples)
    made_by = {"command": command, "idgen_version": __version__, "config": asdict(config)}
    page = render_report(found, plan.subjects, config.shown_prompts, made_by)
    several = len(found.summaries) > 1
    tables = [(f"## {s.regime}\n\n" if several else "") + as_markdown(s) for s in found.summaries]
    files = {
        "results.json": as_json(found, made_by).encode(),
        "results.csv": as_csv(found).encode(),
        "table.md": "\n".join([overview_markdown(found)] * several + tables).encode(),
        "table.tex": "\n".join(
            (f"% {s.regime}\n" if several else "") + as_latex(s) for s in found.summaries
        ).encode(),
        "report.html": page,
    }
    if several and (picture := overview_picture(found)) is not None:
        files["regimes.svg"] = standalone(str(picture)).encode()
    for name, content in files.items():
        atomic_write(plan.folder / name, content)
    return found
