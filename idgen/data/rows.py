"""Which view each row of a batch shows, and whose background it is told."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from idgen.data.captions import composite_name
from idgen.prepare import SubjectViews
from idgen.seeds import seed_of


@dataclass(frozen=True)
class Rows:
    """A function of the seed and of a row's place in the endless stream, whatever else happens.

    Attributes:
        views: The features of all views of the photos, and after them of the composites.
        composites: How many of them are composites.
        share: Which share of the rows are composites, in the mean.
        other_background: With which probability a row of a photo is told the features of a view of
            another photo.
        seed: Decides.
    """

    views: SubjectViews
    composites: int = 0
    share: float = 0.0
    other_background: float = 0.0
    seed: int = 0

    @property
    def of_photos(self) -> int:
        """How many of the views are of photos."""
        return len(self.views.photo_digests) - self.composites

    def source(self, row: int) -> str:
        """What a row is of: a photo, by its digest, or a composite, by its name."""
        if row < self.of_photos:
            return self.views.photo_digests[row]
        return composite_name(row - self.of_photos)

    def shown(self, view: int, place: int) -> int:
        """What a row shows: the view whose turn it is, or a composite in its stead.

        Args:
            view: Whose turn it is.
            place: The row's.
        """
        rng = random.Random(seed_of("composite row", self.seed, place))
        if not self.composites or rng.random() >= self.share:
            return view
        return self.of_photos + rng.randrange(self.composites)

    def told(self, shown: int, place: int) -> int:
        """Whose features a row is told: those of what it shows, or of another photo's view.

        Args:
            shown: What the row shows; a composite's background is not its own in any case.
            place: The row's.
        """
        rng = random.Random(seed_of("other background", self.seed, place))
        if shown >= self.of_photos or rng.random() >= self.other_background:
            return shown
        digests = self.views.photo_digests
        return rng.choice([v for v in range(self.of_photos) if digests[v] != digests[shown]])

    def at(self, views: Sequence[int], places: Sequence[int]) -> tuple[list[int], list[int]]:
        """What some rows show, and whose features they are told.

        Args:
            views: Whose turn it is, a row each.
            places: The rows'.
        """
        pairs = zip(views, places, strict=True)
        shown = [self.shown(view, place) for view, place in pairs]
        return shown, [self.told(v, place) for v, place in zip(shown, places, strict=True)]
