"""A checkpoint of `idgen fit`, ready to draw."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import yaml
from jsonargparse import Namespace

from idgen import __version__
from idgen.data.datamodule import SubjectDataModule
from idgen.data.prompts import suite_templates
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
from idgen.yaml_texts import own_yaml

_SOURCE = "model.backbone.init_args.source"
_DTYPE = "model.backbone.init_args.dtype"


class CheckpointModel(LoadedModel):
    """What a run has learnt, with the parts that its config describes."""

    def __init__(
        self,
        path: str,
        configs: Sequence[str] = (),
        backbone: str | None = None,
        reference: Reference | None = None,
        prompts: Sequence[str] | None = (),
        seed: int | None = None,
        dtype: str | None = None,
    ) -> None:
        """Reads the checkpoint and builds its parts, without weights.

        Args:
            path: Of the checkpoint.
            configs: Files over its own config.
            backbone: Where its backbone is now; None for where it was.
            reference: A photo to be kept.
            prompts: In place of the config's `predict_prompts`; None for those, and none where they
                are not known yet.
            seed: In place of the config's `drawing_seed`; None for that.
            dtype: Of the frozen weights; None for the config's.

        Raises:
            UserError: If the checkpoint or a part cannot be used.
        """
        stored = read_stored_run(f"./{path}" if path == "null" else path)
        assert stored is not None
        self.stored = stored
        own = [_to_draw(text) for text in stored.configs_for("predict", bool(configs))]
        reader = ConfigReader()
        settings = _settings(backbone, reference, seed)
        try:
            self._config = reader.read([*own, *configs], settings)
        except UserError as error:
            raise _of_another_version(stored, error) from error
        _set_prompts(self._config.data, prompts)
        if dtype is not None and self._config.get(_DTYPE) is not None:
            self._config[_DTYPE] = dtype
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
        self.prompts = self._prompts()
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

    def _prompts(self) -> tuple[str, ...]:
        """Those of `predict` with their [V]; building the data has checked them."""
        suite, subject = self._config.data.predict_prompts, self.data.subject
        given = suite
        if isinstance(suite, str):
            given = suite_templates(suite, subject.live, subject.class_noun)
        return tuple(self.data.cast.filled(prompt) for prompt in given)

    def _photos(self) -> Sequence[torch.Tensor]:
        try:
            return self.data.reference_photos()
        except UserError:  # a checkpoint that has moved draws without them
            return ()


def _of_another_version(stored: StoredRun, error: UserError) -> UserError:
    """An error about a checkpoint's config, which says so where another version wrote that."""
    made = stored.origin.get("idgen_version", "0.1")
    if made == __version__:
        return error
    return UserError(
        f"--ckpt_path: {stored.path} was written by idgen {made}, and this is {__version__}: "
        f"{error}"
    )


def checkpoint_name(path: Path) -> str:
    """A name for people: the run's folder, with the file's where it is not the last one."""
    folder = path.absolute().parent
    if folder.name != "checkpoints":
        return path.stem
    run = folder.parent.name
    return run if path.stem == "last" else f"{run} {path.stem}"


def _to_draw(text: str) -> str:
    """A stored config without what belongs to training alone, such as its loggers."""
    config = own_yaml(text)
    kept = {key: value for key, value in config["trainer"].items() if key == "precision"}
    return as_yaml({**config, "trainer": kept, "drawings": {"output": None}})


def _set_prompts(data: Namespace, prompts: Sequence[str] | None) -> None:
    """Puts a prompt that is never drawn in place of suites, whose files may be gone by now."""
    both = data.get("companion") is not None
    one = [f"a {FIRST} and a {SECOND}" if both else f"a {PLACEHOLDER}"]
    data.validation_prompts = data.test_prompts = one
    if prompts is not None:
        data.predict_prompts = list(prompts) or one


def _settings(
    backbone: str | None,
    reference: Reference | None,
    seed: int | None,
) -> Mapping[str, Any]:
    """Keys over the configs."""
    found: dict[str, Any] = {}
    if seed is not None:
        found["data.drawing_seed"] = seed
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
