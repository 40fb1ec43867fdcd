"""Z-Image and Z-Image-Turbo, and any pipeline folder of the same layout."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from idgen.backbones.backbone import FeatureSpace
from idgen.backbones.families import advice
from idgen.backbones.quantization import Dtype
from idgen.backbones.shifting import SizedFlowBackbone
from idgen.backbones.text import TextStates, TextTokens
from idgen.errors import first_line

_PLACES = (1024, 512, 512)
"""Tokens, rows and columns that the transformer counts, where its configuration is silent."""


class ZImageBackbone(SizedFlowBackbone):
    """A frozen pipeline of a language model, a single-stream transformer and a KL autoencoder.

    The transformer takes the states before the language model's last layer, of the real tokens
    alone, in one sequence with the latents' patches. It predicts the velocity of rectified flow,
    with times and the velocity the other way round.

    Attributes:
        text_tokens: How many tokens the language model takes, its own words and padding included.
    """

    denoiser_part: ClassVar[str] = "transformer"
    networks: ClassVar[Mapping[str, str]] = {
        "transformer": "diffusers.ZImageTransformer2DModel",
        "text_encoder": "transformers.Qwen3Model",
    }
    tokenizer_kinds: ClassVar[Mapping[str, str]] = {"tokenizer": "AutoTokenizer"}
    words_are_tokens = False

    def __init__(
        self,
        source: str = "Tongyi-MAI/Z-Image",
        revision: str | None = None,
        dtype: Dtype = "float32",
        gradient_checkpointing: bool = False,
        variant: str | None = None,
        resolution: int = 1024,
        text_tokens: int = 512,
        logit_mean: float = 0.0,
        logit_std: float = 1.0,
        shift: float | None = None,
    ) -> None:
        """Reads the pipeline's configuration; `load` brings in the weights.

        Args:
            source: A diffusers pipeline folder, or a hub id.
            revision: The hub commit, tag or branch; pin it for results that can be repeated.
            dtype: What the frozen weights are stored in; what is trained stays in float32, and so
                does the autoencoder. `int8` and `nf4` hold the denoiser, and text encoders other
                than CLIP, in 8 or 4 bits on a CUDA GPU, and compute in bfloat16.
            gradient_checkpointing: Trade time for memory in the transformer.
            variant: Of the weights' files, such as `fp16`; None for the plain ones.
            resolution: Pixels on a side of views and drawings; the configuration names none.
            text_tokens: How many tokens the language model takes, 1 to 512.
            logit_mean: Mean of the logit of the training times.
            logit_std: Its standard deviation; 0 draws the times uniformly.
            shift: Moves training times towards noise; 1 does not, None does as drawings of this
                resolution are.

        Raises:
            UserError: If there is no such pipeline, its layout is another, or the resolution is no
                multiple of its patch.
            ValueError: If a number is out of range.
        """
        if not 1 <= text_tokens <= 512:
            raise ValueError("text_tokens must be from 1 to 512")
        self._times = (shift, logit_mean, logit_std)
        self._side = resolution
        self.text_tokens = text_tokens
        super().__init__(source, revision, dtype, gradient_checkpointing, variant)

    def read_configuration(self, vae: Mapping[str, Any]) -> None:
        """Reads widths and the schedule; see `PipelineBackbone`."""
        transformer = self.pipeline.config("transformer")
        self._check_layout(transformer, vae)
        # A language model's space has no image twin.
        self.features = FeatureSpace(transformer["cap_feat_dim"])
        self.most_patches = min(transformer.get("axes_lens", _PLACES)[1:])
        self.set_size(self._side, vae, *self._times)

    def _check_layout(self, transformer: Mapping[str, Any], vae: Mapping[str, Any]) -> None:
        """Refuses other families, and texts or latents of other widths than the transformer's."""
        wanted = (
            ("_class_name", "ZImageTransformer2DModel"),
            ("cap_feat_dim", self.pipeline.config("text_encoder").get("hidden_size")),
            ("in_channels", vae.get("latent_channels")),
            ("all_patch_size", [self.patch]),
            # The omni variant takes pictures too.
            ("siglip_feat_dim", None),
        )
        for key, needed in wanted:
            absent = needed is None and key != "siglip_feat_dim"
            if absent or transformer.get(key) != needed:
                raise self.pipeline.refused(
                    f"{self.source!r} ({self.pipeline.kind}) is no Z-Image: {key} in "
                    f"transformer/config.json is {transformer.get(key)!r}, by its other parts "
                    f"{needed!r} is needed; {advice(self.pipeline.index)}"
                )
        if not vae.get("block_out_channels"):
            raise self.pipeline.refused(
                f"{self.source!r} has no block_out_channels in vae/config.json"
            )

    def diffusers_guidance(self, scale: float) -> float:
        """The pipeline's is 0 where there is none; see `PipelineBackbone`."""
        return scale - 1

    # Words

    def framed(self, tokenizer: Any, prompt: str) -> str:
        """A user's message in a conversation; see `PipelineBackbone`."""
        message = [{"role": "user", "content": prompt}]
        try:
            framed: str = tokenizer.apply_chat_template(
                message, tokenize=False, add_generation_prompt=True, enable_thinking=True
            )
        except Exception as error:  # there is no template, or it is damaged
            raise self.pipeline.refused(
                f"the tokenizer of {self.source!r} frames no conversation: {first_line(error, 120)}"
            ) from error
        return framed

    @property
    def max_sequence_length(self) -> int | None:
        """As many tokens as here; see `PipelineBackbone`."""
        return self.text_tokens

    def token_length(self, part: str, length: int) -> int:
        """A setting; see `PipelineBackbone`."""
        return self.text_tokens

    def word_ids(self, word: str, encoder: int = 0) -> list[int]:
        """The ids of words in a sentence, where a space is part of the first; see `Backbone`."""
        alone = super().word_ids(word, encoder)
        if len(alone) == 1 and alone[0] in self.tokenizers[encoder].added_tokens_decoder:
            return alone  # of a word that was added no space is a part
        return super().word_ids(f" {word}", encoder)

    def says(self, text: str, word: str) -> bool:
        """Whether all tokens of the word follow each other in the text; see `Backbone`."""
        return any(_places_in(self.word_ids(text), self.word_ids(word)))

    def word_places(self, prompts: Sequence[str], word: str) -> Tensor:
        """Where a word's tokens are, `B N` bool, behind a space or at the message's beginning."""
        forms = self.word_ids(word), super().word_ids(word)
        rows = self.tokenize(prompts).ids[0].tolist()
        found = [
            [any(places) for places in zip(*(_places_in(row, form) for form in forms), strict=True)]
            for row in rows
        ]
        return torch.tensor(found)

    def encode_text(self, tokens: TextTokens) -> TextStates:
        """f_s: the states before the last layer, `B N D`, float32."""
        [encoder], [ids], [mask] = self.text_encoders, tokens.ids, tokens.masks
        states: Tensor = encoder(
            input_ids=ids, attention_mask=mask, output_hidden_states=True
        ).hidden_states[-2]
        return TextStates(states.float(), mask)

    def predict(
        self, noisy: Tensor, times: Tensor, condition: TextStates, guidance: float | None = None
    ) -> Tensor:
        """The transformer's velocity, `B C h w`, float32."""
        texts = zip(condition.states.to(self.dtype), condition.mask, strict=True)
        output = self.denoiser(
            list(noisy.to(self.dtype).unsqueeze(2).unbind()),
            1 - times.float() / self.process.steps,
            [states[mask] for states, mask in texts],
        )
        # It was trained from noise to picture; rectified flow here goes the other way.
        return -torch.stack(list(output.sample)).squeeze(2).float()


def _places_in(ids: Sequence[int], word: Sequence[int]) -> list[bool]:
    """Which of some ids are of a word, all of whose ids follow each other."""
    found = [False] * len(ids)
    for start in range(len(ids) - len(word) + 1 if word else 0):
        if list(ids[start : start + len(word)]) == list(word):
            found[start : start + len(word)] = [True] * len(word)
    return found
