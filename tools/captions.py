"""Which scenes the captioner names, and which sets of photos share one, on the mini world.

python -m tools.captions --subjects 24 --confidence 0.8

Subjects are held out; they are painted out by their true masks.
"""

import argparse
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from idgen.data.captions import scene_likeness
from idgen.masks import Picture
from idgen.mini.scenes import SCENES
from idgen.mini.subjects import PHOTOS, MiniSubject, sample_subject
from idgen.models.encoders import ImageEncoder
from idgen.prepare import ClipCaptioner, OpenCVInpainter
from idgen.prepare.captioners.captioner import Describe
from idgen.prepare.inpainters.inpainter import Inpaint
from idgen.prepare.segmenters.segmenter import DrawnPicture

_CPU = torch.device("cpu")
_FIRST = 100
_SCENES = (1, 2, 5)


def backgrounds(subject: MiniSubject, inpaint: Inpaint) -> list[tuple[str, Picture]]:
    """Of each photo, its scene's name and the photo with its subject painted out."""
    return [(d.factors.scene, inpaint(d.picture, d.mask)) for d in subject.photos()]


def with_scenes(subject: MiniSubject, count: int) -> MiniSubject:
    """The same subject, its photos spread over so many of its scenes."""
    return replace(subject, scenes=tuple(subject.scenes[k % count] for k in range(PHOTOS)))


def judged(subject: MiniSubject, inpaint: Inpaint, describe: Describe) -> list[str]:
    """For each photo whether its scene was named: `right`, `wrong`, or `none`."""
    found = []
    for scene, background in backgrounds(subject, inpaint):
        phrase = describe(DrawnPicture.of(background), background)
        right = phrase == SCENES[scene].phrases[0]
        found.append("right" if right else "wrong" if phrase else "none")
    return found


def likenesses(
    subjects: Sequence[MiniSubject], scenes: int, inpaint: Inpaint, encoder: ImageEncoder
) -> list[float]:
    """The mean cosine of each two photos' f'_i, of each subject in so many scenes."""
    found = []
    with encoder.loaded(_CPU) as encode:
        for subject in subjects:
            shown = backgrounds(with_scenes(subject, scenes), inpaint)
            pixels = torch.from_numpy(np.stack([background for _, background in shown]))
            found.append(scene_likeness(encode(pixels.permute(0, 3, 1, 2).float() / 127.5 - 1)))
    return found


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subjects", type=int, default=24)
    parser.add_argument("--confidence", type=float, default=0.1)
    options = parser.parse_args()
    subjects = [sample_subject(_FIRST + number) for number in range(options.subjects)]
    captioner = ClipCaptioner("mini", confidence=options.confidence)
    with OpenCVInpainter().loaded(_CPU) as inpaint:
        with captioner.loaded(_CPU) as describe:
            said = [word for s in subjects for word in judged(s, inpaint, describe)]
        counts = ", ".join(f"{said.count(word)} {word}" for word in ("right", "wrong", "none"))
        print(f"scenes of {len(said)} photos at confidence {options.confidence:g}: {counts}")
        for scenes in _SCENES:
            alike = likenesses(subjects, scenes, inpaint, ImageEncoder())
            print(
                f"mean cosine of f'_i, {scenes} scene{'s' * (scenes > 1)}: "
                f"lowest {min(alike):.3f}, mean {np.mean(alike):.3f}, highest {max(alike):.3f}"
            )


if __name__ == "__main__":
    main()
