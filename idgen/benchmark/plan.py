"""From a benchmark's config to its cells: configs frozen, results of another kind refused."""

import contextlib
import hashlib
import json
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from idgen import __version__
from idgen.benchmark.cell import Cell, Step, difference
from idgen.benchmark.config import BenchmarkConfig, Method, folder_name
from idgen.benchmark.records import Records
from idgen.benchmark.regime_masks import (
    check_regime,
    drawing_segmenter,
    place_masks,
    place_training_masks,
)
from idgen.benchmark.subjects import BenchmarkSubject, find_benchmark_subjects
from idgen.benchmark.verify import check_scores, check_weights
from idgen.data.prompts import read_suite
from idgen.errors import UserError
from idgen.placeholders import filled
from idgen.prepare import lone_photo_note
from idgen.prepare.segmenters.segmenter import Segmenter
from idgen.prepare.store import CONTACT_PAGE
from idgen.runs.freezing import ConfigReader, Identified
from idgen.runs.stored import as_yaml, make_paths_absolute

# Of a config, what says where and how it runs, not what comes out.
_PLACES = (
    ("trainer", "default_root_dir"),
    ("trainer", "accelerator"),
    ("trainer", "enable_progress_bar"),
    ("trainer", "logger"),
    ("data", "subject", "photos"),
    ("data", "subject", "prepared"),
    ("data", "test_prompts"),
    ("drawings", "output"),
    ("compile",),
)
# Settings that came after the first results; where they are not used, keys are what they were.
_LATER = (("data", "preparation", "init_args", "buckets"),)


@dataclass(frozen=True)
class PlannedCell:
    """A cell with its place in the comparison.

    Attributes:
        cell: What runs.
        method: Name of the method.
        subject: The subject.
        seed: The seed.
        preparation: What has to run before; shared by the cells of a subject.
        recorded: Its metrics, where it was finished elsewhere; else None.
    """

    cell: Cell
    method: str
    subject: BenchmarkSubject
    seed: int
    preparation: Cell
    recorded: dict[str, Any] | None = None

    def is_done(self) -> bool:
        """Whether it has been finished, here or elsewhere."""
        return self.recorded is not None or self.cell.is_done()

    @property
    def test_folder(self) -> Path:
        """Where its drawings and scores are."""
        return self.cell.folder / "test"


@dataclass(frozen=True)
class Plan:
    """A comparison, ready to run.

    Attributes:
        config: What it was made from.
        folder: The folder of everything.
        subjects: The subjects, in order.
        cells: One for each method, subject and seed.
        protocol: What all cells share: version, models, drawing, prompts' source.
    """

    config: BenchmarkConfig
    folder: Path
    subjects: tuple[BenchmarkSubject, ...]
    cells: tuple[PlannedCell, ...]
    protocol: dict[str, Any]

    @property
    def records(self) -> Records | None:
        """Where finished cells are written down; None for nowhere."""
        given = self.config.records
        return None if given is None else Records(Path(given).expanduser())

    def preparations(self) -> list[Cell]:
        """What unfinished cells need first, each once."""
        wanted = [planned.preparation for planned in self.cells if not planned.is_done()]
        return list({cell.folder: cell for cell in wanted}.values())


def make_plan(config: BenchmarkConfig) -> Plan:
    """Freezes every method's config, and checks all that can be before any work; loads nothing.

    A method's parts are built once. Whether they can run matters only where cells are left to run.

    Raises:
        UserError: If something cannot be run, or the folder holds results of another version,
            protocol or config.
    """
    config.check()
    folder = Path(config.output).expanduser().absolute()
    subjects = find_benchmark_subjects(config.subjects, config.dreambench, folder, config.regimes)
    reader = ConfigReader()
    parsed = {}
    for name, method in config.methods.items():
        with _of_method(name):
            settings = _settings(method, config, subjects[0], folder)
            parsed[name] = reader.read([*config.configs, *method.configs], settings)
    # Photos are needed from here on: they are what records and checks are about.
    for subject in subjects:
        subject.write_photos()
    frozen = {name: without_unused(reader.frozen(given)) for name, given in parsed.items()}
    for name, method in config.methods.items():
        steps = frozen[name]["trainer"]["max_steps"]
        if method.trained and (steps is None or steps < 1):
            raise UserError(
                f"method {name!r}: trainer.max_steps is {steps}; set it to 1 or more, or trained: "
                "false to draw with the untrained model"
            )
        with _of_method(name):
            _check_cells(frozen[name])
    built, identified = {}, {}
    for name, given in parsed.items():
        with _of_method(name):
            built[name] = reader.build(given)
            identified[name] = built[name].identify()
    protocol = _protocol(config, identified)
    segmenters = {name: found.photo_segmenter for name, found in identified.items()}
    of_drawings = {}
    for name, method in config.methods.items():
        with _of_method(name):
            if any(subject.segmenter is not None for subject in subjects):
                of_drawings[name] = drawing_segmenter(frozen[name], segmenters[name])
            for subject in subjects if method.trained else ():
                check_regime(built[name].parts.model, built[name].parts.data, subject)
    described = [(subject, _described(subject, segmenters)) for subject in subjects]
    planner = _Planner(config, folder, frozen, protocol, of_drawings)
    plan = Plan(config, folder, tuple(subjects), tuple(planner.cells(described)), protocol)
    _refuse_other_results(plan)
    if plan.records is not None:
        recorded = [_with_record(planned, plan.records) for planned in plan.cells]
        plan = replace(plan, cells=tuple(recorded))
    for name in dict.fromkeys(p.method for p in plan.cells if not p.is_done()):
        with _of_method(name):
            built[name].check()
    return plan


def _check_cells(config: Mapping[str, Any]) -> None:
    """Refuses settings with which every cell would fail, though a run of its own might not."""
    trainer = config["trainer"]
    reasons = {
        "trainer.fast_dev_run": trainer["fast_dev_run"] and "it leaves no checkpoint",
        "trainer.limit_train_batches": trainer["limit_train_batches"] == 0
        and "nothing would be trained",
        "trainer.max_epochs": trainer["max_epochs"] == 0 and "nothing would be trained",
        "trainer.num_nodes": trainer["num_nodes"] > 1 and "a cell runs on this machine alone",
    }
    for key, reason in reasons.items():
        if reason:
            raise UserError(f"{key}: {reason}; leave it out")


@contextlib.contextmanager
def _of_method(name: str) -> Iterator[None]:
    """Names the method in errors about it."""
    try:
        yield
    except UserError as error:
        raise UserError(f"method {name!r}: {error}") from error


def _settings(
    method: Method, config: BenchmarkConfig, subject: BenchmarkSubject, folder: Path
) -> dict[str, Any]:
    """What is laid over the configs of a method, by key."""
    steps = {} if config.steps is None else {"trainer.max_steps": config.steps}
    prompts = {} if config.suite is None else {"data.test_prompts": config.suite}
    return {
        **config.settings,
        **steps,
        **method.settings,
        **prompts,
        "data.test_images": config.images,
        "trainer.enable_progress_bar": False,
        "trainer.default_root_dir": str(folder),
        "checkpoint.dirpath": None,
        "data.subject.photos": str(subject.photos),
        "data.subject.class_noun": subject.class_noun,
        "data.subject.live": subject.live,
    }


def _protocol(config: BenchmarkConfig, identified: Mapping[str, Identified]) -> dict[str, Any]:
    """What all methods share and a cell's record has to say; refused if two cannot be compared."""
    (first, found), *others = identified.items()
    for name, other in others:
        fields = found.protocol.differences(other.protocol, but=("drawing_seed",))
        differing = difference(
            {"backbone": found.backbone_identity, **{f.field: f.ours for f in fields}},
            {"backbone": other.backbone_identity, **{f.field: f.theirs for f in fields}},
        )
        if differing is not None:
            raise UserError(
                f"methods {first!r} and {name!r} cannot be compared: {differing}; draw and score "
                "all methods in the same way"
            )
    return {
        "backbone": found.backbone,
        "backbone_identity": found.backbone_identity,
        "clip_identity": found.protocol.clip_identity,
        "dino_identity": found.protocol.dino_identity,
        "sampler": found.protocol.sampler,
        "images": config.images,
    }


def _described(subject: BenchmarkSubject, segmenters: dict[str, Segmenter]) -> dict[str, Any]:
    """A subject for the records; refused if two methods would take different masks for it."""
    first, described = "", dict[str, Any]()
    for name, segmenter in segmenters.items():
        own = subject.described(segmenter)
        if not first:
            first, described = name, own
        elif own != described:
            raise UserError(
                f"methods {first!r} and {name!r} cannot be compared: they take other masks for "
                f"{subject.name!r}; give all methods the same"
            )
    return described


@dataclass(frozen=True)
class _Planner:
    config: BenchmarkConfig
    folder: Path
    frozen: dict[str, dict[str, Any]]
    protocol: dict[str, Any]
    of_drawings: dict[str, dict[str, Any]]

    def cells(
        self, described: Sequence[tuple[BenchmarkSubject, dict[str, Any]]]
    ) -> Iterator[PlannedCell]:
        """Subjects outermost, so that a comparison that is cut short is one of fewer subjects."""
        for subject, own in described:
            if len(own["photos"]) == 1:
                warnings.warn(lone_photo_note(subject.photos), stacklevel=2)
        for seed in self.config.seeds:
            for subject, own in described:
                for name in self.config.methods:
                    yield self._cell(name, subject, own, seed)

    def _cell(
        self, name: str, subject: BenchmarkSubject, described: dict[str, Any], seed: int
    ) -> PlannedCell:
        trained = self.config.methods[name].trained
        own = self.folder / "cells" / folder_name(name) / folder_name(subject.name)
        own = own / f"seed-{seed}"
        config = _with_subject(self.frozen[name], subject, seed)
        preparation = self._preparation(config, subject, described)
        record = {
            "idgen_version": __version__,
            "protocol": self.protocol,
            "prompts": _prompts(config, subject),
            "subject": described,
            "seed": seed,
            "trained": trained,
            "config": without_places(config),
        }
        # What the record says by the subject's regime, or not at all.
        place_masks(config, subject, self.of_drawings.get(name, {}))
        make_paths_absolute(config)  # a worker may start in another folder
        config["trainer"]["default_root_dir"] = str(own / "run")
        config["data"]["subject"]["prepared"] = str(_prepared(preparation.folder))
        path, label = own / "config.yaml", f"{name} / {subject.name} / seed {seed}"
        cell = Cell(label, own, record, _steps(own, path, trained), {path: as_yaml(config)})
        return PlannedCell(cell, name, subject, seed, preparation)

    def _preparation(
        self, config: dict[str, Any], subject: BenchmarkSubject, described: dict[str, Any]
    ) -> Cell:
        """Methods that prepare photos alike share what was prepared."""
        kind: dict[str, Any] = {
            "idgen_version": __version__,
            "backbone": config["model"]["backbone"],
            "backbone_identity": self.protocol["backbone_identity"],
            "preparation": config["data"]["preparation"],
        }
        digest = hashlib.sha256(json.dumps(kind, sort_keys=True).encode()).hexdigest()[:8]
        folder = self.folder / "preparing" / f"{folder_name(subject.name)}-{digest}"
        prepared = _prepared(folder)
        data: dict[str, Any] = {
            "preparation": kind["preparation"],
            "subject": {"photos": str(subject.photos), "prepared": str(prepared)},
        }
        place_training_masks(data, subject)
        needed: dict[str, Any] = {"model": {"backbone": config["model"]["backbone"]}, "data": data}
        path = folder / "config.yaml"
        step = Step("prepare", _idgen("prepare", "--config", str(path)), prepared / CONTACT_PAGE)
        made = {key: value for key, value in described.items() if key in ("masks", "regime")}
        record = {**kind, "photos": described["photos"], **made}
        return Cell(f"prepare {subject.name}", folder, record, (step,), {path: as_yaml(needed)})


def _prepared(preparing: Path) -> Path:
    """The prepared subject; all lie in one folder, beside the class images that they share."""
    return preparing.parents[1] / "prepared" / preparing.name


def _steps(own: Path, config: Path, trained: bool) -> tuple[Step, ...]:
    last, test = own / "run" / "checkpoints" / "last.ckpt", own / "test"
    common = ("--config", str(config))
    command = _idgen("fit", *common)
    fit = Step("fit", command, last, own / "run", checkpoint=last, verify=check_weights)
    drawn_with = (f"--ckpt_path={last}",) if trained else ()
    command = _idgen("test", *drawn_with, *common, f"--drawings.output={test}")
    draw = Step("test", command, test / "metrics.json", test, verify=check_scores)
    return (fit, draw) if trained else (draw,)


def _idgen(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "idgen", *arguments)


def _with_subject(frozen: dict[str, Any], subject: BenchmarkSubject, seed: int) -> dict[str, Any]:
    """A copy of a method's config for a subject and a seed."""
    config: dict[str, Any] = json.loads(json.dumps(frozen))
    config["seed_everything"] = seed
    config["data"]["drawing_seed"] = seed
    config["data"]["subject"] |= {
        "photos": str(subject.photos),
        "class_noun": subject.class_noun,
        "live": subject.live,
    }
    return config


def _prompts(config: dict[str, Any], subject: BenchmarkSubject) -> list[str]:
    suite = config["data"]["test_prompts"]
    if isinstance(suite, str):
        suite = read_suite(suite, live=subject.live, class_noun=subject.class_noun)
    return [filled(prompt, subject.class_noun) for prompt in suite]


def without_places(config: dict[str, Any]) -> dict[str, Any]:
    """A copy of a config without what says where and how it runs, for a cell's record."""
    kept: dict[str, Any] = json.loads(json.dumps(config))
    for *parents, key in _PLACES:
        part = kept
        for parent in parents:
            part = part.get(parent) or {}
        part.pop(key, None)
    return without_unused(kept)


def without_unused(config: dict[str, Any]) -> dict[str, Any]:
    """A config without the settings that came later, where they are null."""
    for *parents, key in _LATER:
        part = config
        for parent in parents:
            part = part.get(parent) or {}
        if part.get(key, ...) is None:
            del part[key]
    return config


def _with_record(planned: PlannedCell, records: Records) -> PlannedCell:
    """The cell with what is written down of it, unless it was finished here."""
    metrics = records.metrics(planned.cell)
    return planned if planned.cell.is_done() else replace(planned, recorded=metrics)


def _refuse_other_results(plan: Plan) -> None:
    for planned in plan.cells:
        earlier = planned.cell.earlier_record()
        differing = None if earlier is None else difference(earlier, planned.cell.record)
        if differing is not None:
            raise UserError(
                f"{plan.folder} holds other results ({planned.cell.name}: {differing}); name a new "
                f"folder with --output, or delete {planned.cell.folder} to run it anew"
            )
