"""The frozen text-to-image model under everything, seen through what a family shares."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from idgen.diffusion import NoiseProcess
from idgen.models.text import TextStates, TextTokens


class Autoencoder(Protocol):
    """Pixels to latents and back."""

    def encode(self, pixels: Tensor) -> tuple[Tensor, Tensor]:
        """Pixels `B 3 H W` in [-1, 1] to the posterior's mean and log-variance, `B C h w`."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Unscaled latents `B C h w` to pixels `B 3 H W`, about [-1, 1]."""
        ...


class Backbone(nn.Module, ABC):
    """A frozen diffusion backbone.

    Building one reads its configuration only; `load` brings in the weights of the denoiser and
    the text encoder. The autoencoder is loaded where it is used, and freed after.

    Attributes:
        source: The name it was asked for by.
        identity: Hash of the files it is made of.
        width: D, the width of the condition that its denoiser takes.
        dtype: What its frozen weights are in.
        resolution: Pixels on a side it was trained for.
        latent_shape: (C, h, w) of its latents.
        schedule: How it noises latents and what it predicts.
        scheduler_config: The scheduler's configuration, for the sampler.
    """

    source: str
    identity: str
    width: int
    dtype: torch.dtype
    resolution: int
    latent_shape: tuple[int, int, int]
    schedule: NoiseProcess
    scheduler_config: dict[str, Any]

    def __init__(self) -> None:
        super().__init__()
        # A list, so that nn.Module does not take the autoencoder for a part of the model.
        self._autoencoders: list[Autoencoder] = []

    @property
    @abstractmethod
    def denoiser(self) -> nn.Module:
        """The U-Net or transformer; tuning is injected into it."""

    @property
    @abstractmethod
    def text_encoders(self) -> Sequence[nn.Module]:
        """The text encoders; tuning is injected into them."""

    @abstractmethod
    def pristine(self) -> "Backbone":
        """The same backbone again, not loaded, without any tuning or added word."""

    @abstractmethod
    def load(self) -> None:
        """Loads denoiser and text encoders, frozen; a second call does nothing.

        Raises:
            UserError: If weights are missing or do not fit.
        """

    @abstractmethod
    def tokenize(self, prompts: Sequence[str]) -> TextTokens:
        """Prompts to token ids.

        Raises:
            UserError: If a prompt is longer than the text encoder takes.
        """

    @abstractmethod
    def word_ids(self, word: str) -> list[int]:
        """The token ids of one word, without begin and end."""

    @abstractmethod
    def add_word(self, word: str) -> int:
        """Makes sure that a word is one token, and returns its id.

        A word that the vocabulary lacks is added to the tokenizer. The text encoder has no
        embedding for it: the tuning that asks for the word brings one.

        Raises:
            UserError: If it cannot be a token of its own.
        """

    @property
    @abstractmethod
    def unknown_id(self) -> int | None:
        """The id of words that the vocabulary lacks, or None if every word can be spelt."""

    @abstractmethod
    def encode_text(self, tokens: TextTokens) -> TextStates:
        """f_s: the states the denoiser's cross-attention takes, `B N D`."""

    @abstractmethod
    def predict(self, noisy: Tensor, times: Tensor, condition: TextStates) -> Tensor:
        """The denoiser's output.

        Args:
            noisy: x_t, scaled latents, `B C h w`.
            times: t, `B`.
            condition: f_r or f_s.

        Returns:
            `B C h w`, float32.
        """

    @abstractmethod
    def scale_latents(self, latents: Tensor) -> Tensor:
        """The autoencoder's latents to the denoiser's scale, `B C h w`."""

    @abstractmethod
    def unscale_latents(self, latents: Tensor) -> Tensor:
        """The denoiser's latents to the autoencoder's scale, `B C h w`."""

    @abstractmethod
    def load_autoencoder(self, device: torch.device) -> Autoencoder:
        """Loads the autoencoder onto a device."""

    @contextmanager
    def autoencoder(self, device: torch.device) -> Iterator[Autoencoder]:
        """The autoencoder, in memory only inside the context; nested contexts share it."""
        if self._autoencoders:
            yield self._autoencoders[-1]
            return
        self._autoencoders.append(self.load_autoencoder(device))
        try:
            yield self._autoencoders[-1]
        finally:
            self._autoencoders.clear()
