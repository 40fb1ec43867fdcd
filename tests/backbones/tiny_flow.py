"""A backbone family of the tests' own: a tiny transformer with rectified flow.

It differs from Stable Diffusion in all that a family may: two text encoders with a pooled vector,
no image twin, patches of packed latents, times from 0 to 1000, guidance as an input.
"""

import hashlib
from collections.abc import Sequence

import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from idgen.backbones.backbone import Backbone, FeatureSpace
from idgen.backbones.latents import Autoencoder
from idgen.backbones.text import TextStates, TextTokens
from idgen.processes import RectifiedFlow

_WORDS, _LENGTH, _WIDTH, _PATCH, _CHANNELS = 97, 8, 16, 2, 3


class TinyTransformer(nn.Module):
    """Attends over the patches of an image and the text's tokens."""

    def __init__(self, side: int, hidden: int = 64) -> None:
        super().__init__()
        self.places = nn.Parameter(0.5 * torch.randn(1, (side // _PATCH) ** 2, hidden))
        self.patches = nn.Linear(_CHANNELS * _PATCH**2, hidden)
        self.text = nn.Linear(_WIDTH, hidden)
        self.whole = nn.Sequential(
            nn.Linear(2 + 2 * _WIDTH, hidden), nn.SiLU(), nn.Linear(hidden, hidden)
        )
        layer = nn.TransformerEncoderLayer(
            hidden, 4, 2 * hidden, dropout=0.0, batch_first=True, norm_first=True
        )
        self.blocks = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
        self.out = nn.Linear(hidden, _CHANNELS * _PATCH**2)

    def forward(
        self, noisy: Tensor, times: Tensor, states: Tensor, pooled: Tensor, guidance: Tensor
    ) -> Tensor:
        shape = (_PATCH, _PATCH)
        packed = nn.functional.unfold(noisy, shape, stride=shape).transpose(1, 2)
        whole = torch.cat([times[:, None] / 1000, guidance[:, None], pooled], dim=1)
        patches = self.patches(packed) + self.places + self.whole(whole)[:, None]
        seen = self.blocks(torch.cat([self.text(states), patches], dim=1))
        velocity = self.out(seen[:, -packed.shape[1] :]).transpose(1, 2)
        return nn.functional.fold(velocity, noisy.shape[2:], shape, stride=shape)


class PixelsAsLatents:
    """An autoencoder that leaves pictures as they are."""

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        return pixels, torch.full_like(pixels, -80.0)

    def decode(self, latents: Tensor) -> Tensor:
        return latents


class TinyFlowBackbone(Backbone):
    """Random weights of a seed; words are numbers by their hashes."""

    embeds_guidance = True

    def __init__(self, side: int = 16, seed: int = 0) -> None:
        super().__init__()
        self.source = f"tiny flow {seed}"
        self.seed = seed
        self.dtype = torch.float32
        self.features = FeatureSpace(_WIDTH, pooled_width=2 * _WIDTH)
        self.resolution = side
        self.latent_shape = (_CHANNELS, side, side)
        self.process = RectifiedFlow(dict(FlowMatchEulerDiscreteScheduler(shift=1.0).config))

    @property
    def identity(self) -> str:
        return self.source

    @property
    def denoiser(self) -> nn.Module:
        return self.get_submodule("transformer")

    @property
    def text_encoders(self) -> Sequence[nn.Module]:
        return self.get_submodule("first"), self.get_submodule("second")

    def check(self) -> None:
        """There are no files."""

    def build(self) -> None:
        self.transformer = TinyTransformer(self.resolution)
        self.first, self.second = nn.Embedding(_WORDS, _WIDTH), nn.Embedding(_WORDS, _WIDTH)

    def load(self) -> None:
        if not self._modules:
            with torch.random.fork_rng():
                torch.manual_seed(self.seed)
                self.build()
            self.requires_grad_(False)

    def word_ids(self, word: str, encoder: int = 0) -> list[int]:
        digests = (hashlib.sha256(part.encode()).digest() for part in word.split())
        return [1 + digest[0] * 256 % (_WORDS - 1) for digest in digests]

    def add_word(self, word: str) -> Sequence[int]:
        return self.word_ids(word) * 2

    @property
    def unknown_id(self) -> int | None:
        return None

    def tokenize(self, prompts: Sequence[str]) -> TextTokens:
        words = [self.word_ids(prompt)[:_LENGTH] for prompt in prompts]
        ids = torch.tensor([row + [0] * (_LENGTH - len(row)) for row in words])
        return TextTokens((ids, ids), (ids > 0, ids > 0))

    def encode_text(self, tokens: TextTokens) -> TextStates:
        first, second = (e(ids) for e, ids in zip(self.text_encoders, tokens.ids, strict=True))
        pooled = torch.cat([first.mean(dim=1), second.mean(dim=1)], dim=1)
        return TextStates(first + second, tokens.masks[0], pooled)

    def predict(
        self, noisy: Tensor, times: Tensor, condition: TextStates, guidance: float | None = None
    ) -> Tensor:
        assert condition.pooled is not None
        scale = torch.full((len(noisy),), 1.0 if guidance is None else guidance)
        velocity: Tensor = self.denoiser(
            noisy, times.float(), condition.states, condition.pooled, scale
        )
        return velocity

    def scale_latents(self, latents: Tensor) -> Tensor:
        return latents

    def unscale_latents(self, latents: Tensor) -> Tensor:
        return latents

    def load_autoencoder(self, device: torch.device) -> Autoencoder:
        return PixelsAsLatents()
