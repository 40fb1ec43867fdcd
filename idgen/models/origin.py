"""What a checkpoint was trained on: a backbone and a method."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from idgen.backbones.backbone import Backbone
from idgen.errors import UserError
from idgen.models.conditioning import Conditioning
from idgen.models.tuning import Tuning

_TUNING = "model.tuning."
_CONDITIONING = "model.conditioning."


@dataclass(frozen=True)
class Origin:
    """What tells one backbone and method from others, as checkpoints keep it.

    Attributes:
        backbone: Hash of the backbone's files.
        backbone_source: The name it was asked for by.
        method: The tuning and the conditioning, by name.
        definition: By their keys, settings that tell methods apart where the shapes of weights do
            not.
    """

    backbone: str
    backbone_source: str
    method: str
    definition: Mapping[str, Any]

    @classmethod
    def of(cls, backbone: Backbone, tuning: Tuning, conditioning: Conditioning) -> "Origin":
        """What is trained with these parts."""
        method = f"{tuning.name} + {type(conditioning).__name__}"
        settings = {f"{_TUNING}{key}": value for key, value in tuning.definition.items()}
        settings |= {f"{_CONDITIONING}{k}": v for k, v in conditioning.definition.items()}
        return cls(backbone.identity, backbone.source, method, settings)

    def check(self, made: Mapping[str, Any], free: Collection[str] = ()) -> None:
        """Compares what a checkpoint was trained on with this.

        Args:
            made: What the checkpoint keeps; one of an earlier version has no definition.
            free: Which of the conditioning's settings may differ.

        Raises:
            UserError: If the backbone or the method is another.
        """
        if made["method"] != self.method:
            raise UserError(
                f"the checkpoint was trained with {made['method']}, this config has "
                f"{self.method}; use the checkpoint's own config: --ckpt_path alone"
            )
        settings = made.get("definition", {})
        for key, value in self.definition.items():
            if key.removeprefix(_CONDITIONING) in free or settings.get(key, value) == value:
                continue
            raise UserError(
                f"the checkpoint was trained with {key} {settings[key]}, this config has {value}; "
                "use the checkpoint's own config (--ckpt_path alone), or start a new run without it"
            )
        if made["backbone"] != self.backbone and made["backbone_source"] == self.backbone_source:
            raise UserError(
                f"the files of the backbone {self.backbone_source!r} have changed since the "
                "checkpoint was trained on them; bring those back, or set backbone.source to a "
                "folder that has them"
            )
        if made["backbone"] != self.backbone:
            raise UserError(
                f"the checkpoint was trained on the backbone {made['backbone_source']!r}, whose "
                f"files differ from {self.backbone_source!r}; set backbone.source to "
                f"{made['backbone_source']}"
            )
