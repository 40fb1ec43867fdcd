"""The text side of a backbone: prompts to tokens, and tokens to what the denoiser takes."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from idgen.backbones.text import SharedByCopies, TextStates, TextTokens


class TextSide(nn.Module, ABC):
    """What backbones have in common for text; it knows nothing of pictures.

    Attributes:
        words_are_tokens: Whether the word that stands for a subject has to be one token; False
            where the tokenizer spells rare words by several, spaces being part of words.
    """

    words_are_tokens = True

    def __init__(self) -> None:
        super().__init__()
        self._fixed_states: dict[str, TextStates] = SharedByCopies()
        self._is_untuned = False

    @property
    @abstractmethod
    def text_encoders(self) -> Sequence[nn.Module]:
        """The text encoders; tuning is injected into them."""

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the denoiser is, and what it takes has to be."""

    @abstractmethod
    def tokenize(self, prompts: Sequence[str]) -> TextTokens:
        """Prompts to token ids.

        Raises:
            UserError: If a prompt is longer than a text encoder takes.
        """

    @abstractmethod
    def word_ids(self, word: str, encoder: int = 0) -> list[int]:
        """The ids of one word, without begin and end, by the tokenizer of a text encoder."""

    @abstractmethod
    def add_word(self, word: str) -> Sequence[int]:
        """Makes sure that a word is one token of every tokenizer, and returns its ids.

        A word that a vocabulary lacks is added to the tokenizer. The text encoder has no
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
        """f_s: what the denoiser takes of prompts, `B N D`."""

    def says(self, text: str, word: str) -> bool:
        """Whether a text has a word, as the first tokenizer reads both.

        Args:
            text: Such as a prompt.
            word: One token of it, or several where `words_are_tokens` is False.
        """
        return self.word_ids(word)[0] in self.word_ids(text)

    def word_places(self, prompts: Sequence[str], word: str) -> Tensor:
        """Which of the prompts' states stand for a word, `B N` bool, on the CPU.

        Args:
            prompts: B of them.
            word: One token of the tokenizer.
        """
        return self.tokenize(prompts).ids[0] == self.word_ids(word)[0]

    def encode(self, prompts: Sequence[str]) -> TextStates:
        """f_s of prompts, each different one encoded once.

        States that no training changes, of a frozen text side or in `untuned`, are kept and never
        encoded again.

        Args:
            prompts: B of them.
        """
        each = list(dict.fromkeys(prompts))
        if self._is_untuned or not self._trains_text:
            first, *others = (self._fixed(prompt, self.device) for prompt in each)
            states = first.then(*others)
        else:
            states = self._encode(each, self.device)
        return states.rows([each.index(prompt) for prompt in prompts])

    def encode_negative(self, prompt: str) -> TextStates:
        """The condition that guidance leads away from, `1 N D`.

        Args:
            prompt: The negative prompt; empty if there is none.
        """
        return self.encode([prompt])

    @property
    @abstractmethod
    def _trains_text(self) -> bool:
        """Whether training changes f_s."""

    def _fixed(self, prompt: str, device: torch.device) -> TextStates:
        """By itself, so that it does not matter with which others a prompt was asked for first."""
        found = self._fixed_states.get(prompt)
        if found is None or found.states.device != device:
            with self._exactly(device):
                found = self._encode([prompt], device)
            self._fixed_states[prompt] = found
        return found

    def _encode(self, prompts: Sequence[str], device: torch.device) -> TextStates:
        return self.encode_text(self.tokenize(prompts).to(device))

    @contextmanager
    def _exactly(self, device: torch.device) -> Iterator[None]:
        """What is made in inference mode could take no part in training later.

        And whoever asks first, in whatever precision, must not decide what the others get.
        """
        exact = torch.autocast(device.type, enabled=False)
        with torch.inference_mode(False), torch.no_grad(), exact:
            yield

    def keep_texts(self, prompts: Iterable[str], device: torch.device) -> None:
        """Encodes prompts, and lets go of the text encoders in which nothing is trained.

        Here they stay, and each prompt is encoded when it is first asked for.

        Args:
            prompts: All that training will read; others cost a loading of the encoders.
            device: Where training will be; the rest of the backbone need not be there yet.
        """

    @contextmanager
    def text_side(self) -> Iterator[None]:
        """Text encoders that were let go of, and are needed inside, are loaded but once.

        Nested contexts share them.
        """
        yield

    @property
    def tuned_text_encoders(self) -> Mapping[int, nn.Module]:
        """The text encoders in which something is trained, by their numbers."""
        return {
            number: encoder
            for number, encoder in enumerate(self.text_encoders)
            if any(weight.requires_grad for weight in encoder.parameters())
        }
