"""What scores are called, and which way is better."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

FACTS = frozenset(
    [
        *("photos", "images", "prompts", "subject", "class_noun", "checkpoint", "step", "method"),
        *("backbone", "backbone_identity", "sampler", "drawing_seed", "protocol"),
        "idgen_version",
    ]
)
"""What metrics.json holds beside scores, so that no score can be called so."""


@dataclass(frozen=True)
class ScoreName:
    """How a score is shown.

    Attributes:
        key: Its key in metrics.json.
        label: Its name in tables.
        better: 1 if more is better, -1 if less is, 0 if that is not known.
        meaning: One line on what it measures.
    """

    key: str
    label: str
    better: int
    meaning: str

    @property
    def arrow(self) -> str:
        """Which way is better, as a sign."""
        return {1: "↑", -1: "↓"}.get(self.better, "")


_KNOWN = {
    row[0]: ScoreName(*row)
    for row in (
        ("dino", "DINO", 1, "likeness to the photos, DINO cosine"),
        ("clip_i", "CLIP-I", 1, "likeness to the photos, CLIP cosine"),
        ("clip_t", "CLIP-T", 1, "agreement with the prompt, CLIP cosine"),
        ("balance", "balance", 1, "geometric mean of DINO and CLIP-T"),
        ("masked_dino", "masked DINO", 1, "likeness of the subjects alone, DINO cosine"),
        ("masked_clip_i", "masked CLIP-I", 1, "likeness of the subjects alone, CLIP cosine"),
        ("identity_accuracy", "identity", 1, "share of drawings that show this very identity"),
        ("background_accuracy", "background", 1, "share of drawings that show the scene asked for"),
        ("all_right", "all right", 1, "share of drawings with all that was asked for"),
        ("colour_accuracy", "colours", 1, "share of drawings in the colours asked for"),
        ("accessory_accuracy", "worn", 1, "share of drawings that wear what was asked for"),
        ("altered_identity", "altered identity", 1, "identity where the prompt changes the looks"),
        ("kid_dino", "KID (DINO)", -1, "distance from the world's own pictures, DINO kernel"),
        ("kid_clip", "KID (CLIP)", -1, "distance from the world's own pictures, CLIP kernel"),
        ("kid_background", "KID (background)", -1, "the same of backgrounds alone, CLIP kernel"),
        ("clip_quality", "CLIP quality", 1, "nearer to a good photo than to a bad one"),
        ("concept_preservation", "concept", 1, "likeness to the photo's subject, as judged"),
        ("prompt_following", "prompt following", 1, "agreement with the prompt, as judged"),
        ("leakage", "leakage", -1, "likeness to the photos' backgrounds"),
        ("copying", "copying", -1, "largest likeness to any one photo"),
        ("background_identity", "photo backgrounds", -1, "share that shows a photo's background"),
        ("pose_copying", "photo poses", -1, "share of drawings in a photo's pose"),
        ("diversity", "diversity", 1, "distance among drawings of one prompt"),
    )
}


def score_name(key: str) -> ScoreName:
    """How a score is shown; an unknown one is shown by its key."""
    return _KNOWN.get(key) or ScoreName(key, key.replace("_", " "), 0, "")


def find_scores(all_metrics: Iterable[Mapping[str, Any]]) -> list[str]:
    """The keys of metrics.json that hold scores.

    A score is a number in at least one run, and a number or null (it does not exist there) in all.

    Args:
        all_metrics: The contents of the files.

    Returns:
        The keys: known scores first, in one order, then others as they come.
    """
    runs = list(all_metrics)
    keys = list(dict.fromkeys(key for run in runs for key in run))
    found = [
        key
        for key in keys
        if key not in FACTS
        and any(is_number(run.get(key)) for run in runs)
        and all(run.get(key) is None or is_number(run.get(key)) for run in runs)
    ]
    order = list(_KNOWN)
    return sorted(found, key=lambda key: order.index(key) if key in order else len(order))


def score_values(metrics: Mapping[str, Any], keys: Iterable[str]) -> dict[str, float | None]:
    """A run's scores; None where it has none."""
    return {key: float(metrics[key]) if is_number(metrics.get(key)) else None for key in keys}


def photo_values(metrics: Mapping[str, Any]) -> dict[str, float | None]:
    """How a subject's photos score against each other; empty where that was not scored."""
    block = metrics.get("photos")
    return score_values(block, block) if isinstance(block, dict) else {}


def is_number(value: Any) -> bool:
    """Whether a value of a JSON file is a number."""
    return isinstance(value, int | float) and not isinstance(value, bool)
