"""From what a user names to a model: a checkpoint, an export, or a bare backbone."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from idgen.backbones import StableDiffusionBackbone
from idgen.errors import UserError
from idgen.loaded.bare import BareModel
from idgen.loaded.checkpoint import CheckpointModel
from idgen.loaded.exported import ExportedModel, base_in_card, is_export
from idgen.loaded.model import LoadedModel, Reference
from idgen.sources import is_mini

TOKEN = "sks"


@dataclass(frozen=True)
class Opening:
    """How models are opened.

    Attributes:
        configs: Files over a checkpoint's own config.
        backbone: Where the backbone of checkpoints and exports is; None for where they say.
        token: What [V] becomes for exports without a word of their own.
        reference: A photo to be kept.
        fallback: The backbone of an export that does not say it.
    """

    configs: Sequence[str] = ()
    backbone: str | None = None
    token: str = TOKEN
    reference: Reference | None = None
    fallback: str | None = None

    def model(self, name: str) -> LoadedModel:
        """The model of a name; no weights are loaded yet.

        Args:
            name: A checkpoint, a run's folder, files of `idgen export`, or a backbone: `mini`, a
                pipeline folder or a hub id.

        Raises:
            UserError: If there is no such model, or it cannot do what is asked.
        """
        path = Path(name).expanduser()
        last = path / "checkpoints" / "last.ckpt"
        if path.is_dir() and last.is_file():
            return self._checkpoint(str(last))
        if is_export(path):
            self._refuse_reference(name)
            base = self.backbone or base_in_card(path) or self.fallback
            if base is None:
                raise UserError(f"{name} does not say what it was trained on; give it: --backbone")
            return ExportedModel(path, StableDiffusionBackbone(base), self.token)
        is_pipeline = path.is_dir() or is_mini(name)
        if is_pipeline or (not path.exists() and _may_be_on_the_hub(name)):
            self._refuse_reference(name)
            return BareModel(StableDiffusionBackbone(name), path.name or name)
        return self._checkpoint(name)

    def _checkpoint(self, path: str) -> LoadedModel:
        return CheckpointModel(path, self.configs, self.backbone, self.reference)

    def _refuse_reference(self, name: str) -> None:
        if self.reference is not None:
            raise UserError(
                f"--reference: {name} is no checkpoint of idgen fit, and cannot keep a photo's "
                "scene; leave it out"
            )


def _may_be_on_the_hub(name: str) -> bool:
    return name.count("/") == 1 and not name.startswith((".", "/", "~")) and ".ckpt" not in name
