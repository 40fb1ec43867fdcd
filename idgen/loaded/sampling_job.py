"""`idgen sample` from what was asked for to files."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

from idgen.devices import best_device
from idgen.errors import UserError
from idgen.files import check_output
from idgen.importing import uncollected
from idgen.loaded.drawing import Order, Picture, draw_order, let_go
from idgen.loaded.gallery import write_gallery
from idgen.loaded.model import LoadedModel, Reference
from idgen.loaded.opening import Opening
from idgen.placeholders import CLASS_NOUN
from idgen.sampling import DrawingRequest, Sampler

_IMAGES = 4


@dataclass(frozen=True)
class SamplingJob:
    """What is to be drawn, as it was typed.

    Attributes:
        models: Names; the first one's sampler draws all.
        prompts: With [V] in them.
        number: Pictures of each; None for 4.
        seed: Of their noise; None for 0.
        changes: Of the sampler's settings.
        output: A new or empty folder.
        configs: Over the checkpoints' own.
        backbone: Where the backbone of checkpoints and exports is; None for where they say.
        token: What [V] becomes for exports; None for what they say.
        photo: A photo whose scene is kept; None for none.
        photo_weight: How much of it.
        recorded: Whether the files say how they were drawn.
    """

    models: Sequence[str]
    prompts: Sequence[str]
    output: Path
    number: int | None = None
    seed: int | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    configs: Sequence[str] = ()
    backbone: str | None = None
    token: str | None = None
    photo: str | None = None
    photo_weight: float = 1.0
    recorded: bool = True

    @property
    def reference(self) -> Reference | None:
        """The photo that is kept."""
        if self.photo is None:
            return None
        return Reference(str(Path(self.photo).expanduser().absolute()), self.photo_weight)

    def open(self) -> list[LoadedModel]:
        """The models without weights, each of another name.

        Raises:
            UserError: If one cannot be used.
        """
        opening = Opening(self.configs, self.backbone, self.token, self.reference)
        found: list[LoadedModel] = []
        for name in self.models:
            # An export does not always say what it was trained on: then as the first model.
            base = opening.backbone or (found[0].record.backbone if found else None)
            model = replace(opening, fallback=base).model(name)
            taken = {other.name for other in found}
            number, plain = 2, model.name
            while model.name in taken:
                model.name, number = f"{plain} ({number})", number + 1
            found.append(model)
        return found

    def sampler_of(self, model: LoadedModel) -> Sampler:
        """A model's sampler with what was asked for.

        Raises:
            UserError: If a value is out of range.
        """
        try:
            return model.sampler.changed(**self.changes)
        except ValueError as error:
            raise UserError(str(error)) from error

    def order(self, models: Sequence[LoadedModel]) -> Order:
        """What every model is to draw.

        Raises:
            UserError: If a value is out of range, or no model knows what the subject is.
        """
        knows = next((model for model in models if model.class_noun), models[0])
        lost = [prompt for prompt in self.prompts if CLASS_NOUN in prompt]
        if lost and not knows.class_noun:
            raise UserError(
                f"prompt {lost[0]!r}: no model knows what {CLASS_NOUN} is; write the word itself"
            )
        return Order(
            [knows.filled(prompt) for prompt in self.prompts],
            self.number or _IMAGES,
            self.seed or 0,
            self.sampler_of(models[0]),
            self.reference,
        )

    def run(self) -> int:
        """Checks all models, draws with one after the other, writes; returns the exit code.

        Raises:
            UserError: If something cannot be used; nothing is written then.
        """
        check_output(self.output)
        with uncollected():
            models = self.open()
            order, device = self.order(models), best_device()
            for model in models:
                check_model(model, order)
        drawn: dict[str, list[Picture]] = {}
        try:
            for model in models:
                with uncollected():
                    model.load(device)
                drawn[model.name] = []
                shown = partial(_shown, model.name)
                drawn[model.name].extend(draw_order(model, order, device, shown))
                let_go(model, device)
        except (KeyboardInterrupt, SystemExit):
            drawn = {name: pictures for name, pictures in drawn.items() if pictures}
            self._write(models, drawn)
            raise
        self._write(models, drawn)
        return 0

    def _write(self, models: Sequence[LoadedModel], drawn: Mapping[str, list[Picture]]) -> None:
        if not drawn:
            return
        photos = next((model.photos for model in models if len(model.photos)), ())
        write_gallery(self.output, drawn, photos, self.recorded)
        count = sum(len(pictures) for pictures in drawn.values())
        print(f"{count} drawings are in {self.output}")


def check_model(model: LoadedModel, order: Order) -> None:
    """Refuses a model that cannot draw an order; loads nothing.

    Raises:
        UserError: If it cannot.
    """
    assert order.sampler is not None
    order.sampler.check(model.backbone)
    order.requests(model)
    model.check()


def _shown(name: str, batches: Sequence[list[DrawingRequest]]) -> Iterable[list[DrawingRequest]]:
    console = Console(stderr=True)
    return track(batches, f"drawing with {name}", console=console, disable=not console.is_terminal)
