"""A picture drawn again, from what it says of itself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from idgen.devices import best_device
from idgen.errors import UserError
from idgen.files import check_output
from idgen.loaded.drawing import Order, Picture, draw_batch
from idgen.loaded.gallery import write_gallery
from idgen.loaded.model import LoadedModel, Reference
from idgen.loaded.record import PictureRecord, Surroundings
from idgen.loaded.sampling_job import SamplingJob, check_model
from idgen.sampling import DrawingRequest, Sampler


def draw_again(path: Path, job: SamplingJob) -> int:
    """Draws a picture of `idgen sample` once more, in another folder.

    The pictures that it was drawn together with are drawn too, as their number decides the last
    digit; they are not kept.

    Args:
        path: The picture.
        job: What was typed beside it: where its model is now, or what is to be otherwise.

    Returns:
        0; 1 if nothing was to be otherwise and a pixel is.

    Raises:
        UserError: If the picture says nothing, or its model is not there or another one.
    """
    check_output(job.output)
    record = PictureRecord.of_file(path)
    job = _completed(job, record)
    model = _model(job, record, path)
    order = Order(
        [prompt for prompt, _ in record.batch],
        1,
        record.seed if job.seed is None else job.seed,
        _sampler(job, record),
        job.reference,
    )
    check_model(model, order)
    device = best_device()
    model.load(device)
    batch = _requests(model, order, record)
    picture = draw_batch(model, order, batch, device)[record.place]
    first = replace(picture, request=picture.request._replace(prompt_index=0))
    write_gallery(job.output, {model.name: [first]}, model.photos, job.recorded)
    print(f"the drawing is in {job.output}")
    changed = bool(job.changes) or order.seed != record.seed or job.reference != _kept(record)
    return 0 if changed else _compare(path, picture, record, device, model)


def _completed(job: SamplingJob, record: PictureRecord) -> SamplingJob:
    """The job with the model, the backbone and the photo of the picture where none was named."""
    told = record.model
    backbone = job.backbone
    if backbone is None and told.kind != "backbone":
        backbone = told.backbone
    token = told.token if job.token is None else job.token
    made = replace(job, models=job.models or [told.path], backbone=backbone, token=token)
    if job.photo is None and record.reference is not None:
        made = replace(made, photo=record.reference, photo_weight=record.reference_weight)
    return made


def _model(job: SamplingJob, record: PictureRecord, path: Path) -> LoadedModel:
    """The model that drew the picture.

    Raises:
        UserError: If it is not there, or has other weights.
    """
    told = record.model
    named = Path(job.models[0]).expanduser()
    if told.kind != "backbone" and not named.exists():
        raise UserError(
            f"--like: the model of {path}, {named}, is not there any more; name where it is now: "
            f"idgen sample --like {path} MODEL"
        )
    [model] = job.open()
    if model.record.digest != told.digest or model.record.kind != told.kind:
        raise UserError(
            f"--like: {job.models[0]} is not the model that drew {path}: its weights are others; "
            "name that one, or draw the prompt with this one"
        )
    return model


def _sampler(job: SamplingJob, record: PictureRecord) -> Sampler:
    try:
        return Sampler.of_settings(record.sampler).changed(**job.changes)
    except ValueError as error:
        raise UserError(str(error)) from error


def _requests(model: LoadedModel, order: Order, record: PictureRecord) -> list[DrawingRequest]:
    """The batch as it was: the same prompts, numbers and places."""
    found = order.requests(model)
    return [
        request._replace(number=number)
        for request, (_, number) in zip(found, record.batch, strict=True)
    ]


def _kept(record: PictureRecord) -> Reference | None:
    if record.reference is None:
        return None
    return Reference(record.reference, record.reference_weight)


def _compare(
    path: Path, picture: Picture, record: PictureRecord, device: torch.device, model: LoadedModel
) -> int:
    with Image.open(path) as opened:
        before = np.asarray(opened.convert("RGB")).astype(int)
    now = picture.image.permute(1, 2, 0).numpy().astype(int)
    if before.shape == now.shape and (before == now).all():
        print(f"it is {path} to the pixel")
        return 0
    others = Surroundings.here(device, model.precision).differences(record.surroundings)
    why = f"; it was drawn with {', '.join(others)}" if others else ""
    if before.shape != now.shape:
        print(f"it is of another size than {path}, which was changed since{why}")
        return 1
    far = int(np.abs(before - now).max())
    print(f"it differs from {path} by up to {far} of 255 levels{why}")
    return 1
