"""What families share whose models are diffusers' pipeline folders."""

from abc import abstractmethod
from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from textwrap import shorten
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from idgen.backbones.frozen_text import FrozenTextBackbone
from idgen.backbones.latents import Autoencoder, KLAutoencoder
from idgen.backbones.parts import PipelineFolder
from idgen.backbones.quantization import Dtype, check_quantization, quantization_of
from idgen.backbones.single_file import Source
from idgen.backbones.text import TextTokens
from idgen.errors import UserError, printable
from idgen.fingerprint import fingerprint_fields
from idgen.processes import Prediction, VariancePreserving


class PipelineBackbone(FrozenTextBackbone):
    """A pipeline of a denoiser, one to three text encoders and a KL autoencoder.

    A family names its networks and tokenizers, and says in `read_configuration` what its
    configuration means; `encode_text` and `predict` are its own as well.

    Attributes:
        denoiser_part: The denoiser's folder.
        networks: The class of the denoiser and of each text encoder, by folder.
        tokenizer_kinds: The class of each tokenizer in transformers, by folder, in the order of the
            text encoders.
    """

    denoiser_part: ClassVar[str]
    networks: ClassVar[Mapping[str, str]]
    tokenizer_kinds: ClassVar[Mapping[str, str]]

    def __init__(
        self,
        source: Source,
        revision: str | None = None,
        dtype: Dtype = "float32",
        gradient_checkpointing: bool = False,
        variant: str | None = None,
    ) -> None:
        """Reads the pipeline's configuration; `load` brings in the weights.

        Args:
            source: A diffusers pipeline folder, a hub id, `mini`, or a model in one file.
            revision: The hub commit, tag or branch; pin it for results that can be repeated.
            dtype: What the frozen weights are stored in; what is trained stays in float32. `int8`
                and `nf4` hold `quantized_parts` in so few bits, and all computes in bfloat16.
            gradient_checkpointing: Trade time for memory in the denoiser.
            variant: Of the weights' files, such as `fp16`.

        Raises:
            UserError: If there is no such pipeline or its layout is another.
        """
        super().__init__()
        # Of each prompt; shared by copies, as the tokenizers are.
        self._tokens: dict[str, TextTokens] = {}
        self.quantization = quantization_of(dtype)
        self.dtype = getattr(torch, dtype if self.quantization is None else "bfloat16")
        self._gradient_checkpointing = gradient_checkpointing
        self.pipeline = PipelineFolder(
            source,
            revision,
            variant,
            {**self.parts, "vae": "diffusers.AutoencoderKL"},
            [*self.tokenizer_parts, "scheduler"],
            f"{type(self).__name__}.source",
        )
        self.source = self.pipeline.source
        vae = self.pipeline.config("vae")
        self._scaling = float(vae.get("scaling_factor") or 0.18215)
        self._shift = float(vae.get("shift_factor") or 0.0)
        self.read_configuration(vae)

    @abstractmethod
    def read_configuration(self, vae: Mapping[str, Any]) -> None:
        """Sets `features`, `latent_shape`, `resolution`, and `process`.

        Args:
            vae: The autoencoder's configuration; the others are at `self.pipeline.config(part)`.

        Raises:
            UserError: If the layout is another family's.
        """

    @property
    def parts(self) -> Mapping[str, str]:
        """The networks that this one has: the family's, but for what its settings leave out."""
        return self.networks

    @property
    def tokenizer_parts(self) -> Mapping[str, str]:
        """The tokenizers of its text encoders."""
        return self.tokenizer_kinds

    @property
    def max_sequence_length(self) -> int | None:
        """What diffusers' pipeline is to be told of the length of texts; None for nothing."""
        return None

    def diffusers_guidance(self, scale: float) -> float:
        """What diffusers' pipeline calls a guidance of `scale`, where 1 is none."""
        return scale

    def token_length(self, part: str, length: int) -> int:
        """How many tokens a text encoder is given, padding included.

        Args:
            part: Its tokenizer's folder.
            length: What the tokenizer says.
        """
        return length

    def latents_of_side(self, side: int, vae: Mapping[str, Any]) -> tuple[int, int, int]:
        """The latents of square pictures, C h w, where a setting says how large these are.

        Args:
            side: Pixels.
            vae: The autoencoder's configuration.

        Raises:
            UserError: If it is no multiple of a patch of the denoiser.
        """
        pixels = 2 ** (len(vae["block_out_channels"]) - 1)
        unit = pixels * self.patch
        if side < 1 or side % unit:
            near = sorted({max(unit, side // unit * unit), max(unit, (side // unit + 1) * unit)})
            raise self.pipeline.refused(
                f"resolution {side} is no multiple of {unit}, the pixels on a side of one of the "
                f"denoiser's patches; give {' or '.join(map(str, near))}"
            )
        return vae["latent_channels"], side // pixels, side // pixels

    def flow_scheduler(self) -> dict[str, Any]:
        """The configuration of a rectified flow's scheduler, for `read_configuration`.

        Raises:
            UserError: If it is another kind of scheduler.
        """
        config = self.pipeline.scheduler_config()
        kind = self.pipeline.index["scheduler"][1]
        if not kind.startswith("FlowMatch"):
            raise self.pipeline.refused(
                f"the scheduler of {self.source!r} is a {kind}; rectified flow needs a "
                "FlowMatchEulerDiscreteScheduler"
            )
        return config

    def variance_preserving(self, min_snr_gamma: float | None = None) -> VariancePreserving:
        """The process that the pipeline's scheduler describes, for `read_configuration`.

        Args:
            min_snr_gamma: Gamma of Min-SNR loss weights over time; None weighs all times alike.

        Raises:
            UserError: If the scheduler does not say what the denoiser predicts.
        """
        from diffusers import DDPMScheduler

        config = self.pipeline.scheduler_config()
        try:
            prediction = Prediction(config["prediction_type"])
        except (KeyError, ValueError) as error:
            raise self.pipeline.refused(
                f"scheduler/scheduler_config.json of {self.source!r} has prediction_type "
                f"{config.get('prediction_type')!r}; one of "
                f"{', '.join(p.value for p in Prediction)} is needed"
            ) from error
        # Built anew as DDPM: some schedulers change the betas for sampling.
        alphas = DDPMScheduler.from_config(config).alphas_cumprod
        return VariancePreserving(alphas.float(), prediction, config, min_snr_gamma)

    @cached_property
    def identity(self) -> str:
        """Hash of the configuration and the weights, and of how many bits these are held in."""
        whole = self.pipeline.identity()
        if self.quantization is None:
            return whole
        return fingerprint_fields(pipeline=whole, quantization=self.quantization)

    @property
    def quantized_parts(self) -> tuple[str, ...]:
        """The networks that are held in few bits: the denoiser, and text encoders beside CLIP."""
        if self.quantization is None:
            return ()
        return tuple(name for name, kind in self.parts.items() if ".CLIP" not in kind)

    def check(self) -> None:
        """Makes sure that the weights are there, downloading those of a hub id.

        Raises:
            UserError: If they are not, or are to be held in bits that this machine cannot do.
        """
        if self.quantization is not None:
            check_quantization(self.quantization, f"{type(self).__name__}.dtype")
        self.pipeline.check_weights()

    def load(self) -> None:
        """Loads denoiser and text encoders, frozen, in evaluation mode."""
        if self._modules:
            return
        self.load_parts(self.parts)
        self._prepare_denoiser()

    def load_parts(self, names: Collection[str]) -> None:
        """Loads some of the networks, frozen, in evaluation mode."""
        self.pipeline.fetch()
        # All or none: a second call must not take half a backbone for a whole one.
        in_bits = dict.fromkeys(self.quantized_parts, self.quantization)
        loaded = {part: self.pipeline.load(part, self.dtype, in_bits.get(part)) for part in names}
        for part, network in loaded.items():
            setattr(self, part, network)

    def build(self) -> None:
        """Builds the networks from their configuration, on the current device."""
        for part in self.parts:
            setattr(self, part, self.pipeline.build(part))
        self._prepare_denoiser()

    def _prepare_denoiser(self) -> None:
        if self._gradient_checkpointing:
            denoiser: Any = self.denoiser
            denoiser.enable_gradient_checkpointing()

    def _network(self, part: str) -> nn.Module:
        if part in self._gone:
            raise RuntimeError(f"{part} was let go of: open the backbone anew to look into it")
        if part not in self._modules:
            raise RuntimeError("call load() before using the backbone's weights")
        return self.get_submodule(part)

    @property
    def denoiser(self) -> nn.Module:
        """The U-Net or transformer."""
        return self._network(self.denoiser_part)

    @property
    def text_encoders(self) -> Sequence[nn.Module]:
        """The text encoders, in order."""
        return tuple(self._network(part) for part in self.text_parts)

    @property
    def text_parts(self) -> tuple[str, ...]:
        """The folders of the text encoders, in order."""
        return tuple(part for part in self.parts if part != self.denoiser_part)

    def load_autoencoder(self, device: torch.device) -> Autoencoder:
        """Loads the KL autoencoder onto a device, in float32: half precision overflows in SD's."""
        vae = self.pipeline.load("vae", torch.float32)
        return KLAutoencoder(vae.to(device))

    def scale_latents(self, latents: Tensor) -> Tensor:
        """(latents - shift) times the autoencoder's scaling_factor."""
        return (latents - self._shift) * self._scaling

    def unscale_latents(self, latents: Tensor) -> Tensor:
        """Divided by the autoencoder's scaling_factor, plus the shift."""
        return latents / self._scaling + self._shift

    # Words

    @cached_property
    def tokenizers(self) -> tuple[Any, ...]:
        """The pipeline's tokenizers, in the order of the text encoders.

        Raises:
            UserError: If files are missing or damaged.
        """
        kinds = self.tokenizer_parts.items()
        return tuple(self.pipeline.tokenizer(part, kind) for part, kind in kinds)

    def tokenize(self, prompts: Sequence[str]) -> TextTokens:
        """Prompts to ids padded to the text encoders' lengths; those of a prompt are kept."""
        lacking = [prompt for prompt in dict.fromkeys(prompts) if prompt not in self._tokens]
        if lacking:
            each = zip(self.tokenizer_parts, self.tokenizers, strict=True)
            batches = [
                self._tokenized(t, lacking, self.token_length(part, t.model_max_length))
                for part, t in each
            ]
            for row, prompt in enumerate(lacking):
                self._tokens[prompt] = TextTokens(
                    tuple(batch.input_ids[row : row + 1] for batch in batches),
                    tuple(batch.attention_mask[row : row + 1].bool() for batch in batches),
                )
        rows = [self._tokens[prompt] for prompt in prompts]
        parts = (zip(*part, strict=True) for part in zip(*rows, strict=True))
        return TextTokens(*(tuple(torch.cat(each) for each in part) for part in parts))

    def framed(self, tokenizer: Any, prompt: str) -> str:
        """What a tokenizer is given of a prompt: the prompt itself, or words around it too."""
        return prompt

    def _tokenized(self, tokenizer: Any, prompts: Sequence[str], length: int) -> Any:
        framed = []
        for prompt in prompts:
            _check_letters(prompt)
            framed.append(self.framed(tokenizer, prompt))
            count = len(tokenizer(framed[-1]).input_ids)
            if count > length:
                raise UserError(
                    f"prompt {shorten(prompt, 80)!r} has {count} tokens, the text encoder of "
                    f"{self.source!r} takes {length}: shorten it"
                )
        return tokenizer(framed, padding="max_length", max_length=length, return_tensors="pt")

    def word_ids(self, word: str, encoder: int = 0) -> list[int]:
        """A tokenizer's ids of one word, without begin and end."""
        return list(self.tokenizers[encoder](word, add_special_tokens=False).input_ids)

    def add_word(self, word: str) -> Sequence[int]:
        """Adds a word to the tokenizers, unless it is one of their tokens."""
        from transformers import AddedToken

        ids = []
        self._tokens.clear()
        for tokenizer in self.tokenizers:
            found = tokenizer(word, add_special_tokens=False).input_ids
            if len(found) != 1 or found[0] == _unknown_id(tokenizer):
                # As a whole word only: '<new>' is not to be found in '<new>s'. Where spaces are
                # part of words, it takes the one before it.
                own = AddedToken(word, single_word=True, lstrip=not self.words_are_tokens)
                tokenizer.add_tokens([own])
                found = tokenizer(word, add_special_tokens=False).input_ids
            if len(found) != 1 or len(word.split()) != 1:
                raise UserError(
                    f"subject.token {word!r} cannot be a word of its own; take one such as '<new1>'"
                )
            ids += found
        return ids

    @property
    def unknown_id(self) -> int | None:
        """The first tokenizer's id of unknown words; None where every word can be spelt."""
        return _unknown_id(self.tokenizers[0])


def _unknown_id(tokenizer: Any) -> int | None:
    """Byte-level vocabularies can spell every word, and name their end for it."""
    unknown: int | None = tokenizer.unk_token_id
    return None if unknown == tokenizer.eos_token_id else unknown


def _check_letters(prompt: str) -> None:
    """Refuses what Python makes of bytes that are no UTF-8, which no tokenizer takes."""
    try:
        prompt.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"prompt {printable(shorten(prompt, 80))!r} is no UTF-8; write it in UTF-8"
        ) from None
