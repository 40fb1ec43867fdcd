"""Parts as a user writes them in a package of their own, named in configs by their class path."""

from idgen.evaluation.observed import Observed
from idgen.evaluation.score import DrawingScore, Values


class Brightness(DrawingScore):
    """How bright drawings are, from 0 to 1; black ones do not count."""

    name = "brightness"

    def __init__(self, darkest: float = 0.0) -> None:
        self.darkest = darkest

    @property
    def identity(self) -> str:
        return f"brightness above {self.darkest}"

    def each(self, drawings: Observed) -> Values:
        values = [float(image.double().mean() / 255) for image in drawings.images]
        return [value if value > self.darkest else None for value in values]
