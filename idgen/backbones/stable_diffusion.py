"""Stable Diffusion 1.x and 2.x, and any pipeline folder of the same layout."""

from collections.abc import Collection, Mapping
from typing import Any, ClassVar

from torch import Tensor

from idgen.backbones.attention import recorded_attention
from idgen.backbones.backbone import FeatureSpace
from idgen.backbones.families import advice
from idgen.backbones.pipeline import PipelineBackbone
from idgen.backbones.quantization import Dtype
from idgen.backbones.single_file import Source
from idgen.backbones.text import TextStates, TextTokens
from idgen.sources import MINI

# The CLIP whose text encoder a family has, by its width.
_TWINS = {768: "ViT-L-14 (openai)", 1024: "ViT-H-14 (laion2b_s32b_b79k)"}


# Settings of a U-Net that takes more than latents, a time and text, or other text.
_INPUTS_OF_OTHERS = (
    "addition_embed_type",
    "class_embed_type",
    "num_class_embeds",
    "encoder_hid_dim",
    "encoder_hid_dim_type",
    "time_cond_proj_dim",
)


class StableDiffusionBackbone(PipelineBackbone):
    """A frozen pipeline of one CLIP text encoder, a U-Net and a KL autoencoder.

    Noise or v prediction is read from the scheduler's configuration.
    """

    denoiser_part: ClassVar[str] = "unet"
    networks: ClassVar[Mapping[str, str]] = {
        "unet": "diffusers.UNet2DConditionModel",
        "text_encoder": "transformers.CLIPTextModel",
    }
    tokenizer_kinds: ClassVar[Mapping[str, str]] = {"tokenizer": "CLIPTokenizer"}

    def __init__(
        self,
        source: Source = MINI,
        revision: str | None = None,
        dtype: Dtype = "float32",
        gradient_checkpointing: bool = False,
        variant: str | None = None,
        min_snr_gamma: float | None = None,
    ) -> None:
        """Reads the pipeline's configuration; `load` brings in the weights.

        Args:
            source: `mini` (ships with idgen), a diffusers pipeline folder, a hub id, or a model in
                one `.safetensors` file, with `file` and `config` where it needs the configuration
                of another than the usual.
            revision: The hub commit, tag or branch; pin it for results that can be repeated.
            dtype: What the frozen weights are stored in; what is trained stays in float32. `int8`
                and `nf4` hold the denoiser, and text encoders other than CLIP, in 8 or 4 bits on a
                CUDA GPU, and compute in bfloat16.
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
        unet, text = (self.pipeline.config(part) for part in ("unet", "text_encoder"))
        width, size = unet.get("cross_attention_dim"), unet.get("sample_size")
        if not isinstance(width, int) or not isinstance(size, int):
            raise self.pipeline.refused(
                f"{self.source!r} has no single cross_attention_dim and sample_size in "
                "unet/config.json; Stable Diffusion 1.x and 2.x layouts are taken"
            )
        self._check_layout(unet, vae, text)
        self.features = FeatureSpace(width, width, _TWINS.get(width, ""))
        self.latent_shape = (vae["latent_channels"], size, size)
        self.resolution = size * 2 ** (len(vae["block_out_channels"]) - 1)
        self.process = self.variance_preserving(self._min_snr_gamma)
        blocks = enumerate(unet.get("down_block_types") or ())
        self.attention_reductions = tuple(2**at for at, kind in blocks if "CrossAttn" in kind)

    def _check_layout(
        self, unet: Mapping[str, Any], vae: Mapping[str, Any], text: Mapping[str, Any]
    ) -> None:
        """Refuses pipelines of other families, such as SDXL's and those for inpainting."""
        width = unet.get("cross_attention_dim")
        wanted = (
            ("vae/config.json", "latent_channels", vae, unet.get("in_channels")),
            ("text_encoder/config.json", "hidden_size", text, width),
            *(("unet/config.json", key, unet, None) for key in _INPUTS_OF_OTHERS),
        )
        family = self.pipeline.index.get("_class_name", "a pipeline of another kind")
        for file, key, config, needed in wanted:
            if config.get(key) != needed:
                raise self.pipeline.refused(
                    f"{self.source!r} ({family}) is no Stable Diffusion 1.x or 2.x: {key} in {file}"
                    f" is {config.get(key)!r}, its U-Net takes {needed!r}; "
                    f"{advice(self.pipeline.index)}"
                )
        if not vae.get("block_out_channels"):
            raise self.pipeline.refused(
                f"{self.source!r} has no block_out_channels in vae/config.json"
            )

    def encode_text(self, tokens: TextTokens) -> TextStates:
        """f_s: the text encoder's last states after its final norm, `B N D`, float32.

        As in Stable Diffusion, padding is not masked out inside the encoder.
        """
        states = self.text_encoders[0](input_ids=tokens.ids[0]).last_hidden_state
        return TextStates(states.float(), tokens.masks[0])

    def predict(
        self, noisy: Tensor, times: Tensor, condition: TextStates, guidance: float | None = None
    ) -> Tensor:
        """The U-Net's output, `B C h w`, float32."""
        output = self.denoiser(
            noisy.to(self.dtype),
            times,
            encoder_hidden_states=condition.states.to(self.dtype),
        )
        prediction: Tensor = output.sample
        return prediction.float()

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
