"""Prompts drawn by models, each picture with what it takes to draw it again."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from idgen.devices import free
from idgen.loaded.model import LoadedModel, Reference
from idgen.loaded.record import PictureRecord, Surroundings
from idgen.sampling import DrawingRequest, Sampler

Shown = Callable[[Sequence[list[DrawingRequest]]], Iterable[list[DrawingRequest]]]
"""Shows how far the batches of a model are."""


@dataclass(frozen=True)
class Picture:
    """One drawing.

    Attributes:
        request: What was asked for.
        image: `3 H W` uint8.
        record: How it was drawn.
    """

    request: DrawingRequest
    image: Tensor
    record: PictureRecord


@dataclass(frozen=True)
class Order:
    """What is to be drawn, by every model alike.

    Attributes:
        prompts: With [V] in them.
        number: Pictures of each.
        seed: Of their noise.
        sampler: How; None for each model's own way.
        reference: A photo that is kept.
    """

    prompts: Sequence[str]
    number: int = 1
    seed: int = 0
    sampler: Sampler | None = None
    reference: Reference | None = None

    def requests(self, model: LoadedModel) -> list[DrawingRequest]:
        """The pictures that a model is to draw; a UserError if a prompt cannot be used."""
        return model.requests(self.prompts, self.number, self.seed)


def draw_order(
    model: LoadedModel, order: Order, device: torch.device, shown: Shown = iter
) -> Iterator[Picture]:
    """Draws all pictures of an order, batch by batch.

    Args:
        model: Loaded, on the device.
        order: What is to be drawn.
        device: Where.
        shown: Shows how far it is.

    Raises:
        UserError: If a prompt cannot be used, or what comes out is no picture.
    """
    requests, size = order.requests(model), model.batch_size
    batches = [requests[at : at + size] for at in range(0, len(requests), size)]
    with model.backbone.keeping_folds():
        for batch in shown(batches):
            yield from draw_batch(model, order, batch, device)


def draw_batch(
    model: LoadedModel, order: Order, batch: Sequence[DrawingRequest], device: torch.device
) -> list[Picture]:
    """Draws the pictures of one batch together; see `draw_order`."""
    sampler = order.sampler or model.sampler
    images = model.draw(batch, sampler, device)
    surroundings = Surroundings.here(device, model.precision)
    together = [(order.prompts[request.prompt_index], request.number) for request in batch]
    reference = order.reference
    return [
        Picture(
            request,
            image,
            PictureRecord(
                prompt=order.prompts[request.prompt_index],
                spoken=request.prompt,
                number=request.number,
                seed=request.seed,
                sampler=sampler.settings,
                model=model.record,
                reference=None if reference is None else reference.photo,
                reference_weight=0.0 if reference is None else reference.weight,
                batch=together,
                place=place,
                surroundings=surroundings,
            ),
        )
        for place, (request, image) in enumerate(zip(batch, images, strict=True))
    ]


def let_go(model: LoadedModel, device: torch.device) -> None:
    """Frees the memory of a model that is not drawn with any more."""
    for layer in (*model.backbone.modules(), *model.conditioning.modules()):
        # Weights in few bits cannot be moved to meta.
        for name, weight in list(layer.named_parameters(recurse=False)):
            nothing = torch.empty(weight.shape, dtype=weight.dtype, device="meta")
            layer.register_parameter(name, nn.Parameter(nothing, requires_grad=False))
        layer._buffers.update(
            {name: buffer.to("meta") for name, buffer in layer.named_buffers(recurse=False)}
        )
    free(device)
