"""The training prompts of two subjects that are learnt together."""

from collections.abc import Mapping
from typing import NamedTuple

from idgen.data.captions import TrainingPrompts
from idgen.data.cast import Prompt
from idgen.data.pairs import PairPrompt


class JointPrompts(NamedTuple):
    """Each photo has its own subject's prompt, each pair one that names both.

    Attributes:
        first: Of the first subject's photos.
        second: Of the second's.
        of_second: The digests of the second's photos.
        pairs: Of the pairs, by `composite_name`.
    """

    first: TrainingPrompts
    second: TrainingPrompts
    of_second: frozenset[str]
    pairs: Mapping[str, PairPrompt]

    def of(self, source: str, place: int) -> Prompt:
        """The prompt of a row.

        Args:
            source: The digest of its photo, or `composite_name` of its pair.
            place: The row's place among all rows of the endless stream, of all processes.
        """
        pair = self.pairs.get(source)
        if pair is not None:
            return pair.usual if self.first.dropped(place) else pair.captioned
        return (self.second if source in self.of_second else self.first).of(source, place)

    def every(self) -> list[Prompt]:
        """All of them."""
        of_pairs = [prompt for pair in self.pairs.values() for prompt in pair]
        return [*self.first.every(), *self.second.every(), *of_pairs]
