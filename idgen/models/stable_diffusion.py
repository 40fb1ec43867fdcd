"""Stable Diffusion 1.x and 2.x, and any pipeline folder of the same layout."""

import json
from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from textwrap import shorten
from typing import Any, Literal

import torch
from torch import Tensor, nn

from idgen.diffusion import NoiseSchedule, Prediction
from idgen.errors import UserError
from idgen.fingerprint import fingerprint_path
from idgen.mini.assets import mini_path
from idgen.models.backbone import Autoencoder, Backbone
from idgen.models.hub import model_folder
from idgen.models.text import TextStates, TextTokens

_KEY = "--model.backbone.init_args.source"
_PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
_HUB_PATTERNS = [
    "model_index.json",
    "*/config.json",
    "tokenizer/*",
    "scheduler/*",
    "unet/diffusion_pytorch_model.safetensors",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/model.safetensors",
]


class StableDiffusionBackbone(Backbone):
    """A frozen pipeline of one CLIP text encoder, a U-Net and a KL autoencoder.

    Noise or v prediction is read from the scheduler's configuration.
    """

    schedule: NoiseSchedule

    def __init__(
        self,
        source: str = "mini",
        revision: str | None = None,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        gradient_checkpointing: bool = False,
    ) -> None:
        """Reads the pipeline's configuration; `load` brings in the weights.

        Args:
            source: `mini` (ships with idgen), a diffusers pipeline folder, or a hub id.
            revision: The hub commit, tag or branch; pin it for results that can be repeated.
            dtype: What the frozen weights are stored in; what is trained stays in float32.
            gradient_checkpointing: Trade time for memory in the U-Net.

        Raises:
            UserError: If there is no such pipeline or its layout is another.
        """
        super().__init__()
        self._again = partial(type(self), source, revision, dtype, gradient_checkpointing)
        self.source = source
        self.dtype = getattr(torch, dtype)
        self._gradient_checkpointing = gradient_checkpointing
        self.folder = _pipeline_folder(source, revision)
        # Only what is loaded: folders may hold the same weights in other formats, too.
        self.identity = fingerprint_path(self.folder, _HUB_PATTERNS)
        unet, vae, text = (self._config(part) for part in ("unet", "vae", "text_encoder"))
        width, size = unet.get("cross_attention_dim"), unet.get("sample_size")
        if not isinstance(width, int) or not isinstance(size, int):
            raise UserError(
                f"{_KEY}: {source!r} has no single cross_attention_dim and sample_size in "
                "unet/config.json; Stable Diffusion 1.x and 2.x layouts are taken"
            )
        _check_layout(source, unet, vae, text)
        self.width = width
        self.latent_shape = (vae["latent_channels"], size, size)
        self.resolution = size * 2 ** (len(vae["block_out_channels"]) - 1)
        self._scaling = float(vae.get("scaling_factor", 0.18215))
        self.schedule, self.scheduler_config = self._read_scheduler()
        self.unet: nn.Module | None = None
        self.text_encoder: nn.Module | None = None

    def _config(self, part: str) -> dict[str, Any]:
        path = self.folder / part / "config.json"
        try:
            config: dict[str, Any] = json.loads(path.read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"{_KEY}: cannot read {path} ({error}); fetch it again") from error
        return config

    def _read_scheduler(self) -> tuple[NoiseSchedule, dict[str, Any]]:
        import diffusers

        try:
            index = json.loads((self.folder / "model_index.json").read_text())
            scheduler = getattr(diffusers, index["scheduler"][1]).from_pretrained(
                self.folder, subfolder="scheduler"
            )
        except Exception as error:  # damaged files fail in many ways
            raise UserError(
                f"{_KEY}: cannot read the scheduler of {self.folder} ({_first_line(error)}); "
                "fetch it again"
            ) from error
        config = dict(scheduler.config)
        try:
            prediction = Prediction(config["prediction_type"])
        except (KeyError, ValueError) as error:
            raise UserError(
                f"{_KEY}: scheduler/scheduler_config.json of {self.source!r} has "
                f"prediction_type {config.get('prediction_type')!r}; "
                f"one of {', '.join(p.value for p in Prediction)} is needed"
            ) from error
        # Built anew as DDPM: some schedulers change the betas for sampling.
        alphas = diffusers.DDPMScheduler.from_config(scheduler.config).alphas_cumprod
        return NoiseSchedule(alphas.float(), prediction), config

    @cached_property
    def tokenizer(self) -> Any:
        """The pipeline's CLIPTokenizer.

        Raises:
            UserError: If its files are missing or damaged.
        """
        from transformers import CLIPTokenizer

        folder = self.folder / "tokenizer"
        # transformers would make one without words, and say nothing.
        if not (folder / "tokenizer.json").is_file() and not all(
            (folder / name).is_file() for name in ("vocab.json", "merges.txt")
        ):
            raise UserError(f"{_KEY}: vocab.json and merges.txt are missing in {folder}")
        try:
            return CLIPTokenizer.from_pretrained(folder)
        except Exception as error:  # damaged files fail in many ways
            raise UserError(
                f"{_KEY}: cannot load {folder} ({_first_line(error)}); fetch it again"
            ) from error

    @property
    def denoiser(self) -> nn.Module:
        """The U-Net."""
        if self.unet is None:
            raise RuntimeError("call load() before using the backbone's weights")
        return self.unet

    @property
    def text_encoders(self) -> Sequence[nn.Module]:
        """The one CLIP text encoder."""
        if self.text_encoder is None:
            raise RuntimeError("call load() before using the backbone's weights")
        return (self.text_encoder,)

    def pristine(self) -> "StableDiffusionBackbone":
        """The same pipeline again, not loaded, without any tuning or added word."""
        return self._again()

    def load(self) -> None:
        """Loads U-Net and text encoder, frozen, in evaluation mode.

        Raises:
            UserError: If weights are missing or do not fit.
        """
        if self.unet is not None:
            return
        from diffusers import UNet2DConditionModel
        from transformers import CLIPTextModel

        self.unet = self._load_part(UNet2DConditionModel, "unet")
        self.text_encoder = self._load_part(CLIPTextModel, "text_encoder")
        if self._gradient_checkpointing:
            unet: Any = self.unet
            unet.enable_gradient_checkpointing()

    def _load_part(self, kind: Any, part: str) -> Any:
        try:
            model, info = kind.from_pretrained(
                self.folder,
                subfolder=part,
                torch_dtype=self.dtype,
                use_safetensors=True,
                output_loading_info=True,
            )
        except Exception as error:  # damaged files fail in many ways
            raise UserError(
                f"{_KEY}: cannot load {self.folder / part} ({_first_line(error)}); "
                "fetch it again with safetensors weights"
            ) from error
        absent = [key for key in info["missing_keys"] if "position_ids" not in key]
        if absent:
            raise UserError(
                f"{_KEY}: {self.folder / part} lacks {len(absent)} weights, {absent[0]!r} the "
                "first; they would stay random, fetch the folder again"
            )
        return model.requires_grad_(False).eval()

    def load_autoencoder(self, device: torch.device) -> Autoencoder:
        """Loads the KL autoencoder onto a device, in float32: half precision overflows in SD's."""
        from diffusers import AutoencoderKL

        try:
            vae = AutoencoderKL.from_pretrained(
                self.folder, subfolder="vae", torch_dtype=torch.float32, use_safetensors=True
            )
        except Exception as error:  # damaged files fail in many ways
            raise UserError(
                f"{_KEY}: cannot load {self.folder / 'vae'} ({_first_line(error)})"
            ) from error
        return _KLAutoencoder(vae.requires_grad_(False).eval().to(device))

    def tokenize(self, prompts: Sequence[str]) -> TextTokens:
        """Prompts to ids padded to the text encoder's length.

        Raises:
            UserError: If a prompt is longer than the text encoder takes.
        """
        length = self.tokenizer.model_max_length
        for prompt in prompts:
            count = len(self.tokenizer(prompt).input_ids)
            if count > length:
                raise UserError(
                    f"prompt {shorten(prompt, 80)!r} has {count} tokens, the text encoder of "
                    f"{self.source!r} takes {length}: shorten it"
                )
        batch = self.tokenizer(
            list(prompts), padding="max_length", max_length=length, return_tensors="pt"
        )
        return TextTokens(batch.input_ids, batch.attention_mask.bool())

    def word_ids(self, word: str) -> list[int]:
        """The token ids of one word, without begin and end."""
        return list(self.tokenizer(word, add_special_tokens=False).input_ids)

    def add_word(self, word: str) -> int:
        """Adds a word to the tokenizer, unless it is one of its tokens.

        Raises:
            UserError: If it holds spaces, or characters that the tokenizer drops.
        """
        from transformers import AddedToken

        ids = self.word_ids(word)
        if len(ids) != 1 or ids[0] == self.unknown_id:
            # As a whole word only: '<new>' is not to be found in '<new>s'.
            self.tokenizer.add_tokens([AddedToken(word, single_word=True)])
            ids = self.word_ids(word)
        if len(ids) != 1 or len(word.split()) != 1:
            raise UserError(
                f"--data.subject.token {word!r} cannot be a word of its own; take one such as "
                "'<new1>'"
            )
        return ids[0]

    @property
    def unknown_id(self) -> int | None:
        """The tokenizer's id of unknown words; byte-level vocabularies can spell every word."""
        unknown = self.tokenizer.unk_token_id
        return None if unknown == self.tokenizer.eos_token_id else unknown

    def encode_text(self, tokens: TextTokens) -> TextStates:
        """f_s: the text encoder's last states after its final norm, `B N D`, float32.

        As in Stable Diffusion, padding is not masked out inside the encoder.
        """
        states = self.text_encoders[0](input_ids=tokens.ids).last_hidden_state
        return TextStates(states.float(), tokens.mask)

    def predict(self, noisy: Tensor, times: Tensor, condition: TextStates) -> Tensor:
        """The U-Net's output, `B C h w`, float32."""
        output = self.denoiser(
            noisy.to(self.dtype),
            times,
            encoder_hidden_states=condition.states.to(self.dtype),
        )
        prediction: Tensor = output.sample
        return prediction.float()

    def scale_latents(self, latents: Tensor) -> Tensor:
        """Multiplies by the autoencoder's scaling_factor."""
        return latents * self._scaling

    def unscale_latents(self, latents: Tensor) -> Tensor:
        """Divides by the autoencoder's scaling_factor."""
        return latents / self._scaling


class _KLAutoencoder:
    """diffusers' AutoencoderKL behind the Autoencoder protocol.

    Always in float32, whatever the trainer's precision: half precision overflows in SD's.
    """

    def __init__(self, vae: Any) -> None:
        self._vae = vae

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        with torch.autocast(pixels.device.type, enabled=False):
            posterior = self._vae.encode(pixels.float()).latent_dist
        return posterior.mean, posterior.logvar

    def decode(self, latents: Tensor) -> Tensor:
        with torch.autocast(latents.device.type, enabled=False):
            pixels: Tensor = self._vae.decode(latents.float()).sample
        return pixels


def _check_layout(
    source: str, unet: dict[str, Any], vae: dict[str, Any], text: dict[str, Any]
) -> None:
    """Refuses pipelines of other families, such as SDXL's and those for inpainting."""
    wanted = (
        ("vae/config.json", "latent_channels", vae.get("latent_channels"), unet.get("in_channels")),
        (
            "text_encoder/config.json",
            "hidden_size",
            text.get("hidden_size"),
            unet.get("cross_attention_dim"),
        ),
        ("unet/config.json", "addition_embed_type", unet.get("addition_embed_type"), None),
    )
    for file, key, found, needed in wanted:
        if found != needed:
            raise UserError(
                f"{_KEY}: {source!r} is no Stable Diffusion 1.x or 2.x: {key} in {file} is "
                f"{found!r}, its U-Net takes {needed!r}"
            )
    if not vae.get("block_out_channels"):
        raise UserError(f"{_KEY}: {source!r} has no block_out_channels in vae/config.json")


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:160]


def _pipeline_folder(source: str, revision: str | None) -> Path:
    if source == "mini":
        return mini_path("pipeline")
    folder = model_folder(source, key=_KEY, revision=revision, patterns=_HUB_PATTERNS)
    absent = [part for part in _PARTS if not (folder / part).is_dir()]
    if not (folder / "model_index.json").is_file() or absent:
        what = ", ".join(absent) if absent else "model_index.json"
        raise UserError(f"{_KEY}: {folder} is no Stable Diffusion pipeline folder: {what} missing")
    return folder
