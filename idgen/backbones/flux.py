"""FLUX.1-dev and -schnell, and any pipeline folder of the same layout."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from idgen.backbones.backbone import FeatureSpace
from idgen.backbones.clip_text import encode_clip
from idgen.backbones.families import advice
from idgen.backbones.frozen_text import Outputs
from idgen.backbones.quantization import Dtype
from idgen.backbones.shifting import SizedFlowBackbone
from idgen.backbones.single_file import Source
from idgen.backbones.t5_text import encode_t5
from idgen.backbones.text import TextStates


class FluxBackbone(SizedFlowBackbone):
    """A frozen pipeline of CLIP and T5, a transformer over packed latents and a KL autoencoder.

    The transformer takes T5's states, CLIP's pooled vector and, in -dev, how strongly it guides
    itself: 1 in training. It predicts the velocity of rectified flow.

    Attributes:
        t5_tokens: How many tokens T5 takes, padding included.
    """

    denoiser_part: ClassVar[str] = "transformer"
    networks: ClassVar[Mapping[str, str]] = {
        "transformer": "diffusers.FluxTransformer2DModel",
        "text_encoder": "transformers.CLIPTextModel",
        "text_encoder_2": "transformers.T5EncoderModel",
    }
    tokenizer_kinds: ClassVar[Mapping[str, str]] = {
        "tokenizer": "CLIPTokenizer",
        "tokenizer_2": "AutoTokenizer",
    }
    # It was distilled: there is no second prediction to lead away from, in -schnell no scale.
    embeds_guidance = True

    def __init__(
        self,
        source: Source = "black-forest-labs/FLUX.1-dev",
        revision: str | None = None,
        dtype: Dtype = "float32",
        gradient_checkpointing: bool = False,
        variant: str | None = None,
        resolution: int = 1024,
        t5_tokens: int = 512,
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
            resolution: Pixels on a side of views and drawings; the configuration names none.
            t5_tokens: How many tokens T5 takes, 1 to 512.
            logit_mean: Mean of the logit of the training times.
            logit_std: Its standard deviation; 0 draws the times uniformly.
            shift: Moves training times towards noise; 1 does not, None does as drawings of this
                resolution are.

        Raises:
            UserError: If there is no such pipeline, its layout is another, or the resolution is no
                multiple of its patch.
            ValueError: If a number is out of range.
        """
        if not 1 <= t5_tokens <= 512:
            raise ValueError("t5_tokens must be from 1 to 512")
        self._times = (shift, logit_mean, logit_std)
        self._side = resolution
        self.t5_tokens = t5_tokens
        super().__init__(source, revision, dtype, gradient_checkpointing, variant)

    def read_configuration(self, vae: Mapping[str, Any]) -> None:
        """Reads widths and the schedule; see `PipelineBackbone`."""
        transformer = self.pipeline.config("transformer")
        self._check_layout(transformer, vae)
        width, pooled = (transformer[k] for k in ("joint_attention_dim", "pooled_projection_dim"))
        self.features = FeatureSpace(width, pooled_width=pooled)
        self._is_guided = bool(transformer.get("guidance_embeds"))
        self.set_size(self._side, vae, *self._times)

    def _check_layout(self, transformer: Mapping[str, Any], vae: Mapping[str, Any]) -> None:
        """Refuses other families, and texts or latents of other widths than the transformer's."""
        clip, t5 = (self.pipeline.config(part) for part in ("text_encoder", "text_encoder_2"))
        channels = vae.get("latent_channels")
        packed = None if channels is None else channels * self.patch**2
        wanted = (
            ("_class_name", "FluxTransformer2DModel"),
            ("joint_attention_dim", t5.get("d_model")),
            ("pooled_projection_dim", clip.get("hidden_size")),
            # Twice as many in FLUX.1-Fill and -Depth, which take a picture too.
            ("in_channels", packed),
        )
        for key, needed in wanted:
            if needed is None or transformer.get(key) != needed:
                raise self.pipeline.refused(
                    f"{self.source!r} ({self.pipeline.kind}) is no FLUX.1: {key} in "
                    f"transformer/config.json is {transformer.get(key)!r}, by its other parts "
                    f"{needed!r} is needed; {advice(self.pipeline.index)}"
                )
        if not vae.get("block_out_channels"):
            raise self.pipeline.refused(
                f"{self.source!r} has no block_out_channels in vae/config.json"
            )

    def encode_part(self, part: str, ids: Tensor, mask: Tensor) -> Outputs:
        """T5's states, `B N D`, float32; CLIP's pooled vector."""
        if part == "text_encoder":
            return (encode_clip(self._network(part), ids, mask).pooled,)
        return (encode_t5(self._network(part), ids),)

    def join_text(self, outputs: Sequence[Outputs], masks: Sequence[Tensor]) -> TextStates:
        """f_s: T5's states, `B N D`, float32; CLIP's pooled vector."""
        [pooled], [states] = outputs
        return TextStates(states, masks[1], pooled)

    @property
    def max_sequence_length(self) -> int | None:
        """As many tokens as here; see `PipelineBackbone`."""
        return self.t5_tokens

    def token_length(self, part: str, length: int) -> int:
        """T5's is a setting; see `PipelineBackbone`."""
        return self.t5_tokens if part == "tokenizer_2" else length

    def word_places(self, prompts: Sequence[str], word: str) -> Tensor:
        """Where a word is among T5's tokens, `B N` bool; see `Backbone`."""
        tokens = self.tokenize(prompts)
        return torch.isin(tokens.ids[1], torch.tensor(self.word_ids(word, 1))) & tokens.masks[1]

    def predict(
        self, noisy: Tensor, times: Tensor, condition: TextStates, guidance: float | None = None
    ) -> Tensor:
        """The transformer's velocity, `B C h w`, float32."""
        assert condition.pooled is not None
        scale = noisy.new_full((len(noisy),), 1.0 if guidance is None else guidance)
        output = self.denoiser(
            hidden_states=pack(noisy, self.patch).to(self.dtype),
            timestep=times.float() / self.process.steps,
            guidance=scale.float() if self._is_guided else None,
            encoder_hidden_states=condition.states.to(self.dtype),
            pooled_projections=condition.pooled.to(self.dtype),
            txt_ids=noisy.new_zeros(condition.states.shape[1], 3),
            img_ids=places_of(noisy, self.patch),
        )
        packed: Tensor = output.sample
        return unpack(packed.float(), noisy.shape[2], noisy.shape[3], self.patch)


def pack(latents: Tensor, patch: int) -> Tensor:
    """Latents `B C h w` as patches, `B (h w / p^2) (C p^2)`."""
    batch, channels, height, width = latents.shape
    parts = latents.view(batch, channels, height // patch, patch, width // patch, patch)
    return parts.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * patch**2)


def unpack(packed: Tensor, height: int, width: int, patch: int) -> Tensor:
    """The latents `B C h w` of patches."""
    parts = packed.view(len(packed), height // patch, width // patch, -1, patch, patch)
    return parts.permute(0, 3, 1, 4, 2, 5).reshape(len(packed), -1, height, width)


def places_of(latents: Tensor, patch: int) -> Tensor:
    """Image ids: 0, row and column of each patch, `(h w / p^2) 3`."""
    rows, columns = (
        torch.arange(side // patch, device=latents.device, dtype=latents.dtype)
        for side in latents.shape[2:]
    )
    grid = torch.cartesian_prod(rows, columns).view(-1, 2)
    return torch.cat([grid.new_zeros(len(grid), 1), grid], dim=1)
