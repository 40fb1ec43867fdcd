"""A backbone that nothing was trained into, ready to draw."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch

from idgen.backbones.backbone import Backbone
from idgen.errors import UserError
from idgen.loaded.model import LoadedModel, ModelRecord
from idgen.models.conditioning import Conditioning, TextOnly
from idgen.placeholders import without_names
from idgen.sampling import Sampler
from idgen.sources import is_mini_backbone

_SOURCE = re.compile(r"^\w+Backbone\.source: ")


class BareModel(LoadedModel):
    """The frozen model alone. Prompts are drawn without [V], from the same noise as with it."""

    def __init__(self, backbone: Backbone, name: str) -> None:
        """Takes a backbone without weights.

        Args:
            backbone: Not loaded yet.
            name: For captions.
        """
        self.name, self.backbone = name, backbone
        self.sampler = Sampler()
        self._conditioning = TextOnly(backbone.features)
        path = absolute_source(backbone.source)
        self.record = ModelRecord("backbone", path, backbone.identity, path, backbone.identity)

    @property
    def conditioning(self) -> Conditioning:
        """f_s alone."""
        return self._conditioning

    def spoken(self, prompt: str) -> tuple[str, str]:
        """The prompt without [V], [V1] and [V2]."""
        words = without_names(prompt)
        return words, words

    def check(self) -> None:
        """Checks that the weights are there."""
        with named_itself():
            self.backbone.check()

    def load(self, device: torch.device) -> None:
        """Loads the backbone."""
        with named_itself():
            self.backbone.load()
        self.backbone.eval().to(device)


@contextmanager
def named_itself() -> Iterator[None]:
    """Leaves out the parameter in front of errors: the model was named, and no setting of it."""
    try:
        yield
    except UserError as error:
        raise UserError(_SOURCE.sub("", str(error))) from error


def absolute_source(source: str) -> str:
    """A name that means the same from any folder."""
    path = Path(source).expanduser()
    return str(path.absolute()) if path.is_dir() and not is_mini_backbone(source) else source
