"""What a sweep searches, as its YAML says it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from idgen.benchmark.config import BenchmarkConfig, Method, Setting, SubjectPhotos
from idgen.errors import UserError
from idgen.files import check_writable
from idgen.shipped import config_file
from idgen.sweep.space import Parameter, grid

# What says where and how a sweep runs, and how far, not what its trials are.
_FREE = (
    *("output", "jobs", "trials", "shown_prompts", "shown_trials"),
    *("engine", "address", "cpus_per_trial", "gpus_per_trial"),
)


@dataclass
class SweepConfig:
    """A search over settings.

    Attributes:
        configs: Configs that every trial starts from, such as `configs/base.yaml`.
        space: By key, such as `model.tuning.init_args.rank: {values: [4, 8]}`; see `Parameter`.
        objectives: Scores of `idgen test` with which way is better, such as `{dino: max}`. With
            several, the trials that no other surpasses in all of them are the front.
        output: The folder of everything.
        subjects: As a benchmark's: `mini:NUMBER`, `mini:NAME`, or a folder with its class noun.
        seeds: Of training and drawing; a trial's scores are means over subjects and seeds.
        regimes: As a benchmark's.
        steps: Training steps of every trial whose settings do not say otherwise.
        prompts: What is drawn; None for what the configs say.
        images: Drawings of each prompt.
        settings: Single keys with their values for every trial.
        sampler: `grid` tries all combinations, `random` draws them; `tpe` and `nsga2` are Optuna's,
            which learn from the trials before: NSGA-II is for several objectives.
        trials: How many; of a grid None for all.
        together: Trials that are chosen at a time, so that all of them can run at once. The same
            number gives the same trials, whatever machine they run on.
        early_stop: Whether a trial whose mean after some subjects is under the median of the others
            is not run on the rest; for one objective.
        rungs: Steps after which trials are compared by the objective in validation, such as
            `[50, 100]`, where the best part of all yet is trained on and the others are stopped
            (successive halving); for one objective. Each is a multiple of the first.
        reduction: Of the trials at a rung, one in so many is trained on.
        seed: Of the sampler.
        jobs: Cells at a time; by default one for each GPU, without any one for each core, 4 at
            most.
        shown_trials: The best trials whose drawings the page shows.
        shown_prompts: Prompts of each that it shows.
        engine: Where cells run: `local` is this machine; `ray` a Ray cluster, or Ray here.
        address: Of the Ray cluster: `auto` for the one that this machine is part of, or
            `ray://HOST:10001`; None for Ray on this machine alone.
        cpus_per_trial: Cores of a cell, with Ray.
        gpus_per_trial: GPUs of a cell, with Ray; a part of one may be shared.
    """

    configs: list[str]
    space: dict[str, Parameter]
    objectives: dict[str, Literal["max", "min"]]
    output: str
    subjects: list[str | SubjectPhotos] = field(default_factory=list)
    seeds: list[int] = field(default_factory=lambda: [0])
    regimes: list[str] = field(default_factory=list)
    steps: int | None = None
    prompts: str | list[str] | None = None
    images: int = 4
    settings: dict[str, Setting] = field(default_factory=dict)
    sampler: Literal["grid", "random", "tpe", "nsga2"] = "tpe"
    trials: int | None = None
    together: int = 2
    early_stop: bool = False
    rungs: list[int] = field(default_factory=list)
    reduction: int = 2
    seed: int = 0
    jobs: int | None = None
    shown_trials: int = 4
    shown_prompts: int = 8
    engine: Literal["local", "ray"] = "local"
    address: str | None = None
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0

    def __post_init__(self) -> None:
        """Finds the shipped configs."""
        self.configs = [config_file(name) for name in self.configs]

    @property
    def folder(self) -> Path:
        """The folder of everything."""
        return Path(self.output).expanduser().absolute()

    @property
    def count(self) -> int:
        """How many trials there are to be."""
        if self.sampler == "grid":
            whole = len(grid(self.space))
            return whole if self.trials is None else min(self.trials, whole)
        assert self.trials is not None, "check() has refused it"
        return self.trials

    def check(self) -> None:
        """Raises a UserError for what contradicts itself or is out of range."""
        if not self.space:
            raise UserError(
                "space: it is empty; name a key with its values, such as "
                "model.tuning.init_args.rank: {values: [4, 8]}"
            )
        for key, parameter in self.space.items():
            parameter.check(key)
        if not self.objectives:
            raise UserError("objectives: name a score with max or min, such as {dino: max}")
        if self.sampler == "grid":
            grid(self.space)
        elif self.trials is None:
            raise UserError(f"trials: say how many; {self.sampler} would go on for ever")
        least = {"trials": self.trials, "together": self.together, "jobs": self.jobs}
        least |= {"shown_trials": self.shown_trials, "shown_prompts": self.shown_prompts}
        for name, value in least.items():
            if value is not None and value < 1:
                raise UserError(f"{name} must be 1 or more, not {value}")
        if self.early_stop and len(self.objectives) > 1:
            raise UserError("early_stop: it needs one objective; leave it out, or all but one")
        self._check_rungs()
        if not self.output.strip():
            raise UserError("output: name a folder for the results")
        check_writable(self.folder, "--output")

    def _check_rungs(self) -> None:
        if self.reduction < 2:
            raise UserError(f"reduction must be 2 or more, not {self.reduction}")
        if not self.rungs:
            return
        first = self.rungs[0]
        if len(self.objectives) > 1 or self.early_stop:
            raise UserError("rungs: they need one objective, and no early_stop beside them")
        if first < 1 or self.rungs != sorted({*self.rungs}) or any(r % first for r in self.rungs):
            raise UserError(
                f"rungs: {self.rungs} do not rise in multiples of the first, 1 or more; give such "
                "as [50, 100]"
            )
        if self.steps is None or self.steps <= self.rungs[-1]:
            raise UserError(
                f"rungs: trials train for {self.steps} steps (steps), which have to be more than "
                f"the last rung, {self.rungs[-1]}"
            )
        for key in ("trainer.limit_val_batches", "trainer.val_check_interval", "trainer.max_steps"):
            if key in self.settings or key in self.space:
                raise UserError(f"rungs: they decide on training and validation; leave out {key}")

    @property
    def shared(self) -> dict[str, Setting]:
        """The settings of every trial."""
        interval = {"trainer.val_check_interval": self.rungs[0]} if self.rungs else {}
        return {**self.settings, **interval}

    def method(self, values: Mapping[str, Any]) -> Method:
        """A trial as a method of a benchmark."""
        overlays: list[str] = []
        settings: dict[str, Setting] = {}
        for key, value in values.items():
            named = self.space[key].overlays
            if named is None:
                settings[key] = value
            else:
                overlays += named[value]
        return Method(overlays, settings)

    def benchmark(self, methods: Mapping[str, Method]) -> BenchmarkConfig:
        """The benchmark whose cells are those of some trials."""
        return BenchmarkConfig(
            configs=self.configs,
            methods=dict(methods),
            reference=next(iter(methods)),
            output=self.output,
            subjects=self.subjects,
            seeds=self.seeds,
            regimes=self.regimes,
            steps=self.steps,
            prompts=self.prompts,
            images=self.images,
            settings=self.shared,
            jobs=self.jobs,
            shown_prompts=self.shown_prompts,
        )

    @property
    def decisive(self) -> dict[str, Any]:
        """What decides the trials, as plain values; a sweep goes on where it is the same."""
        return {key: value for key, value in asdict(self).items() if key not in _FREE}
