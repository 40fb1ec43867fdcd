"""Files that `idgen export` or another trainer wrote, in a backbone, ready to draw."""

from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors import safe_open

from idgen.backbones import StableDiffusionBackbone
from idgen.data.prompts import with_token, without_token
from idgen.errors import UserError, first_line
from idgen.fingerprint import fingerprint_path
from idgen.integrity import weight_names
from idgen.loaded.bare import absolute_source
from idgen.loaded.model import LoadedModel, ModelRecord
from idgen.models.conditioning import Conditioning, TextOnly
from idgen.placeholders import PLACEHOLDER
from idgen.sampling import Sampler

_WEIGHTS = "*.safetensors"
_CARD = "README.md"


class ExportedModel(LoadedModel):
    """A backbone with LoRA and a token's embedding, loaded by diffusers' own loaders."""

    def __init__(self, path: Path, backbone: StableDiffusionBackbone, token: str) -> None:
        """Takes files and the backbone that they are for.

        Args:
            path: A folder of safetensors files, or one such file.
            backbone: Not loaded yet, and used by nothing else.
            token: What [V] becomes, unless the files bring an embedding for a word.

        Raises:
            UserError: If there are no such files, or they are of another kind.
        """
        self.name, self.backbone, self.sampler = path.stem, backbone, Sampler()
        self._stable_diffusion = backbone
        self.files = [path] if path.is_file() else sorted(path.glob(_WEIGHTS))
        self._embeddings = {file: word for file in self.files if (word := _word(file))}
        self._lora = [file for file in self.files if file not in self._embeddings]
        for file in self._lora:
            if not any("lora" in name.lower() for name in _names(file)):
                raise UserError(
                    f"{file} holds no LoRA and no token's embedding; give a folder of idgen export "
                    "--format diffusers, kohya or merged"
                )
        self.token = next(iter(self._embeddings.values()), token)
        self._conditioning = TextOnly(backbone.features)
        self.record = ModelRecord(
            "export",
            str(path.absolute()),
            fingerprint_path(path, ("*",) if path.is_file() else (_WEIGHTS,)),
            absolute_source(backbone.source),
            backbone.identity,
        )

    @property
    def conditioning(self) -> Conditioning:
        """f_s alone."""
        return self._conditioning

    def spoken(self, prompt: str) -> tuple[str, str]:
        """With the token in place of [V]; a prompt without it is drawn as it is."""
        words = with_token(prompt, self.token) if PLACEHOLDER in prompt else without_token(prompt)
        return words, without_token(prompt)

    def check(self) -> None:
        """Checks that the backbone's weights are there."""
        self.backbone.check()

    def load(self, device: torch.device) -> None:
        """Loads the backbone, then the files by a pipeline of diffusers, and folds them in.

        Raises:
            UserError: If diffusers does not take them.
        """
        from diffusers import DDIMScheduler, StableDiffusionPipeline

        self.backbone.load()
        pipeline: Any = StableDiffusionPipeline(
            vae=None,
            text_encoder=self.backbone.text_encoders[0],
            tokenizer=self._stable_diffusion.tokenizers[0],
            unet=self.backbone.denoiser,
            scheduler=DDIMScheduler(),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        for file in self.files:
            try:
                if file in self._embeddings:
                    pipeline.load_textual_inversion(file.parent, weight_name=file.name)
                else:
                    pipeline.load_lora_weights(file.parent, weight_name=file.name)
            except Exception as error:  # diffusers and peft refuse in many ways
                raise UserError(
                    f"{file} does not fit {self.backbone.source!r} ({first_line(error)}); name the "
                    "backbone that it was trained on: --backbone"
                ) from error
        if self._lora:
            pipeline.fuse_lora()
        self.backbone.requires_grad_(False).eval().to(device)


def is_export(path: Path) -> bool:
    """Whether a path is a safetensors file, or a folder of such files and no pipeline."""
    if path.is_file():
        return path.suffix == ".safetensors"
    return path.is_dir() and any(path.glob(_WEIGHTS)) and not (path / "model_index.json").exists()


def base_in_card(path: Path) -> str | None:
    """The base model that the card beside some files names; None without one."""
    card = (path if path.is_dir() else path.parent) / _CARD
    try:
        _, head, _ = card.read_text(encoding="utf-8").split("---\n", 2)
        base = yaml.safe_load(head).get("base_model")
    except (OSError, ValueError, AttributeError, yaml.YAMLError):
        return None
    return base if isinstance(base, str) else None


def _names(path: Path) -> list[str]:
    try:
        return weight_names(path)
    except Exception as error:  # damaged files fail in many ways
        raise UserError(f"cannot read {path} ({first_line(error)}); fetch it again") from error


def _word(path: Path) -> str | None:
    """The word that a file holds an embedding for; None if it holds something else."""
    names = _names(path)
    if len(names) != 1:
        return None
    with safe_open(path, framework="pt") as file:
        shape = file.get_slice(names[0]).get_shape()
    return names[0] if len(shape) == 1 or (len(shape) == 2 and shape[0] == 1) else None
