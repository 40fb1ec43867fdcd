"""Masks of a regime in a cell's config, and what methods need that a regime has not."""

from collections.abc import Mapping
from typing import Any

from idgen.benchmark.subjects import BenchmarkSubject
from idgen.data.captions import CaptionUse
from idgen.data.datamodule import SubjectDataModule
from idgen.errors import UserError
from idgen.module import PersonalizationModule
from idgen.prepare import MaskFiles
from idgen.prepare.segmenters.segmenter import Segmenter


def place_masks(
    config: dict[str, Any], subject: BenchmarkSubject, drawing_segmenter: dict[str, Any]
) -> None:
    """Lets a cell train with the masks of its subject's regime; drawings are segmented as before.

    Args:
        config: The cell's, plain values; changed in place.
        subject: The subject.
        drawing_segmenter: What finds subjects in drawings, as a config says it.
    """
    if subject.segmenter is not None:
        place_training_masks(config["data"], subject)
        config["fidelity"]["segmenter"] = drawing_segmenter


def place_training_masks(data: dict[str, Any], subject: BenchmarkSubject) -> None:
    """Lets a preparation, of a config's `data`, take the masks of its subject's regime."""
    if subject.segmenter is not None:
        part = data["preparation"] or {"class_path": "idgen.prepare.Preparation", "init_args": {}}
        own = {**part["init_args"], "segmenter": subject.segmenter}
        data["preparation"] = {**part, "init_args": own}


def drawing_segmenter(config: Mapping[str, Any], of_photos: Segmenter) -> dict[str, Any]:
    """What finds subjects in a method's drawings, as its config says it.

    Args:
        config: The method's whole config, plain values.
        of_photos: What the config comes to for photos.

    Raises:
        UserError: If that takes mask files, which drawings have not.
    """
    preparation = config["data"]["preparation"] or {"init_args": {}}
    given = config["fidelity"]["segmenter"] or preparation["init_args"].get("segmenter")
    if config["fidelity"]["segmenter"] is None and isinstance(of_photos, MaskFiles):
        raise UserError(
            "fidelity.segmenter: drawings have no mask files; give another than MaskFiles, such as "
            "idgen.prepare.SamSegmenter, for subjects with a regime"
        )
    kind = type(of_photos)
    return given or {"class_path": f"{kind.__module__}.{kind.__qualname__}"}


def check_regime(
    module: PersonalizationModule, data: SubjectDataModule, subject: BenchmarkSubject
) -> None:
    """Refuses a method that needs what a subject's regime has not.

    Args:
        module: The method's.
        data: The method's, of any subject.
        subject: The subject.

    Raises:
        UserError: If it needs masks or captions that are not there; what needs them is named.
    """
    regime, captions = subject.regime, data.captions
    captioner = data.preparation.captioner
    if regime.masks == "none" and (needs := [*module.mask_readers(), *_mask_readers(data)]):
        *first, last = needs
        needing = f"{', '.join(first)} and {last} need" if first else f"{last} needs"
        raise UserError(
            f"{subject.name!r} has no masks, as masks=none says, and {needing} them: leave out the "
            "method or the regime"
        )
    if captions is None or captions.use is CaptionUse.never or captioner is not None:
        return
    if subject.number is None:
        return
    if regime.captions == "none":
        raise UserError(
            f"data.captions: {subject.name!r} has no captions, as captions=none says: set "
            "data.preparation.captioner, or leave out the method or the regime"
        )
    if not captions.files:
        raise UserError(
            f"data.captions.files: {subject.name!r} has its captions in files, which are not read: "
            "set it to true, or set data.preparation.captioner"
        )


def _mask_readers(data: SubjectDataModule) -> list[str]:
    """What of the data needs the subject's masks."""
    captions = data.captions
    used = captions is not None and captions.use is not CaptionUse.never
    captioned = used and data.preparation.captioner is not None
    found = {"data.composites": data.composites is not None, "the captioner": captioned}
    return [name for name, needs in found.items() if needs]
