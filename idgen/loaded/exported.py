"""Files that `idgen export` or another trainer wrote, in a backbone, ready to draw."""

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from idgen.backbones import StableDiffusionBackbone
from idgen.errors import UserError, first_line
from idgen.fingerprint import fingerprint_path
from idgen.integrity import weight_names
from idgen.loaded.bare import absolute_source
from idgen.loaded.export_note import ExportNote
from idgen.loaded.model import LoadedModel, ModelRecord
from idgen.models.conditioning import Conditioning, TextOnly
from idgen.placeholders import PLACEHOLDER, SECOND, named, without_names
from idgen.sampling import Sampler

_WEIGHTS = "*.safetensors"
_PIPELINE = "model_index.json"
TOKEN = "sks"
# What is fused at inference or finished already; diffusers' loaders know nothing of it.
_NOT_DRAWN = ("fusion", "embeddings")


class ExportedModel(LoadedModel):
    """A backbone with LoRA and a token's embedding, loaded by diffusers' own loaders.

    Of `--format merged` the folder is the backbone, and there is nothing to load into it.
    """

    def __init__(
        self,
        path: Path,
        backbone: StableDiffusionBackbone,
        note: ExportNote | None = None,
        token: str | None = None,
    ) -> None:
        """Takes files and the backbone that they are for.

        Args:
            path: A folder of safetensors files, one such file, or a merged pipeline folder.
            backbone: Not loaded yet, and used by nothing else.
            note: What the export says of itself; None where it says nothing.
            token: What [V] becomes; None for what the export says, for the word that its files
                bring an embedding for, or for `sks`.

        Raises:
            UserError: If there are no such files, or they are of another kind.
        """
        self.name, self.backbone = path.stem if path.is_file() else path.name, backbone
        self.sampler = _sampler(path, note)
        self.class_noun = "" if note is None else note.class_noun
        self._stable_diffusion = backbone
        merged = is_merged(path)
        self.files = [path] if path.is_file() else [] if merged else sorted(path.glob(_WEIGHTS))
        self._embeddings = {file: word for file in self.files if (word := _word(file))}
        self._lora = [file for file in self.files if file not in self._embeddings]
        for file in self._lora:
            if not any("lora" in name.lower() for name in _names(file)):
                raise UserError(
                    f"{file} holds no LoRA and no token's embedding; give a folder of idgen export "
                    "--format diffusers, kohya or merged"
                )
        learnt = next(iter(self._embeddings.values()), TOKEN)
        own = {PLACEHOLDER: learnt} if note is None else note.words
        self.words = own if token is None else {**own, **dict.fromkeys(set(own) - {SECOND}, token)}
        self._conditioning = TextOnly(backbone.features)
        self.record = ModelRecord(
            "export",
            str(path.absolute()),
            backbone.identity
            if merged
            else fingerprint_path(path, ("*",) if path.is_file() else (_WEIGHTS,)),
            absolute_source(backbone.source),
            backbone.identity,
            token=token,
        )

    @property
    def conditioning(self) -> Conditioning:
        """f_s alone."""
        return self._conditioning

    def spoken(self, prompt: str) -> tuple[str, str]:
        """With the words that stand for the subjects; a prompt without any is drawn as it is.

        Raises:
            UserError: If it names a subject that the export does not know.
        """
        return named(prompt, self.words), without_names(prompt)

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
    return path.is_dir() and any(path.glob(_WEIGHTS)) and not is_merged(path)


def check_drawn(path: Path, note: ExportNote | None) -> None:
    """Refuses exports that diffusers' loaders alone cannot draw with, and damaged ones.

    Raises:
        UserError: If it is one of them.
    """
    for file in [path] if path.is_file() else sorted(path.glob(_WEIGHTS)):
        _names(file)
    if note is not None and note.format in _NOT_DRAWN:
        raise UserError(
            f"{path} is an export --format {note.format}, which is for other tools; draw with the "
            "checkpoint that it was made from"
        )


def is_merged(path: Path) -> bool:
    """Whether a path is a whole pipeline folder."""
    return (path / _PIPELINE).is_file()


def _sampler(path: Path, note: ExportNote | None) -> Sampler:
    """The run's own way to draw, if the export says it."""
    try:
        return Sampler() if note is None else Sampler.of_settings(note.sampler)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"{path}: what its card says of the sampler cannot be used ({first_line(error)}); take "
            "`idgen` out of the head of README.md"
        ) from error


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
