"""A checkpoint of `idgen fit`, ready to draw."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml

from idgen.data.datamodule import SubjectDataModule
from idgen.errors import UserError
from idgen.integrity import weights_digest
from idgen.loaded.bare import absolute_source
from idgen.loaded.model import LoadedModel, ModelRecord, Reference
from idgen.models.conditioning import Conditioning
from idgen.models.decoupling import PhotoFeatures
from idgen.module import PersonalizationModule
from idgen.placeholders import FIRST, PLACEHOLDER, SECOND
from idgen.runs.checks import check_parts
from idgen.runs.freezing import ConfigReader
from idgen.runs.parser import keys_in_errors, one_line_errors
from idgen.runs.stored import StoredRun, as_yaml, read_stored_run
from idgen.sampling import Sampler

_SOURCE = "model.backbone.init_args.source"
_ONE, _BOTH = f"a {PLACEHOLDER}", f"a {FIRST} and a {SECOND}"


class CheckpointModel(LoadedModel):
    """What a run has learnt, with the parts that its config describes."""

    def __init__(
        self,
        path: str,
        configs: Sequence[str] = (),
        backbone: str | None = None,
        reference: Reference | None = None,
    ) -> None:
        """Reads the checkpoint and builds its parts, without weights.

        Args:
            path: Of the checkpoint.
            configs: Files over its own config.
            backbone: Where its backbone is now; None for where it was.
            reference: A photo to be kept.

        Raises:
            UserError: If the checkpoint or a part cannot be used.
        """
        stored = read_stored_run(f"./{path}" if path == "null" else path)
        assert stored is not None
        self.stored = stored
        own = [_to_draw(text) for text in stored.configs_for("predict", bool(configs))]
        reader = ConfigReader()
        files = [*own, *configs]
        self._config = reader.read(files, _settings(backbone, reference, _ONE))
        if self._config.data.companion is not None:
            self._config = reader.read(files, _settings(backbone, reference, _BOTH))
        parts = reader.build(self._config).parts
        self.module: PersonalizationModule = parts.model
        self.data: SubjectDataModule = parts.data
        self._fidelity = parts.fidelity
        self.name = checkpoint_name(stored.path)
        self.backbone = self.module.backbone
        self.batch_size = self.data.drawing_batch_size
        self.precision = str(self._config.trainer.precision)
        self.class_noun = self.data.subject.class_noun
        self.photos = self._photos()
        with keys_in_errors(lambda: self._config):
            self.record = ModelRecord(
                "checkpoint",
                str(stored.path.absolute()),
                _digest(stored),
                absolute_source(self.backbone.source),
                self.backbone.identity,
                stored.step,
            )

    @property
    def sampler(self) -> Sampler:  # type: ignore[override]
        """The run's own."""
        return self.module.sampler

    @property
    def conditioning(self) -> Conditioning:
        """The run's."""
        return self.module.conditioning

    @property
    def reference(self) -> tuple[PhotoFeatures | None, float]:
        """The features, known once it is loaded."""
        features = self.data.reference_features
        if features is None:
            return None, 0.0
        device = self.backbone.device
        return PhotoFeatures(*(part.to(device) for part in features)), self.data.reference_weight

    def filled(self, prompt: str) -> str:
        """With the nouns of both, where there are two subjects."""
        return self.data.cast.filled(prompt)

    def spoken(self, prompt: str) -> tuple[str, str]:
        """With the run's token; [V] has to be there, as a word of its own."""
        [(spoken, plain)] = self.data.read_prompts([prompt])
        return spoken, plain

    def check(self) -> None:
        """Checks the parts, and that the checkpoint is theirs."""
        with keys_in_errors(lambda: self._config), one_line_errors():
            check_parts(self.module, self.data, self._fidelity, "predict", self.stored)

    def load(self, device: torch.device) -> None:
        """Loads the backbone, and what was trained into it."""
        with keys_in_errors(lambda: self._config):
            self.module.configure_model()
            checkpoint = torch.load(self.stored.path, map_location="cpu", weights_only=True)
            self.module.on_load_checkpoint(checkpoint)
            self.module.load_state_dict(checkpoint["state_dict"])
            self.module.eval().to(device)
            self.data.setup("predict")

    def _photos(self) -> Sequence[torch.Tensor]:
        try:
            return self.data.reference_photos()
        except UserError:  # a checkpoint that has moved draws without them
            return ()


def checkpoint_name(path: Path) -> str:
    """A name for people: the run's folder, with the file's where it is not the last one."""
    folder = path.absolute().parent
    if folder.name != "checkpoints":
        return path.stem
    run = folder.parent.name
    return run if path.stem == "last" else f"{run} {path.stem}"


def _to_draw(text: str) -> str:
    """A stored config without what belongs to training alone, such as its loggers."""
    config = yaml.safe_load(text)
    kept = {key: value for key, value in config["trainer"].items() if key == "precision"}
    return as_yaml({**config, "trainer": kept, "drawings": {"output": None}})


def _settings(backbone: str | None, reference: Reference | None, prompt: str) -> Mapping[str, Any]:
    """Keys over the configs, with one prompt that any run takes: the real ones are read later."""
    one = json.dumps([prompt])
    suites = ("validation_prompts", "test_prompts", "predict_prompts")
    found: dict[str, Any] = {f"data.{suite}": one for suite in suites}
    found["data.reference"] = "null" if reference is None else reference.photo
    if reference is not None:
        found["data.reference_weight"] = yaml.safe_dump(reference.weight).splitlines()[0]
    if backbone is not None:
        found[_SOURCE] = backbone
    return found


def _digest(stored: StoredRun) -> str:
    noted = stored.origin.get("weights_digest")
    if isinstance(noted, str):
        return noted
    checkpoint = torch.load(stored.path, map_location="cpu", weights_only=True, mmap=True)
    return weights_digest(checkpoint["state_dict"])
