"""Captions of a subject's photos, as a regime writes them: whole training prompts with [V]."""

import random
from collections.abc import Sequence

from idgen.mini.regimes import Regime
from idgen.mini.scenes import SCENES, scene_named
from idgen.mini.training_masks import spoilt_photos

_VAGUE = "in front of a colored background"


def photo_captions(noun: str, scenes: Sequence[str], regime: Regime, seed: str) -> list[str]:
    """Captions such as `a photo of a [V] robot on a purple rug`, one a photo.

    Args:
        noun: Class of the subject.
        scenes: What the photos show.
        regime: Says which captions.
        seed: Names the subject; the same one always gives the same captions.

    Returns:
        None at all where the regime has no captions.
    """
    if regime.captions == "none":
        return []
    said = list(scenes)
    if regime.captions == "wrong":
        for photo in spoilt_photos(len(scenes), f"caption/{seed}"):
            others = [name for name in SCENES if name not in scenes]
            said[photo] = random.Random(f"caption/{seed}/{photo}").choice(others)
    vague = regime.captions == "vague"
    return [
        f"a photo of a [V] {noun} {_VAGUE if vague else scene_named(name).phrases[0]}"
        for name in said
    ]
