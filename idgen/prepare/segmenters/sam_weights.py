"""Where the weights of segment-anything come from: the mini ones, Meta's files, transformers."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import torch
from safetensors.torch import load_file

from idgen.errors import UserError, first_line
from idgen.fingerprint import fingerprint_path
from idgen.mini.assets import mini_path
from idgen.mini.sam import load_mini_sam
from idgen.prepare.segmenters.promptable import (
    MetaNetwork,
    PromptableNetwork,
    TransformersNetwork,
)
from idgen.sources import is_mini, model_folder

Architecture: TypeAlias = Literal["vit_b", "vit_l", "vit_h"]

_ARCHITECTURE_OF_WIDTH: dict[int, Architecture] = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
_FILES = (".pth", ".safetensors")
_PATTERNS = ("*.json", "*.safetensors")


@dataclass(frozen=True)
class SamWeights:
    """A segment-anything by name.

    Attributes:
        name: `mini`, the path of one of Meta's files, or a folder or hub id of transformers.
        parameter: The parameter that named it, for errors.
        revision: For a hub id: its commit, tag or branch.
        architecture: The image encoder of one of Meta's files; None to read it off the weights.
    """

    name: str
    parameter: str
    revision: str | None = None
    architecture: Architecture | None = None

    @cached_property
    def path(self) -> Path:
        """The file or folder, fetched from the hub if need be; a UserError without one."""
        if is_mini(self.name):
            return mini_path("sam")
        path = Path(self.name).expanduser()
        if path.is_file() or path.suffix in _FILES:
            if not path.is_file() or path.suffix not in _FILES:
                what = "is no .pth or .safetensors file" if path.exists() else "does not exist"
                raise UserError(
                    f"{self.parameter}: {self.name!r} {what}; give a segment-anything checkpoint "
                    "such as sam_vit_b_01ec64.pth, a model of transformers such as "
                    "'facebook/sam-vit-base', or 'mini'"
                )
            return path
        folder = model_folder(
            self.name, parameter=self.parameter, revision=self.revision, patterns=_PATTERNS
        )
        if not (folder / "config.json").is_file():
            raise UserError(
                f"{self.parameter}: {folder} is no segment-anything's folder: config.json missing"
            )
        return folder

    @cached_property
    def identity(self) -> str:
        """Hash of the weights."""
        return fingerprint_path(self.path, _PATTERNS if self.path.is_dir() else ("*",))

    def load(self, device: torch.device) -> PromptableNetwork:
        """The network, where it is to run.

        Raises:
            UserError: If these are no such weights.
        """
        if self.path.is_dir() and not is_mini(self.name):
            return TransformersNetwork(*self._of_transformers(device))
        model = load_mini_sam(self.path) if is_mini(self.name) else self._of_meta()
        return MetaNetwork(model.eval().requires_grad_(False).to(device))

    def _of_meta(self) -> Any:
        from segment_anything import sam_model_registry

        try:
            if self.path.suffix == ".safetensors":
                state = load_file(self.path)
            else:
                state = torch.load(self.path, map_location="cpu", weights_only=True)
            width = state["image_encoder.patch_embed.proj.weight"].shape[0]
            model = sam_model_registry[self.architecture or _ARCHITECTURE_OF_WIDTH[width]]()
            model.load_state_dict(state)
        except Exception as error:  # damaged files and other models fail in many ways
            raise UserError(
                f"{self.parameter}: {self.name!r} is no segment-anything checkpoint "
                f"({first_line(error, 120)}); fetch it again, or check 'architecture'"
            ) from error
        return model

    def _of_transformers(self, device: torch.device) -> tuple[Any, Any]:
        from transformers import AutoImageProcessor, AutoModelForMaskGeneration

        try:
            model, report = AutoModelForMaskGeneration.from_pretrained(
                self.path, output_loading_info=True, local_files_only=True, use_safetensors=True
            )
            processor = AutoImageProcessor.from_pretrained(self.path, local_files_only=True)
        except Exception as error:  # transformers passes on the bare errors of several libraries
            raise UserError(
                f"{self.parameter}: {self.path} is no segment-anything of transformers "
                f"({first_line(error, 120)}); give one such as 'facebook/sam2.1-hiera-small'"
            ) from error
        if missing := sorted(report["missing_keys"]):
            # transformers would draw what is missing at random and only log a warning.
            raise UserError(
                f"{self.parameter}: {self.path} holds no whole segment-anything: it lacks "
                f"{missing[0]}"
            )
        return model.eval().requires_grad_(False).to(device), processor
