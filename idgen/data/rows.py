"""Which view each row of a batch shows, and whose background it is told."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from idgen.seeds import seed_of


@dataclass(frozen=True)
class Rows:
    """A function of the seed and of a row's place in the endless stream, whatever else happens.

    Views of the photos are numbered first, then the composites.

    Attributes:
        digests: The digest of each view's photo.
        composites: How many composites there are.
        share: Which share of the rows are composites, in the mean.
        other_background: With which probability a row of a photo is told the features of a view of
            another photo.
        seed: Decides.
    """

    digests: Sequence[str]
    composites: int = 0
    share: float = 0.0
    other_background: float = 0.0
    seed: int = 0

    def shown(self, view: int, place: int) -> int:
        """What a row shows: the view whose turn it is, or a composite in its stead.

        Args:
            view: Whose turn it is.
            place: The row's.
        """
        rng = random.Random(seed_of("composite row", self.seed, place))
        if not self.composites or rng.random() >= self.share:
            return view
        return len(self.digests) + rng.randrange(self.composites)

    def told(self, shown: int, place: int) -> int:
        """Whose features a row is told: those of what it shows, or of another photo's view.

        Args:
            shown: What the row shows; a composite's background is not its own in any case.
            place: The row's.
        """
        rng = random.Random(seed_of("other background", self.seed, place))
        if shown >= len(self.digests) or rng.random() >= self.other_background:
            return shown
        own = self.digests[shown]
        return rng.choice([v for v, digest in enumerate(self.digests) if digest != own])
