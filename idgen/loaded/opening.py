"""From what a user names to a model: a checkpoint, an export, or a bare backbone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from idgen.backbones import StableDiffusionBackbone
from idgen.backbones.opening import backbone_of
from idgen.backbones.single_file import SingleFile, Source, is_model_file
from idgen.errors import UserError
from idgen.importing import uncollected
from idgen.loaded.bare import BareModel, named_itself
from idgen.loaded.export_note import base_of, note_of
from idgen.loaded.exported import ExportedModel, check_drawn, is_export, is_merged
from idgen.loaded.model import LoadedModel, Reference
from idgen.sources import is_mini_backbone


@dataclass(frozen=True)
class Opening:
    """How models are opened.

    Attributes:
        configs: Files over a checkpoint's own config.
        backbone: Where the backbone of checkpoints and exports is, and whose configuration a model
            in one file has; None for where they say, and the best-known one.
        token: What [V] becomes for exports; None for what they say.
        reference: A photo to be kept.
        fallback: The backbone of an export that does not say it.
    """

    configs: Sequence[str] = ()
    backbone: str | None = None
    token: str | None = None
    reference: Reference | None = None
    fallback: str | None = None

    def model(self, name: str) -> LoadedModel:
        """The model of a name; no weights are loaded yet.

        Args:
            name: A checkpoint, a run's folder, files of `idgen export`, or a backbone: `mini`, a
                pipeline folder, a hub id, or a model in one file.

        Raises:
            UserError: If there is no such model, or it cannot do what is asked.
        """
        path = Path(name).expanduser()
        if (last := last_checkpoint(path)) is not None:
            return self._checkpoint(str(last))
        note = note_of(path)
        # One that is gone may have been converted before.
        if is_model_file(path) or (path.suffix.lower() == ".safetensors" and not path.exists()):
            self._refuse_reference(name)
            return _bare(SingleFile(str(path), self.backbone), path.stem)
        if is_export(path) or (note is not None and is_merged(path)):
            self._refuse_reference(name)
            check_drawn(path, note)
            base = str(path) if is_merged(path) else self.backbone or base_of(path, note)
            if (base := base or self.fallback) is None:
                raise UserError(f"{name} does not say what it was trained on; give it: --backbone")
            return ExportedModel(path, _base(name, base), note, self.token)
        is_pipeline = path.is_dir() or is_mini_backbone(name)
        if is_pipeline or (not path.exists() and _may_be_on_the_hub(name)):
            self._refuse_reference(name)
            return _bare(name, path.name or name)
        return self._checkpoint(name)

    def _checkpoint(self, path: str) -> LoadedModel:
        # It takes Lightning, whose module and data it draws with; exports and backbones do without.
        with uncollected():
            from idgen.loaded.checkpoint import CheckpointModel

        return CheckpointModel(path, self.configs, self.backbone, self.reference)

    def _refuse_reference(self, name: str) -> None:
        if self.reference is not None:
            raise UserError(
                f"--reference: {name} is no checkpoint of idgen fit, and cannot keep a photo's "
                "scene; leave it out"
            )


def _bare(source: Source, name: str) -> BareModel:
    with named_itself():
        return BareModel(backbone_of(source), name)


def _base(name: str, source: str) -> StableDiffusionBackbone:
    """The backbone of an export; those of other families are for diffusers."""
    backbone = backbone_of(source)
    if not isinstance(backbone, StableDiffusionBackbone):
        raise UserError(
            f"{name} is an export for a {type(backbone).__name__}; idgen draws with exports for "
            "Stable Diffusion 1.x and 2.x: take the checkpoint that it was made from, or diffusers "
            "as its README.md says"
        )
    return backbone


def last_checkpoint(folder: Path) -> Path | None:
    """The last checkpoint of a run's folder; None if it is none."""
    last = folder / "checkpoints" / "last.ckpt"
    return last if last.is_file() else None


def _may_be_on_the_hub(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and ".ckpt" not in name
