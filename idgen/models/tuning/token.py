"""One token of the text encoder's vocabulary, trained."""

from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from idgen.backbones.backbone import Backbone
from idgen.backbones.text import SubjectWords
from idgen.errors import UserError
from idgen.models.tuning.tuning import Tuning


class TokenTuning(Tuning):
    """Trains the embedding of the subject's token: v* = argmin_v L1 (Gal et al. 2023, eq. 2).

    A token that the vocabulary lacks is added to it. Of one that it has, a copy is trained, so
    that checkpoints hold one embedding in either case.
    """

    def __init__(self, initializer: str | None = None) -> None:
        """Says where the embedding starts.

        Args:
            initializer: The words whose mean embedding it starts as; None for the class noun, as
                in Textual Inversion. Custom Diffusion starts at a rare word.
        """
        self.initializer = initializer

    @property
    def trains_text(self) -> bool:
        """Yes: f_s depends on the embedding."""
        return True

    @property
    def can_be_off(self) -> bool:
        """Yes: prompts without the token do not know of it."""
        return True

    def off(self, backbone: Backbone) -> AbstractContextManager[None]:
        """Changes nothing."""
        return nullcontext()

    def words(self, subject: SubjectWords) -> tuple[str, ...]:
        """The subject's token."""
        return (subject.token,)

    def attach(self, backbone: Backbone, words: SubjectWords) -> None:
        """Puts the trained embedding into every text encoder, in float32."""
        start = words.class_noun if self.initializer is None else self.initializer
        start_ids = backbone.word_ids(start)
        if not start_ids or backbone.unknown_id in start_ids:
            raise UserError(
                f"TokenTuning.initializer: the tokenizer of {backbone.source!r} does "
                f"not know {start!r}; name a word that it knows, such as the subject's class"
            )
        token_ids = backbone.add_word(words.token)
        for token_id, encoder in zip(token_ids, backbone.text_encoders, strict=True):
            embeddings: Any = encoder
            base = embeddings.get_input_embeddings()
            if isinstance(base, TokenEmbedding):
                raise UserError(
                    "CombinedTuning.parts: the token is meant by two TokenTunings; "
                    "leave one of them out"
                )
            embeddings.set_input_embeddings(TokenEmbedding(base, token_id, start_ids))


class TokenEmbedding(nn.Module):
    """A frozen table of embeddings, but for one token, whose vector is trained."""

    def __init__(self, base: nn.Embedding, token_id: int, start_ids: Sequence[int]) -> None:
        """Starts as the mean of other tokens.

        Args:
            base: The table, `T D`; it need not have the token.
            token_id: The token's id.
            start_ids: Rows of the table.
        """
        super().__init__()
        self.base = base
        self.token_id = token_id
        rows = base.weight.detach()[list(start_ids)]
        self.vector = nn.Parameter(rows.float().mean(dim=0))

    def forward(self, ids: Tensor) -> Tensor:
        """Token ids `B N` to embeddings `B N D`."""
        here = ids == self.token_id
        others: Tensor = self.base(ids.masked_fill(here, 0))
        return torch.where(here.unsqueeze(-1), self.vector.to(others.dtype), others)
