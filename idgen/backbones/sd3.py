"""Stable Diffusion 3 and 3.5 (Esser et al. 2024), and any pipeline folder of the same layout."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import pad

from idgen.backbones.backbone import FeatureSpace
from idgen.backbones.clip_text import EncodedText, encode_clip
from idgen.backbones.families import advice
from idgen.backbones.frozen_text import Outputs
from idgen.backbones.parts import pipeline_has
from idgen.backbones.pipeline import PipelineBackbone
from idgen.backbones.quantization import Dtype
from idgen.backbones.single_file import Source
from idgen.backbones.t5_text import encode_t5
from idgen.backbones.text import TextStates
from idgen.errors import UserError
from idgen.processes import RectifiedFlow

_T5 = "text_encoder_3"


class StableDiffusion3Backbone(PipelineBackbone):
    """A frozen pipeline of two CLIP text encoders and T5, an MMDiT and a KL autoencoder.

    The transformer takes the tokens of both CLIPs, their states side by side and filled up with
    zeros to T5's width, and T5's tokens behind them; and the projected vectors of both CLIPs. It
    predicts the velocity of rectified flow.

    Attributes:
        t5_tokens: How many tokens T5 takes, padding included.
    """

    denoiser_part: ClassVar[str] = "transformer"
    networks: ClassVar[Mapping[str, str]] = {
        "transformer": "diffusers.SD3Transformer2DModel",
        "text_encoder": "transformers.CLIPTextModelWithProjection",
        "text_encoder_2": "transformers.CLIPTextModelWithProjection",
        _T5: "transformers.T5EncoderModel",
    }
    tokenizer_kinds: ClassVar[Mapping[str, str]] = {
        "tokenizer": "CLIPTokenizer",
        "tokenizer_2": "CLIPTokenizer",
        "tokenizer_3": "AutoTokenizer",
    }

    def __init__(
        self,
        source: Source = "stabilityai/stable-diffusion-3.5-medium",
        revision: str | None = None,
        dtype: Dtype = "float32",
        gradient_checkpointing: bool = False,
        variant: str | None = None,
        t5: bool | None = None,
        t5_tokens: int = 256,
        logit_mean: float = 0.0,
        logit_std: float = 1.0,
        shift: float | None = None,
    ) -> None:
        """Reads the pipeline's configuration; `load` brings in the weights.

        Args:
            source: A diffusers pipeline folder, a hub id, or a model in one `.safetensors` file,
                with `file` and `config` where it needs the configuration of another than the usual.
            revision: The hub commit, tag or branch; pin it for results that can be repeated.
            dtype: What the frozen weights are stored in; what is trained stays in float32, and so
                does the autoencoder. `int8` and `nf4` hold the denoiser, and text encoders other
                than CLIP, in 8 or 4 bits on a CUDA GPU, and compute in bfloat16.
            gradient_checkpointing: Trade time for memory in the transformer.
            variant: Of the weights' files, such as `fp16`; None for the plain ones.
            t5: Whether T5 takes part; without it, its tokens are zeros, as the model was trained
                with too, and it is neither looked for nor loaded. None as model_index.json has it.
            t5_tokens: How many tokens T5 takes, 1 to 512.
            logit_mean: Mean of the logit of the training times.
            logit_std: Its standard deviation; 0 draws the times uniformly.
            shift: Moves training times towards noise; 1 does not, None does as the scheduler's,
                which drawings take in any case.

        Raises:
            UserError: If there is no such pipeline or its layout is another.
            ValueError: If a number is out of range.
        """
        if not 1 <= t5_tokens <= 512:
            raise ValueError("t5_tokens must be from 1 to 512")
        self._logit, self._shift_of_times = (logit_mean, logit_std), shift
        self._has_t5 = t5
        if t5 is None:
            self._has_t5 = pipeline_has(source, revision, _T5, f"{type(self).__name__}.source")
        self.t5_tokens = t5_tokens
        with self._explaining_t5():
            super().__init__(source, revision, dtype, gradient_checkpointing, variant)

    @contextmanager
    def _explaining_t5(self) -> Iterator[None]:
        """Says where T5 alone is missing that it may be left out."""
        try:
            yield
        except UserError as error:
            missing, found, _ = str(error).partition("; ")
            is_t5 = f"has no {_T5}" in missing or f"{_T5}/" in missing
            if not found or not is_t5:
                raise
            raise UserError(f"{missing}; fetch T5, or set t5 to false to do without it") from error

    def check(self) -> None:
        """Makes sure that the weights are there; of T5, unless it is left out."""
        with self._explaining_t5():
            super().check()

    @property
    def parts(self) -> Mapping[str, str]:
        """The networks that are loaded: all, or those beside T5."""
        return {n: k for n, k in self.networks.items() if self._has_t5 or n != _T5}

    @property
    def tokenizer_parts(self) -> Mapping[str, str]:
        """The tokenizers of these text encoders."""
        return {n: k for n, k in self.tokenizer_kinds.items() if self._has_t5 or n != "tokenizer_3"}

    def read_configuration(self, vae: Mapping[str, Any]) -> None:
        """Reads widths, sizes and the schedule; see `PipelineBackbone`."""
        transformer, *clips = (
            self.pipeline.config(part) for part in ("transformer", "text_encoder", "text_encoder_2")
        )
        width, size = transformer.get("joint_attention_dim"), transformer.get("sample_size")
        pooled = transformer.get("pooled_projection_dim")
        projected = [clip.get("projection_dim") for clip in clips]
        self._check_layout(transformer, vae, projected)
        assert isinstance(width, int)
        assert isinstance(size, int)
        # Zeros that fill the states up are no space in which an image encoder has a twin.
        self.features = FeatureSpace(width, pooled_width=pooled)
        self.latent_shape = (vae["latent_channels"], size, size)
        self.resolution = size * 2 ** (len(vae["block_out_channels"]) - 1)
        self.patch = int(transformer.get("patch_size") or 2)
        # The middle of a table of places is taken, whatever the picture's shape.
        self.most_patches = transformer.get("pos_embed_max_size")
        scheduler, (mean, std) = self.flow_scheduler(), self._logit
        shift = self._shift_of_times
        if shift is None:
            shift = float(scheduler.get("shift") or 1.0)
        self.process = RectifiedFlow(scheduler, shift, mean, std)

    def _check_layout(
        self, transformer: Mapping[str, Any], vae: Mapping[str, Any], projected: Sequence[Any]
    ) -> None:
        """Refuses other families, and texts or latents of other widths than the transformer's."""
        t5 = self.pipeline.config(_T5).get("d_model") if self._has_t5 else None
        width = transformer.get("joint_attention_dim")
        pooled = None if None in projected else sum(projected)
        wanted = (
            ("_class_name", "SD3Transformer2DModel"),
            ("joint_attention_dim", t5 if self._has_t5 else width),
            ("pooled_projection_dim", pooled),
            ("in_channels", vae.get("latent_channels")),
        )
        for key, needed in wanted:
            if needed is None or transformer.get(key) != needed:
                raise self.pipeline.refused(
                    f"{self.source!r} ({self.pipeline.kind}) is no Stable Diffusion 3: {key} in "
                    f"transformer/config.json is {transformer.get(key)!r}, by its other parts "
                    f"{needed!r} is needed; {advice(self.pipeline.index)}"
                )
        for config, key, part in (
            (transformer, "sample_size", "transformer"),
            (vae, "block_out_channels", "vae"),
        ):
            if not config.get(key):
                raise self.pipeline.refused(f"{self.source!r} has no {key} in {part}/config.json")

    def encode_part(self, part: str, ids: Tensor, mask: Tensor) -> Outputs:
        """T5's states; a CLIP's states, last states and pooled vector."""
        if part == _T5:
            return (encode_t5(self._network(part), ids),)
        return encode_clip(self._network(part), ids, mask)

    def join_text(self, outputs: Sequence[Outputs], masks: Sequence[Tensor]) -> TextStates:
        """f_s: CLIP's tokens and T5's behind them, `B N D`, float32."""
        first, second = (EncodedText(*one) for one in outputs[:2])
        clip = torch.cat([first.states, second.states], dim=-1)
        clip = pad(clip, (0, self.features.width - clip.shape[-1]))
        pooled = torch.cat([first.pooled, second.pooled], dim=-1)
        if self._has_t5:
            [long], mask = outputs[2], masks[2]
        else:
            long = clip.new_zeros(len(clip), self.t5_tokens, clip.shape[-1])
            mask = masks[0].new_zeros(long.shape[:2])
        states, mask = torch.cat([clip, long], dim=1), torch.cat([masks[0], mask], dim=1)
        return TextStates(states, mask, pooled)

    @property
    def max_sequence_length(self) -> int | None:
        """As many tokens as here; see `PipelineBackbone`."""
        return self.t5_tokens

    def token_length(self, part: str, length: int) -> int:
        """T5's is a setting; see `PipelineBackbone`."""
        return self.t5_tokens if part == "tokenizer_3" else length

    def word_places(self, prompts: Sequence[str], word: str) -> Tensor:
        """Where a word is among CLIP's tokens and T5's, `B N` bool; see `Backbone`."""
        tokens = self.tokenize(prompts)
        places = [tokens.ids[0] == self.word_ids(word)[0]]
        if self._has_t5:
            meant = torch.tensor(self.word_ids(word, 2))
            places.append(torch.isin(tokens.ids[2], meant) & tokens.masks[2])
        else:
            places.append(torch.zeros(len(prompts), self.t5_tokens, dtype=torch.bool))
        return torch.cat(places, dim=1)

    def predict(
        self, noisy: Tensor, times: Tensor, condition: TextStates, guidance: float | None = None
    ) -> Tensor:
        """The transformer's velocity, `B C h w`, float32."""
        assert condition.pooled is not None
        output = self.denoiser(
            hidden_states=noisy.to(self.dtype),
            timestep=times,
            encoder_hidden_states=condition.states.to(self.dtype),
            pooled_projections=condition.pooled.to(self.dtype),
        )
        velocity: Tensor = output.sample
        return velocity.float()
