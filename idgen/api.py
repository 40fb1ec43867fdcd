"""idgen from Python in a few lines: `idgen.train` and `idgen.load`."""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from PIL import Image

from idgen.cli import command
from idgen.devices import best_device
from idgen.errors import UserError
from idgen.loaded.drawing import Order, Picture, draw_order
from idgen.loaded.gallery import write_gallery
from idgen.loaded.model import LoadedModel, Reference
from idgen.loaded.opening import Opening
from idgen.pictures import as_image
from idgen.prepare import subject_name
from idgen.prepare.subject_folders import holds_photos
from idgen.runs.several import inner_folders
from idgen.shipped import config_file

PathLike = str | os.PathLike[str]


class Personalized:
    """A model that draws one subject: a trained checkpoint, an export, or a bare backbone.

    Its weights are loaded when it first draws.

    Attributes:
        path: What it was loaded from.
    """

    def __init__(self, path: PathLike, opening: Opening, device: torch.device | None) -> None:
        """Opens it; see `load`."""
        self.path = str(path)
        self._device = best_device() if device is None else device
        self._reference = opening.reference
        self._model = opening.model(self.path)
        self._model.check()
        self._is_loaded = False

    @property
    def checkpoint(self) -> Path:
        """Its checkpoint.

        Raises:
            UserError: If it is none.
        """
        record = self._model.record
        if record.kind != "checkpoint":
            raise UserError(f"{self.path} is no checkpoint of idgen fit; load one")
        return Path(record.path)

    @property
    def step(self) -> int | None:
        """Steps that it was trained for; None where that is not known."""
        return self._model.record.step

    @property
    def model(self) -> LoadedModel:
        """What draws, with its weights."""
        if not self._is_loaded:
            self._model.load(self._device)
            self._is_loaded = True
        return self._model

    def sample(
        self,
        prompt: str | Sequence[str],
        n: int = 1,
        seed: int = 0,
        output: PathLike | None = None,
        **sampler: Any,
    ) -> list[Image.Image]:
        """Draws prompts.

        Args:
            prompt: One or several, with [V] for the subject.
            n: Pictures of each.
            seed: Another seed, other pictures.
            output: A folder to write them to, as `idgen sample` does; None for none.
            **sampler: Settings of `idgen.sampling.Sampler`, such as `steps=30`, in place of the
                run's.

        Returns:
            Pictures, prompt by prompt.

        Raises:
            UserError: If a prompt or a setting cannot be used.
        """
        if n < 1:
            raise UserError(f"n must be 1 or more, not {n}")
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        try:
            drawer = self._model.sampler.changed(**sampler)
        except (TypeError, ValueError) as error:
            raise UserError(f"sample: {error}") from error
        spoken = [self._model.filled(one) for one in prompts]
        order = Order(spoken, n, seed, drawer, self._reference)
        drawer.check(self._model.backbone)
        order.requests(self._model)
        pictures: list[Picture] = list(draw_order(self.model, order, self._device))
        if output is not None:
            write_gallery(Path(output), {self._model.name: pictures}, self._model.photos)
        return [as_image(picture.image) for picture in pictures]

    def score(self, output: PathLike | None = None, **overrides: Any) -> dict[str, Any]:
        """Draws and scores the whole prompt suite, as `idgen test` does.

        Args:
            output: A new or empty folder for report, tables and drawings; None keeps none.
            **overrides: Keys of the config; see `train`.

        Returns:
            What `idgen test` writes to metrics.json.

        Raises:
            UserError: If something cannot be used.
        """
        with TemporaryDirectory() as work:
            folder = Path(work) / "test" if output is None else Path(output)
            flags = [f"--ckpt_path={self.checkpoint}", f"--drawings.output={folder}"]
            _run("test", [*flags, *_flags(overrides)])
            metrics: dict[str, Any] = json.loads((folder / "metrics.json").read_text("utf-8"))
        return metrics

    def export(self, output: PathLike, format: str = "diffusers", **options: Any) -> Path:
        """Writes files for other tools, as `idgen export` does.

        Args:
            output: A new or empty folder.
            format: Such as `diffusers`, `kohya` or `merged`.
            **options: Options of `idgen export`, with `_` for `-`, such as `dtype="float16"`;
                True gives one that takes no value, such as `no_verify=True`.

        Returns:
            The folder.

        Raises:
            UserError: If the format cannot hold the method, or something cannot be used.
        """
        words = [str(self.checkpoint), f"--format={format}", f"--output={output}"]
        for name, value in options.items():
            option = f"--{name.replace('_', '-')}"
            if value is not False and value is not None:
                words.append(option if value is True else f"{option}={value}")
        _run("export", words)
        return Path(output)


def train(
    photos: PathLike,
    class_noun: str,
    config: PathLike | Sequence[PathLike] = "configs/base.yaml",
    output: PathLike | None = None,
    **overrides: Any,
) -> Personalized:
    """Trains a subject from photos, as `idgen fit` does, on one device.

    Run again after it was stopped, it goes on where it was.

    Args:
        photos: A folder of them.
        class_noun: What they show, such as `dog`.
        config: One or several YAML files, later ones win; those that ship with idgen go by name.
        output: The run's folder; None for `runs/` and the name of the photos' folder.
        **overrides: Keys of the config, with two underscores for a dot, such as
            `trainer__max_steps=500`, or as they are: `**{"trainer.max_steps": 500}`.

    Returns:
        The trained model.

    Raises:
        UserError: If something cannot be used.
        InterruptedError: If it was told to stop; `last.ckpt` is there to go on from.
    """
    files = [config] if isinstance(config, (str, os.PathLike)) else list(config)
    folder = Path("runs") / subject_name(Path(photos)) if output is None else Path(output)
    given = _keys(overrides)
    if str(given.setdefault("trainer.devices", 1)) != "1":
        raise UserError(
            "trainer.devices: from Python a run has one device; several are started by the command "
            "line: idgen fit --trainer.devices 4 --trainer.strategy ddp"
        )
    if not holds_photos(Path(photos)) and inner_folders(os.fspath(photos)):
        raise UserError(
            f"photos: {os.fspath(photos)!r} holds a folder for each of several subjects; train one "
            "after the other, or all by idgen fit"
        )
    flags = [f"--config={config_file(os.fspath(file))}" for file in files]
    own = {
        "data.subject.photos": os.fspath(photos),
        "data.subject.class_noun": class_noun,
        "trainer.default_root_dir": str(folder),
    }
    _run("fit", [*flags, *_flags(own), *_flags(given)])
    return load(folder / "checkpoints" / "last.ckpt")


def load(
    path: PathLike,
    *,
    config: PathLike | Sequence[PathLike] = (),
    backbone: str | None = None,
    token: str | None = None,
    reference: PathLike | None = None,
    reference_weight: float = 1.0,
    device: str | None = None,
) -> Personalized:
    """Opens a model to draw with; its weights are loaded when it first draws.

    Args:
        path: A checkpoint, a run's folder, files of `idgen export`, or a backbone.
        config: Files over a checkpoint's own config.
        backbone: Where the backbone is, if it has moved or an export does not say; of a model in
            one file, whose configuration it has.
        token: What [V] becomes for an export; None for what its card says, else `sks`.
        reference: A photo whose scene and pose are kept.
        reference_weight: How much of it, 1 as much as in training.
        device: Such as `cpu` or `cuda`; None for the best there is.

    Raises:
        UserError: If it cannot be used.
    """
    files = [config] if isinstance(config, (str, os.PathLike)) else list(config)
    kept = None
    if reference is not None:
        kept = Reference(str(Path(reference).expanduser().absolute()), reference_weight)
    opening = Opening([config_file(os.fspath(file)) for file in files], backbone, token, kept)
    return Personalized(path, opening, None if device is None else torch.device(device))


def _run(name: str, options: list[str]) -> None:
    """Runs a command in this process; its errors are raised, not printed.

    Raises:
        InterruptedError: If it was told to stop.
    """
    code = command(name)(options)
    if code:
        raise InterruptedError(f"idgen {name} was stopped (exit code {code})")


def _keys(overrides: Mapping[str, Any]) -> dict[str, Any]:
    return {name.replace("__", "."): value for name, value in overrides.items()}


def _flags(overrides: Mapping[str, Any]) -> list[str]:
    flags = []
    for key, value in _keys(overrides).items():
        text = value if isinstance(value, str) else json.dumps(value, default=os.fspath)
        flags.append(f"--{key}={text}")
    return flags
