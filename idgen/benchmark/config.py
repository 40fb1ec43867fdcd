"""What a benchmark compares, as its YAML says it."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from idgen.errors import UserError
from idgen.files import check_writable
from idgen.runs.stored import STORED
from idgen.shipped import config_file

Setting = str | int | float | bool | list | dict | None  # type: ignore[type-arg]
"""A value as YAML has it. With `Any` inside, jsonargparse would build the classes that it names."""

# Of a run's config, what a method may change; seeds and configs have keys of their own.
_SETTABLE = tuple(key for key in STORED if key != "seed_everything")
# What a benchmark sets in every run by keys of its own.
_OWN = {"test_images": "images", "test_prompts": "prompts", "drawing_seed": "seeds"}
_MOST_SEED = 2**32
_LONGEST_NAME = 200  # bytes of a folder's name, of 255 that file systems take


@dataclass
class Method:
    """One method: what is laid over the configs that all methods share.

    Attributes:
        configs: Overlays, such as `configs/method/lora.yaml`.
        settings: Single keys with their values, such as `model.tuning.init_args.rank: 8`; they win
            over the overlays.
        trained: Whether it trains; the untrained model is drawn with otherwise.
    """

    configs: list[str] = field(default_factory=list)
    settings: dict[str, Setting] = field(default_factory=dict)
    trained: bool = True

    def __post_init__(self) -> None:
        """Finds the shipped ones."""
        self.configs = [config_file(name) for name in self.configs]


@dataclass
class SubjectPhotos:
    """A subject given by a folder of photos.

    Attributes:
        photos: The folder.
        class_noun: What it is, such as `dog`.
        live: Whether it is alive, which decides the list of prompts.
        name: What tables call it; the folder's name if empty.
    """

    photos: str
    class_noun: str
    live: bool = False
    name: str = ""


@dataclass
class DreamBench:
    """DreamBench's data set: a folder of photos for each subject.

    Attributes:
        folder: The folder of those folders.
        classes: Its list of subjects, lines `subject,class`, and prompts; by default
            `prompts_and_classes.txt` in the folder. Subjects of it without a folder are left out.
        live_classes: The classes that are alive, which the file does not say of its subjects.
    """

    folder: str
    classes: str = ""
    live_classes: list[str] = field(default_factory=lambda: ["cat", "dog"])

    @property
    def classes_file(self) -> Path:
        """Where its subjects and prompts are listed."""
        given = self.classes or Path(self.folder) / "prompts_and_classes.txt"
        return Path(given).expanduser()


@dataclass
class BenchmarkConfig:
    """A comparison.

    Attributes:
        configs: Configs that every method starts from, such as `configs/base.yaml`.
        methods: By the name that tables show.
        reference: The method that the others are compared with.
        output: The folder of everything.
        subjects: `mini:NUMBER` for a held-out subject of the mini world, `mini:NUMBER?REGIME` for
            one whose photos come about in another way, such as `mini:12?scenes=1&masks=wide`,
            `mini:NAME` for a demo subject, or a folder of photos with its class noun.
        dreambench: DreamBench's subjects, besides.
        seeds: Of training and drawing; each makes the comparison again.
        steps: Training steps of every method that does not set `trainer.max_steps` itself; None
            for what the configs say.
        prompts: What is drawn: `mini`, a file in DreamBench's form, or a list of prompts with
            [V] in them; None for DreamBench's where its subjects are named, else for what the
            configs say.
        images: Drawings of each prompt.
        settings: Single keys with their values for every method, over the methods' overlays.
        jobs: Cells at a time; by default one for each GPU, without any one for each core, 4 at
            most.
        shown_prompts: Prompts of each subject that the report shows drawings of.
        resamples: Bootstrap samples behind the intervals.
        regimes: Such as `scenes=1&masks=wide`; every `mini:NUMBER` is compared in each.
        records: Folder where each finished cell leaves a small file; a cell that has one there
            counts as finished, wherever it was run. None for no such files.
        engine: Where cells run: `local` is this machine; `ray` a Ray cluster, or Ray here.
        address: Of the Ray cluster: `auto` for the one that this machine is part of, or
            `ray://HOST:10001`; None for Ray on this machine alone.
        cpus_per_trial: Cores of a cell, with Ray.
        gpus_per_trial: GPUs of a cell, with Ray; a part of one may be shared.
    """

    configs: list[str]
    methods: dict[str, Method]
    reference: str
    output: str
    subjects: list[str | SubjectPhotos] = field(default_factory=list)
    dreambench: DreamBench | None = None
    seeds: list[int] = field(default_factory=lambda: [0])
    steps: int | None = None
    prompts: str | list[str] | None = None
    images: int = 4
    settings: dict[str, Setting] = field(default_factory=dict)
    jobs: int | None = None
    shown_prompts: int = 8
    resamples: int = 10_000
    regimes: list[str] = field(default_factory=list)
    records: str | None = None
    engine: Literal["local", "ray"] = "local"
    address: str | None = None
    cpus_per_trial: float = 1.0
    gpus_per_trial: float = 0.0

    def __post_init__(self) -> None:
        """Finds the shipped configs."""
        self.configs = [config_file(name) for name in self.configs]

    @property
    def suite(self) -> str | list[str] | None:
        """What is drawn; None for what the configs say."""
        if self.prompts is None and self.dreambench is not None:
            return str(self.dreambench.classes_file)
        return self.prompts

    def check(self) -> None:
        """Raises a UserError for a number out of range, a missing file, an unknown name."""
        check_distinct("methods", list(self.methods))
        if self.reference not in self.methods:
            raise UserError(
                f"reference: there is no method {self.reference!r}; there are "
                f"{', '.join(self.methods) or 'none'}"
            )
        if not self.subjects and self.dreambench is None:
            raise UserError("subjects: name one, such as mini:0, or a folder of photos")
        self._check_numbers()
        self._check_files()
        self._check_settings()
        if not self.output.strip():
            raise UserError("output: name a folder for the results")
        check_writable(Path(self.output).expanduser(), "--output")
        if self.records is not None:
            check_writable(Path(self.records).expanduser(), "--records")

    def _check_numbers(self) -> None:
        if not self.seeds or len(set(self.seeds)) != len(self.seeds):
            raise UserError(f"seeds: at least one, and none twice, not {self.seeds}")
        if not all(0 <= seed < _MOST_SEED for seed in self.seeds):
            raise UserError(f"seeds: numbers from 0 to {_MOST_SEED - 1}, not {self.seeds}")
        least = {"steps": self.steps, "jobs": self.jobs, "images": self.images}
        least |= {"shown_prompts": self.shown_prompts, "resamples": self.resamples}
        for name, value in least.items():
            if value is not None and value < 1:
                raise UserError(f"{name} must be 1 or more, not {value}")

    def _check_settings(self) -> None:
        given = {f"methods.{name}.settings": own.settings for name, own in self.methods.items()}
        for key, settings in {"settings": self.settings, **given}.items():
            for setting in settings:
                own = _OWN.get(str(setting).removeprefix("data."))
                if own is not None and (own != "prompts" or self.suite is not None):
                    raise UserError(f"{key}: {setting!r} is what {own!r} sets; say it there")
                if str(setting).split(".")[0] not in _SETTABLE:
                    raise UserError(
                        f"{key}: {setting!r} is no setting of a method; those begin with "
                        f"{', '.join(_SETTABLE)}"
                    )

    def _check_files(self) -> None:
        if not self.configs:
            raise UserError("configs: name the config that methods start from: configs/base.yaml")
        named = [("configs", path) for path in self.configs]
        for method, parts in self.methods.items():
            named += [(f"methods.{method}.configs", path) for path in parts.configs]
        for key, path in named:
            if not Path(path).expanduser().is_file():
                raise UserError(f"{key}: there is no file {path} (from {Path.cwd()})")


def folder_name(name: str) -> str:
    """A name as a folder's: what is neither letter, digit, dot nor dash becomes a dash."""
    kept = "".join(c if c.isalnum() or c in "._-" else "-" for c in name)
    return "-".join(part for part in kept.split("-") if part).strip(".") or "-"


def check_distinct(key: str, names: Sequence[str]) -> None:
    """Raises a UserError if two names would share a folder, or one is no name for one."""
    seen: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str):  # YAML reads a bare 1 or true as what it looks like
            raise UserError(f"{key}: the name {name!r} is no text; put it in quotes")
        if len(folder_name(name).encode()) > _LONGEST_NAME:
            raise UserError(f"{key}: the name {name[:40]!r}... is too long for a folder")
        folder = folder_name(name).lower()
        if folder == "-":
            raise UserError(f"{key}: {name!r} is no name; use letters and digits")
        if folder in seen:
            raise UserError(f"{key}: {seen[folder]!r} and {name!r} share a folder; rename one")
        seen[folder] = name
