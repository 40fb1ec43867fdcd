"""Stable Diffusion XL (Podell et al. 2023), and any pipeline folder of the same layout."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from idgen.backbones.attention import recorded_attention
from idgen.backbones.backbone import FeatureSpace
from idgen.backbones.clip_text import EncodedText, encode_clip
from idgen.backbones.families import advice, is_refiner
from idgen.backbones.frozen_text import Outputs
from idgen.backbones.pipeline import PipelineBackbone
from idgen.backbones.quantization import Dtype
from idgen.backbones.single_file import Source
from idgen.backbones.text import TextStates
from idgen.devices import sent

_TWINS = "ViT-L-14 (openai) and ViT-bigG-14 (laion2b_s39b_b160k) side by side"
_TWIN_WIDTH = 2048
_TIME_IDS = 6


class SDXLBackbone(PipelineBackbone):
    """A frozen pipeline of two CLIP text encoders, a U-Net and a KL autoencoder.

    The U-Net takes the states of both encoders side by side, the second one's projected vector,
    and six numbers that say of which picture it makes which part (Podell et al. 2023, section
    2.2). In training these are the views' own, in drawing those of a whole picture.
    """

    denoiser_part: ClassVar[str] = "unet"
    networks: ClassVar[Mapping[str, str]] = {
        "unet": "diffusers.UNet2DConditionModel",
        "text_encoder": "transformers.CLIPTextModel",
        "text_encoder_2": "transformers.CLIPTextModelWithProjection",
    }
    tokenizer_kinds: ClassVar[Mapping[str, str]] = {
        "tokenizer": "CLIPTokenizer",
        "tokenizer_2": "CLIPTokenizer",
    }
    reads_framing = True

    def __init__(
        self,
        source: Source = "stabilityai/stable-diffusion-xl-base-1.0",
        revision: str | None = None,
        dtype: Dtype = "float32",
        gradient_checkpointing: bool = False,
        variant: str | None = None,
        min_snr_gamma: float | None = None,
    ) -> None:
        """Reads the pipeline's configuration; `load` brings in the weights.

        Args:
            source: A diffusers pipeline folder, a hub id, or a model in one `.safetensors` file,
                with `file` and `config` where it needs the configuration of another than the usual.
            revision: The hub commit, tag or branch; pin it for results that can be repeated.
            dtype: What the frozen weights are stored in; what is trained stays in float32, and so
                does the autoencoder, which overflows in half precision. `int8` and `nf4` hold the
                denoiser, and text encoders other than CLIP, in 8 or 4 bits on a CUDA GPU, and
                compute in bfloat16.
            gradient_checkpointing: Trade time for memory in the U-Net.
            variant: Of the weights' files, such as `fp16`; None for the plain ones.
            min_snr_gamma: Gamma of Min-SNR loss weights over time; None weighs all times alike.

        Raises:
            UserError: If there is no such pipeline or its layout is another.
            ValueError: If gamma is not finite and above 0.
        """
        self._min_snr_gamma = min_snr_gamma
        super().__init__(source, revision, dtype, gradient_checkpointing, variant)

    def read_configuration(self, vae: Mapping[str, Any]) -> None:
        """Reads widths, sizes and the noise schedule; see `PipelineBackbone`."""
        unet, first, second = (
            self.pipeline.config(part) for part in ("unet", "text_encoder", "text_encoder_2")
        )
        if is_refiner(self.pipeline.index):
            raise self.pipeline.refused(f"{self.source!r}: {advice(self.pipeline.index)}")
        self._check_layout(unet, vae, (first, second))
        width, size = unet["cross_attention_dim"], unet["sample_size"]
        twin = _TWINS if width == _TWIN_WIDTH else ""
        self.features = FeatureSpace(width, width, twin, second["projection_dim"])
        self.latent_shape = (vae["latent_channels"], size, size)
        self.resolution = size * 2 ** (len(vae["block_out_channels"]) - 1)
        self.process = self.variance_preserving(self._min_snr_gamma)
        blocks = enumerate(unet.get("down_block_types") or ())
        self.attention_reductions = tuple(2**at for at, kind in blocks if "CrossAttn" in kind)
        # How the model was taught what no prompt is.
        self._zeros_without_prompt = bool(
            self.pipeline.index.get("force_zeros_for_empty_prompt", True)
        )

    def _check_layout(
        self, unet: Mapping[str, Any], vae: Mapping[str, Any], texts: tuple[Mapping[str, Any], ...]
    ) -> None:
        """Refuses pipelines of other families, and those for inpainting and for few steps."""
        widths = [text.get("hidden_size") for text in texts]
        whole = None if None in widths else sum(int(width or 0) for width in widths)
        pooled, each = texts[1].get("projection_dim"), unet.get("addition_time_embed_dim")
        added = None if None in (pooled, each) else int(pooled or 0) + _TIME_IDS * int(each or 0)
        wanted = (
            ("addition_embed_type", "text_time"),
            ("cross_attention_dim", whole),
            ("projection_class_embeddings_input_dim", added),
            ("in_channels", vae.get("latent_channels")),
            ("time_cond_proj_dim", None),
            ("encoder_hid_dim", None),
        )
        family = self.pipeline.index.get("_class_name", "a pipeline of another kind")
        for key, needed in wanted:
            if unet.get(key) != needed:
                raise self.pipeline.refused(
                    f"{self.source!r} ({family}) is no SDXL: {key} in unet/config.json is "
                    f"{unet.get(key)!r}, by its other parts {needed!r} is needed; "
                    f"{advice(self.pipeline.index)}"
                )
        for config, key, file in (
            (unet, "sample_size", "unet"),
            (vae, "block_out_channels", "vae"),
        ):
            if not config.get(key):
                raise self.pipeline.refused(f"{self.source!r} has no {key} in {file}/config.json")

    def encode_part(self, part: str, ids: Tensor, mask: Tensor) -> Outputs:
        """States, last states and pooled vector; padding is not masked out, as in SDXL."""
        return encode_clip(self._network(part), ids, mask)

    def join_text(self, outputs: Sequence[Outputs], masks: Sequence[Tensor]) -> TextStates:
        """f_s: both encoders' last states but one, side by side, `B N D`, float32.

        The pooled vector is the second encoder's, projected.
        """
        first, second = (EncodedText(*one) for one in outputs)
        # The first one's last layer changes nothing, yet distributed training wants a gradient for
        # what is trained in it.
        states = torch.cat([first.states + 0 * first.last, second.states], dim=-1)
        return TextStates(states, masks[0], second.pooled)

    def encode_negative(self, prompt: str) -> TextStates:
        """Zeros where there is no negative prompt, if model_index.json says so; see `Backbone`."""
        text = self.encode([prompt])
        if prompt or not self._zeros_without_prompt:
            return text
        assert text.pooled is not None
        return TextStates(torch.zeros_like(text.states), text.mask, torch.zeros_like(text.pooled))

    def predict(
        self, noisy: Tensor, times: Tensor, condition: TextStates, guidance: float | None = None
    ) -> Tensor:
        """The U-Net's output, `B C h w`, float32."""
        assert condition.pooled is not None
        added = {
            "text_embeds": condition.pooled.to(self.dtype),
            "time_ids": self._time_ids(noisy, condition.framing),
        }
        output = self.denoiser(
            noisy.to(self.dtype),
            times,
            encoder_hidden_states=condition.states.to(self.dtype),
            added_cond_kwargs=added,
        )
        prediction: Tensor = output.sample
        return prediction.float()

    def _time_ids(self, noisy: Tensor, framing: Tensor | None) -> Tensor:
        """Original size, corner of the crop, and target size, `B 6`.

        A whole picture of the latents' own size where no other is said.
        """
        pixels = self.resolution // self.latent_shape[1]
        height, width = (side * pixels for side in noisy.shape[2:])
        said = torch.tensor([height, width, 0, 0, height, width], dtype=torch.float32)
        whole = sent(said, noisy.device).expand(len(noisy), -1)
        if framing is None:
            return whole
        is_said = framing[:, :2].gt(0).all(dim=1, keepdim=True)
        # Not in the weights' precision: bfloat16 has no 1001.
        return torch.where(is_said, framing.to(whole), whole)

    def predict_attending(
        self,
        noisy: Tensor,
        times: Tensor,
        condition: TextStates,
        places: Tensor,
        reductions: Collection[int],
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """The U-Net's output, `B C h w`, and maps of its cross-attention; see `Backbone`."""
        with recorded_attention(self.denoiser) as recorded:
            prediction = self.predict(noisy, times, condition)
        return prediction, recorded.maps(noisy.shape[2:], places, reductions)
