"""CLIP quality: a score of how drawings look that needs neither photos nor prompts."""

from typing import Any, Self

import torch

from idgen.evaluation.observed import Found, Observed
from idgen.evaluation.score import MetricScore
from idgen.fingerprint import fingerprint_fields
from idgen.metrics.antonyms import AntonymPreference


class ClipQuality(MetricScore):
    """`AntonymPreference` by the scoring CLIP; add it to `test` under `fidelity.scores`.

    It means something with a CLIP of real photos. That of the mini world knows no such texts.
    """

    def __init__(
        self, good: str = "a good photo", bad: str = "a bad photo", scale: float = 100.0
    ) -> None:
        """Sets the texts between which drawings lie.

        Args:
            good: The text that praises.
            bad: Its opposite, in the same words.
            scale: How sharply cosines decide; 100 is CLIP's own temperature.
        """
        super().__init__("clip_quality", AntonymPreference(), self._texts)
        self.good = good
        self.bad = bad
        self.scale = scale

    @property
    def identity(self) -> str:
        """Hash of the texts and the scale."""
        return fingerprint_fields(
            score=super().identity, good=self.good, bad=self.bad, scale=self.scale
        )

    def start(self, photos: Observed, prompts: int, device: torch.device) -> Self:
        """Embeds the texts, and starts at no drawing."""
        texts = photos.observer.clip.embed_texts([self.good, self.bad])
        self._good, self._bad = texts[:1], texts[1:]
        return super().start(photos, prompts, device)

    def _texts(self, drawings: Observed, photos: Observed) -> tuple[Any, ...]:
        return Found.all(drawings.clip), self._good, self._bad, self.scale
