"""What a LightningModule draws in validation, test and prediction."""

from collections.abc import Sequence
from contextlib import ExitStack

from idgen.data.batch import DrawingBatch
from idgen.sampling import Drawings, Sampler
from idgen.trained_module import TrainedModule


class DrawingModule(TrainedModule):
    """Draws the prompts of each batch; callbacks score and keep the images.

    Attributes:
        sampler: How drawings are made.
        drawn: The batches that a validation would draw, where they are known already; what is here
            as it starts is taken in place of drawing, that once.
    """

    sampler: Sampler

    def __init__(self) -> None:
        """Nothing is open yet."""
        super().__init__()
        self._drawing = ExitStack()
        self.drawn: Sequence[Drawings] = ()

    def _draw(self, batch: DrawingBatch) -> Drawings:
        try:
            return self.sampler.draw(
                self.backbone,
                self.conditioning,
                batch.requests,
                self.device,
                batch.reference,
                batch.reference_weight,
            )
        except BaseException:
            # Lightning tells no module of it, and a notebook goes on: with fewer at a time, say.
            self.stop_drawing()
            raise

    def validation_step(self, batch: DrawingBatch, batch_idx: int) -> Drawings:  # type: ignore[override]
        """Draws the batch's prompts; callbacks score and keep the images."""
        return self.drawn[batch_idx] if self.drawn else self._draw(batch)

    def test_step(self, batch: DrawingBatch, batch_idx: int) -> Drawings:  # type: ignore[override]
        """Draws the batch's prompts; callbacks score and keep the images."""
        return self._draw(batch)

    def predict_step(self, batch: DrawingBatch, batch_idx: int) -> Drawings:
        """Draws the batch's prompts; callbacks keep the images."""
        return self._draw(batch)

    def on_validation_start(self) -> None:
        """Loads the autoencoder for all batches, where any is to be drawn."""
        if not self.drawn:
            self._open_autoencoder()

    def on_validation_end(self) -> None:
        """Frees the autoencoder."""
        self.stop_drawing()

    def stop_drawing(self) -> None:
        """Frees what was loaded to draw with; there may be nothing."""
        self._drawing.close()
        self.drawn = ()

    def _open_autoencoder(self) -> None:
        self._drawing.enter_context(self.backbone.autoencoder(self.device))
        self._drawing.enter_context(self.backbone.text_side())
        self._drawing.enter_context(self.backbone.keeping_folds())

    on_test_start = on_predict_start = _open_autoencoder
    on_test_end = on_predict_end = on_validation_end
