"""The frozen text-to-image model under everything, seen through what a family shares."""

import copy
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn

from idgen.backbones.latents import Autoencoder
from idgen.backbones.text import SharedByCopies, SubjectWords, TextStates
from idgen.backbones.text_side import TextSide
from idgen.errors import UserError
from idgen.processes import NoiseProcess


class FeatureSpace(NamedTuple):
    """Where a backbone's conditions live.

    Attributes:
        width: D, of the states that the denoiser takes.
        image_width: Width of the image twin's embeddings, the image encoder whose space is that of
            the text encoders; None where there is no such encoder.
        twin: The image twin's name, for people.
        pooled_width: Of the pooled vector; None in families that take none.
    """

    width: int
    image_width: int | None = None
    twin: str = ""
    pooled_width: int | None = None


class AttachedTuning(Protocol):
    """What a backbone has to know of the tuning inside it."""

    @property
    def trains_text(self) -> bool:
        """Whether f_s changes while it is trained."""
        ...

    def attach(self, backbone: "Backbone", words: SubjectWords) -> None:
        """Adds trainable parameters to a loaded backbone."""
        ...

    def off(self, backbone: "Backbone") -> AbstractContextManager[None]:
        """The backbone as it was before."""
        ...

    def folded(self, backbone: "Backbone") -> AbstractContextManager[None]:
        """What it adds to frozen weights, laid into copies of them."""
        ...

    def keeping_folds(self) -> AbstractContextManager[None]:
        """The copies stay, to be used again."""
        ...


class Backbone(TextSide, ABC):
    """A frozen diffusion backbone.

    Building one reads its configuration only; `load` brings in the weights of the denoiser and
    the text encoders. The autoencoder is loaded where it is used, and freed after.

    Attributes:
        source: The name it was asked for by.
        features: The space of its conditions.
        dtype: What its frozen weights are in.
        resolution: Pixels on a side it was trained for.
        latent_shape: (C, h, w) of its latents.
        process: How it noises latents, what it predicts, and how drawings are solved.
        attention_reductions: By how much smaller than the latents, side by side, the maps of its
            cross-attention are that `predict_attending` gives; empty where it gives none.
        reads_framing: Whether the denoiser is told which part of which picture it makes; see
            `TextStates.framing`.
        patch: Places of the latents on a side of what the denoiser takes as one.
        most_patches: On a side of the largest pictures that the denoiser has places for; None where
            nothing bounds them.
        embeds_guidance: Whether guidance is an input of the denoiser, which was distilled to guide
            itself; else it is classifier-free, from two predictions.
        tuning: What was attached to it, None if nothing was.
        is_split: Whether its denoiser's frozen weights are split between processes, so that each
            call of it waits for all of them; see `splitting.split`.
    """

    source: str
    features: FeatureSpace
    dtype: torch.dtype
    resolution: int
    latent_shape: tuple[int, int, int]
    process: NoiseProcess
    attention_reductions: tuple[int, ...] = ()
    reads_framing = False
    patch: int = 1
    most_patches: int | None = None
    embeds_guidance = False
    tuning: AttachedTuning | None
    is_split = False

    def __init__(self) -> None:
        super().__init__()
        # Lists and dicts, so that nn.Module takes nothing in them for a part of the model.
        self._autoencoders: list[Autoencoder] = []
        self._is_folded = False
        self.tuning = None

    # Weights

    @property
    @abstractmethod
    def identity(self) -> str:
        """Hash of the files it is made of."""

    @property
    @abstractmethod
    def denoiser(self) -> nn.Module:
        """The U-Net or transformer; tuning is injected into it."""

    @abstractmethod
    def check(self) -> None:
        """Makes sure that the weights are on this machine; loads nothing.

        Raises:
            UserError: If some are missing.
        """

    @abstractmethod
    def load(self) -> None:
        """Loads denoiser and text encoders, frozen; a second call does nothing.

        Raises:
            UserError: If weights are missing or do not fit.
        """

    @abstractmethod
    def build(self) -> None:
        """Builds denoiser and text encoders from their configuration, on the current device."""

    def unloaded(self) -> Self:
        """The same backbone without weights or tuning, to be loaded by itself; see `skeleton`."""
        bare = copy.copy(self)
        bare._modules, bare._parameters, bare._buffers = {}, {}, {}
        bare._fixed_states, bare._autoencoders, bare.tuning = SharedByCopies(), [], None
        bare._is_untuned = bare._is_folded = False
        bare.is_split = False
        return bare

    def skeleton(self) -> Self:
        """The same backbone with networks that have shapes and no weights (the meta device).

        Tokenizers are shared with it, so that a word that is added to one is known to both.
        """
        bare = self.unloaded()
        with torch.device("meta"):
            bare.build()
        bare.requires_grad_(False)
        return bare

    def attach(self, tuning: AttachedTuning, words: SubjectWords) -> None:
        """Puts a tuning inside, whose switch `untuned` is from then on.

        Args:
            tuning: What is trained.
            words: What stands for the subject in prompts.

        Raises:
            UserError: If the backbone lacks what is to be trained.
        """
        tuning.attach(self, words)
        self.tuning = tuning

    @property
    def _trains_text(self) -> bool:
        if self.tuning is not None:
            return self.tuning.trains_text
        return bool(self.tuned_text_encoders)

    @property
    def device(self) -> torch.device:
        """Where the denoiser is."""
        return next(self.denoiser.parameters()).device

    @contextmanager
    def untuned(self) -> Iterator[None]:
        """The backbone as it was before any tuning, for prompts without the subject's token.

        Raises:
            NotImplementedError: If the tuning overwrites what it trains.
            RuntimeError: Inside of `folded`.
        """
        if self.tuning is None or self._is_untuned:
            yield
            return
        if self._is_folded:
            raise RuntimeError("untuned is not to be used inside of folded")
        with self.tuning.off(self):
            self._is_untuned = True
            try:
                yield
            finally:
                self._is_untuned = False

    @contextmanager
    def folded(self) -> Iterator[None]:
        """What the tuning adds is laid into copies of the weights: faster, for drawing alone.

        Nested contexts share it. Inside of `untuned` there is nothing to fold, and weights that are
        split between processes are not there to fold into.
        """
        if self.tuning is None or self._is_untuned or self._is_folded or self.is_split:
            yield
            return
        with self.tuning.folded(self):
            self._is_folded = True
            try:
                yield
            finally:
                self._is_folded = False

    def keeping_folds(self) -> AbstractContextManager[None]:
        """For several batches of drawings: what was folded for one serves the next ones too."""
        return nullcontext() if self.tuning is None else self.tuning.keeping_folds()

    # Latents

    @abstractmethod
    def predict(
        self, noisy: Tensor, times: Tensor, condition: TextStates, guidance: float | None = None
    ) -> Tensor:
        """The denoiser's output.

        Args:
            noisy: x_t, scaled latents, `B C h w`.
            times: t, `B`.
            condition: f_r or f_s.
            guidance: For families that take guidance as an input, its scale; None in training.

        Returns:
            `B C h w`, float32.
        """

    def predict_attending(
        self,
        noisy: Tensor,
        times: Tensor,
        condition: TextStates,
        places: Tensor,
        reductions: Collection[int],
    ) -> tuple[Tensor, dict[int, Tensor]]:
        """The denoiser's output, and how much each place of the picture looks at some tokens.

        Args:
            noisy: x_t, scaled latents, `B C h w`.
            times: t, `B`.
            condition: f_r or f_s, its states `B N D`.
            places: The tokens that are meant, `B N` bool, on the CPU.
            reductions: By how much smaller than the latents the maps are to be; some of
                `attention_reductions`.

        Returns:
            The output, `B C h w`, and by reduction r a map `B h/r w/r` in [0, 1]: the share of the
            attention that goes to those tokens, the mean over the heads and layers of that size.
            It has gradients. Where no token is meant it is 0.

        Raises:
            NotImplementedError: If the family gives none.
        """
        raise NotImplementedError(f"{type(self).__name__} gives no maps of its attention")

    def guided(
        self,
        noisy: Tensor,
        times: Tensor,
        condition: TextStates,
        negative: TextStates | None,
        scale: float,
    ) -> Tensor:
        """The prediction under a prompt whose pull is strengthened, `B C h w`.

        Classifier-free, `uncond + w (cond - uncond)` (Ho & Salimans 2022), both in one call, or by
        the denoiser itself.

        Args:
            noisy: x_t, `B C h w`.
            times: t, `B`.
            condition: Of the prompts, B of them.
            negative: Of the negative prompt, 1 or B of them; None where it takes no part.
            scale: w; 1 is no guidance.
        """
        if self.embeds_guidance:
            return self.predict(noisy, times, condition, scale)
        if negative is None:
            return self.predict(noisy, times, condition)
        if negative.states.shape[1:] != condition.states.shape[1:]:
            # Conditions of other lengths, such as with a photo's token, need calls of their own.
            without = self.predict(noisy, times, negative.rows([0] * len(noisy)))
            return without + scale * (self.predict(noisy, times, condition) - without)
        twice = torch.cat([noisy, noisy]), torch.cat([times, times])
        without, with_prompt = self.predict(*twice, negative.then(condition)).chunk(2)
        return without + scale * (with_prompt - without)

    @property
    def unit(self) -> int:
        """Pixels on a side of one patch: sides of pictures are multiples of it."""
        return self.resolution // self.latent_shape[1] * self.patch

    @property
    def longest_side(self) -> int | None:
        """Pixels on a side of its largest pictures; None where nothing bounds them."""
        return None if self.most_patches is None else self.most_patches * self.unit

    def latent_shape_of(
        self, width: int, height: int, parameter: str = "Sampler.size"
    ) -> tuple[int, int, int]:
        """(C, h, w) of the latents of a picture of another size than the backbone's own.

        Args:
            width: In pixels.
            height: In pixels.
            parameter: What set the size, for the error.

        Raises:
            UserError: If it takes no pictures of that size.
        """
        pixels, longest = self.unit, self.longest_side
        what = "latents" if self.patch == 1 else "patches"
        if min(width, height) < pixels or width % pixels or height % pixels:
            raise UserError(
                f"{parameter}: {width} x {height} is not in whole {what} of {self.source!r}, "
                f"each {pixels} pixels wide; give multiples of {pixels}, such as "
                f"{_nearest(width, pixels)} x {_nearest(height, pixels)}"
            )
        if longest is not None and max(width, height) > longest:
            raise UserError(
                f"{parameter}: {width} x {height} is larger than what {self.source!r} has places "
                f"for; give at most {longest} x {longest}"
            )
        places = pixels // self.patch
        return self.latent_shape[0], height // places, width // places

    def process_of(self, shape: tuple[int, int, int]) -> NoiseProcess:
        """How latents of a shape, (C, h, w), are noised and drawings of it are solved."""
        return self.process

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


def _nearest(length: int, unit: int) -> int:
    return max(unit, round(length / unit) * unit)
