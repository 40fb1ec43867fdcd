"""The frozen encoders behind the scores: CLIP for CLIP-I and CLIP-T, a DINO ViT for DINO.

They are never the encoder that training conditions on, and they belong to the caller (a callback,
a script), not to a metric or a LightningModule.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from idgen.errors import UserError, first_line
from idgen.fingerprint import fingerprint_fields, fingerprint_path
from idgen.metrics.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from idgen.metrics.scorer import ImageScorer, LoadedEncoder
from idgen.mini.assets import mini_path
from idgen.models.open_clip_source import OpenClipSource
from idgen.sources import model_folder

_CLIP_KEY, _DINO_KEY = "ClipScorer.model", "DinoScorer.model"
_DINO_FILES = ("*.json", "*.safetensors", "pytorch_model.bin")


class ClipScorer(ImageScorer):
    """An open_clip model that embeds images and texts, for CLIP-I and CLIP-T.

    The published scores are of ``ClipScorer("ViT-B-32", "openai")``. Images are prepared by the
    model's own evaluation transform.
    """

    def __init__(
        self, model: str = "mini", pretrained: str | None = None, batch_size: int = 32
    ) -> None:
        """Notes which model; `load` brings in the weights.

        Args:
            model: ``mini``, ``local-dir:FOLDER`` with an ``open_clip_config.json`` and weights, or
                an open_clip architecture such as ``ViT-B-32``.
            pretrained: For an architecture only: open_clip's name of the weights, such as
                ``openai``, or a file of them. A file of OpenAI's weights needs an architecture
                such as ``ViT-B-32-quickgelu``; by name that is seen to.
            batch_size: Images or texts encoded at once; changes memory, not results.
        """
        super().__init__(model, batch_size)
        self.pretrained = pretrained
        self._source = OpenClipSource(model, pretrained, part="clip", parameter=_CLIP_KEY)
        self._tokenizer: Callable[[list[str]], Tensor] | None = None

    @property
    def identity(self) -> str:
        """Hash of what computes the embeddings, known without loading the weights."""
        return open_clip_identity(self._source)

    def fetch(self) -> None:
        """Downloads weights that are not on this machine yet; raises what `load` does."""
        self._source.fetch()

    def embed_texts(self, texts: Sequence[str]) -> Tensor:
        """Embeds texts; for CLIP-T they are the prompts without the subject's token.

        Args:
            texts: B texts, in plain words. What goes beyond the model's context (77 tokens for
                OpenAI's) is cut off, as open_clip's tokenizers do. B may be 0.

        Returns:
            ``B E`` float32 on the scorer's device, each of unit length.

        Raises:
            RuntimeError: If the scorer is not loaded.
        """
        network, tokenizer = self._loaded_encoder.network, self._tokenizer
        if tokenizer is None:
            raise RuntimeError("ClipScorer: call load(device) first")

        def encode(batch: Sequence[str]) -> Tensor:
            features: Tensor = network.encode_text(tokenizer(list(batch)).to(self._device))
            return features

        return self._encode_in_batches(encode, texts)

    def release(self) -> None:
        """Frees the weights; `load` brings them back."""
        self._tokenizer = None
        super().release()

    def _load(self) -> LoadedEncoder:
        import open_clip

        network = self._source.load()
        try:
            self._tokenizer = open_clip.get_tokenizer(self._source.name)
            preprocessing = Preprocessing.of_open_clip(open_clip.get_model_preprocess_cfg(network))
        except Exception as error:  # a tokenizer or a resize that this open_clip does not know
            raise self._source.unloadable(error) from error
        return LoadedEncoder(network, preprocessing, self._source.width)

    def _image_features(self, pixels: Tensor) -> Tensor:
        features: Tensor = self._loaded_encoder.network.encode_image(pixels)
        return features


def open_clip_identity(source: OpenClipSource) -> str:
    """Hash of an open_clip model as what embeds pictures; a UserError without its weights."""
    return fingerprint_fields(kind="open_clip", source=source.identity)


class DinoScorer(ImageScorer):
    """A DINO ViT of transformers; an image's embedding is the CLS token of its last hidden state.

    The published score is of ``DinoScorer("facebook/dino-vits16")``. Images are prepared by
    `Preprocessing.of_dino`, with the mean and standard deviation of the model's
    ``preprocessor_config.json`` if it has one. The resize in that file is not the protocol's.
    """

    def __init__(
        self, model: str = "mini", revision: str | None = None, batch_size: int = 32
    ) -> None:
        """Notes which model; `load` brings in the weights.

        Args:
            model: ``mini``, a folder of a transformers ViT, or a hub id such as
                ``facebook/dino-vits16``.
            revision: For a hub id only: its commit, tag or branch.
            batch_size: Images encoded at once; changes memory, not results.
        """
        super().__init__(model, batch_size)
        self.revision = revision

    @property
    def identity(self) -> str:
        """Hash of what computes the embeddings, known without loading the weights."""
        if (folder := self._local_folder()) is not None:
            return fingerprint_fields(kind="dino", folder=fingerprint_path(folder))
        return fingerprint_fields(kind="dino", model=self.model, revision=self.revision)

    def fetch(self) -> None:
        """Downloads weights that are not on this machine yet; raises what `load` does."""
        self._folder()

    def _folder(self) -> Path:
        return self._local_folder() or model_folder(
            self.model, parameter=_DINO_KEY, revision=self.revision, patterns=_DINO_FILES
        )

    def _local_folder(self) -> Path | None:
        """The model's folder; None for what looks like a hub id."""
        folder = mini_path("dino") if self.model == "mini" else Path(self.model).expanduser()
        if folder.is_dir():
            if not (folder / "config.json").is_file():
                raise UserError(
                    f"{_DINO_KEY}: there is no config.json in {folder}; give the folder of a "
                    "ViT that transformers saved"
                )
            return folder
        if self.model.startswith((".", "/", "~")) or self.model.count("/") != 1:
            raise UserError(
                f"{_DINO_KEY}: there is no folder {self.model!r}; give a model folder, "
                "'mini', or a hub id such as 'facebook/dino-vits16'"
            )
        return None

    def _load(self) -> LoadedEncoder:
        from transformers import ViTModel

        folder = self._folder()
        try:
            config = (folder / "config.json").read_text(encoding="utf-8")
            kind = json.loads(config).get("model_type")
            loaded: Any = ViTModel.from_pretrained(
                folder, add_pooling_layer=False, output_loading_info=True, local_files_only=True
            )
            network, report = loaded
            mean, std = _normalisation(folder)
        except Exception as error:  # transformers passes on the bare errors of several libraries
            raise UserError(f"{_DINO_KEY}: cannot load {folder} ({first_line(error)})") from error
        missing = sorted(report["missing_keys"])
        if kind != "vit" or missing:
            # transformers would draw what is missing at random and only log a warning.
            what = f"lacks {missing[0]}" if missing else f"is a {kind!r}, not a 'vit'"
            raise UserError(f"{_DINO_KEY}: {folder} holds no whole ViT: it {what}")
        preprocessing = Preprocessing.of_dino(network.config.image_size, mean, std)
        return LoadedEncoder(network, preprocessing, network.config.hidden_size)

    def _image_features(self, pixels: Tensor) -> Tensor:
        hidden: Tensor = self._loaded_encoder.network(pixel_values=pixels).last_hidden_state
        return hidden[:, 0]


def _normalisation(folder: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    path = folder / "preprocessor_config.json"
    config: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    mean = tuple(config.get("image_mean", IMAGENET_MEAN))
    return mean, tuple(config.get("image_std", IMAGENET_STD))
