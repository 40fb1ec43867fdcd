"""Names of open_clip models, and how one is found, checked, identified and loaded."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from torch import nn

from idgen.errors import UserError, first_line
from idgen.fingerprint import fingerprint_fields, fingerprint_path
from idgen.models.openai_weights import are_openais, is_torchscript
from idgen.sources import is_mini, local_folder

_LOCAL = "local-dir:"
_CONFIG = "open_clip_config.json"
_WEIGHTS = ("*.safetensors", "*.bin", "*.pth", "*.pt")


@dataclass(frozen=True)
class OpenClipSource:
    """An open_clip model by name; nothing is loaded before `load`.

    Attributes:
        model: ``mini``, ``local-dir:FOLDER`` with an ``open_clip_config.json`` and weights, or an
            open_clip architecture such as ``ViT-B-32``.
        pretrained: For an architecture only: open_clip's name of the weights, such as ``openai``,
            or a file of them. A file of OpenAI's weights is refused under an architecture without
            ``-quickgelu`` at its end; by name that is seen to.
        part: What ``mini`` stands for: ``encoder`` or ``clip``.
        parameter: The parameter that named the model, for errors.
    """

    model: str
    pretrained: str | None
    part: str
    parameter: str

    @property
    def folder(self) -> Path | None:
        """The model's folder, None for an architecture.

        Raises:
            UserError: If it is the mini model's and that is missing or damaged.
        """
        if is_mini(self.model):
            return local_folder(self.model, self.part)
        if self.model.startswith(_LOCAL):
            return Path(self.model.removeprefix(_LOCAL)).expanduser()
        return None

    @property
    def name(self) -> str:
        """The name that open_clip's own functions take."""
        return self.model if self.folder is None else f"{_LOCAL}{self.folder}"

    @cached_property
    def config(self) -> dict[str, Any]:
        """open_clip's ``model_cfg``, read without loading weights.

        Raises:
            UserError: If there is no such model, or its weights are missing or not named.
        """
        return self._named_config() if self.folder is None else self._folder_config(self.folder)

    @property
    def width(self) -> int:
        """Length of an embedding; raises what `config` raises."""
        return int(self.config["embed_dim"])

    @cached_property
    def identity(self) -> str:
        """Hash of the architecture and the weights; raises what `config` raises."""
        architecture = json.dumps(self.config, sort_keys=True)
        weights = self.pretrained
        if self.folder is not None:
            weights = fingerprint_path(self.folder)
        elif weights is not None and Path(weights).is_file():
            weights = fingerprint_path(Path(weights))
        return fingerprint_fields(architecture=architecture, weights=weights)

    def fetch(self) -> None:
        """Downloads weights that are named but not on this machine yet.

        Raises:
            UserError: If there is no such model, or it cannot be fetched.
        """
        if not self.config or self.folder is not None or self.pretrained is None:
            return
        if Path(self.pretrained).is_file():
            return
        # What is a folder's takes no time to import it before it is loaded.
        import open_clip

        try:
            open_clip.download_pretrained(open_clip.get_pretrained_cfg(self.model, self.pretrained))
        except Exception as error:  # open_clip passes on the bare errors of several libraries
            raise self.unloadable(error) from error

    def load(self) -> nn.Module:
        """Builds the model with its weights: on the CPU, frozen, in evaluation mode.

        Returns:
            open_clip's model, image and text tower.

        Raises:
            UserError: If the weights cannot be had.
        """
        import open_clip

        quick_gelu = bool(self.config.get("quick_gelu", False))
        try:
            network: nn.Module = open_clip.create_model(
                self.name,
                pretrained=self.pretrained if self.folder is None else None,
                force_quick_gelu=quick_gelu,
                require_pretrained=True,
            )
        except Exception as error:  # open_clip passes on the bare errors of several libraries
            raise self.unloadable(error) from error
        return network.requires_grad_(False).eval()

    def unloadable(self, error: Exception) -> UserError:
        """What to tell the user when open_clip fails on this model.

        Args:
            error: What open_clip raised.

        Returns:
            One line with the reason and the way out.
        """
        weights = "" if self.folder is not None else f" with weights {self.pretrained!r}"
        return UserError(
            f"{self.parameter}: cannot load {self.model!r}{weights} ({first_line(error)}); "
            f"without a network give {_LOCAL}/path/to/folder"
        )

    def _folder_config(self, folder: Path) -> dict[str, Any]:
        path = folder / _CONFIG
        try:
            config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["model_cfg"]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(
                f"{self.parameter}: cannot read {path} ({error}); give "
                f"{_LOCAL}/path/to/folder of an open_clip model, or 'mini'"
            ) from error
        # open_clip would draw random weights and only log a warning.
        if not any(path for pattern in _WEIGHTS for path in folder.glob(pattern)):
            raise UserError(
                f"{self.parameter}: there are no weights in {folder}; put "
                f"open_clip_model.safetensors beside its {_CONFIG}"
            )
        return config

    def _named_config(self) -> dict[str, Any]:
        import open_clip

        config: dict[str, Any] | None = open_clip.get_model_config(self.model)
        if config is None:
            raise UserError(
                f"{self.parameter}: open_clip has no architecture {self.model!r}; give one "
                f"of its names such as 'ViT-B-32', 'mini', or {_LOCAL}/path/to/folder"
            )
        known = ", ".join(open_clip.list_pretrained_tags_by_model(self.model)) or "none"
        if self.pretrained is None:
            raise UserError(
                f"{self.parameter}: {self.model!r} needs its weights named in 'pretrained', or it "
                f"would be random; known are {known}"
            )
        tag = open_clip.get_pretrained_cfg(self.model, self.pretrained)
        if not tag and not Path(self.pretrained).is_file():
            raise UserError(
                f"{self.parameter}: {self.pretrained!r} is neither a file nor weights of "
                f"{self.model!r}; known are {known}"
            )
        if tag.get("quick_gelu", False):
            # OpenAI's weights were trained with QuickGELU, which open_clip's plain architectures
            # lack: it would only warn, and compute other embeddings.
            config["quick_gelu"] = True
        if not tag:
            self._check_file(Path(self.pretrained), bool(config.get("quick_gelu", False)))
        return config

    def _check_file(self, path: Path, quick_gelu: bool) -> None:
        """Refuses OpenAI's weights in a file that open_clip would take wrongly, or not at all."""
        right = self.model if quick_gelu else f"{self.model}-quickgelu"
        if is_torchscript(path):
            raise UserError(
                f"{self.parameter}: {path} is a TorchScript archive, as OpenAI gives its weights, "
                f"which open_clip takes by name alone: set pretrained to 'openai', or save its "
                f"state dict as safetensors for {right!r}"
            )
        try:
            wrong = not quick_gelu and are_openais(path)
        except Exception as error:  # damaged files fail in many ways
            raise self.unloadable(error) from error
        if wrong:
            raise UserError(
                f"{self.parameter}: {path} looks like OpenAI's weights, which need QuickGELU: "
                f"take {right!r} as the model; if they are others, give a {_LOCAL} folder whose "
                f"{_CONFIG} says what they need"
            )
