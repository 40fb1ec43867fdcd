"""Subjects of the held-out side: a few pictures of one identity, as a user's photos would be."""

import json
import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from idgen.errors import UserError
from idgen.mini.classes import CLASSES, subject_class
from idgen.mini.pen import Pose
from idgen.mini.photo_captions import photo_captions
from idgen.mini.regimes import PLAIN, Regime
from idgen.mini.scenes import SCENES
from idgen.mini.training_masks import training_masks
from idgen.mini.world import HELD_OUT_FROM, Drawing, Factors, draw, sample_pose

PHOTOS = 5
MASKS_FOLDER = "masks"
"""The folder in that of the photos which holds the masks of a regime that writes them."""
TRUTH = "mini_subject.json"
"""The file beside a subject's photos that says what they show."""

_SHIPPED = Path(__file__).parent / "subjects"


@dataclass(frozen=True)
class MiniSubject:
    """A subject of the mini world.

    Attributes:
        noun: Class of the subject.
        identity_seed: Seed of its identity, on the held-out side.
        scenes: The scenes of its photos, one each; prompts for tests take the others.
        regime: How its photos come about.
    """

    noun: str
    identity_seed: int
    scenes: tuple[str, ...]
    regime: Regime = PLAIN

    @property
    def unseen_scenes(self) -> tuple[str, ...]:
        """The scenes that no photo of it shows."""
        return tuple(name for name in SCENES if name not in self.scenes)

    def photos(self) -> list[Drawing]:
        """Draw its photos: one identity, in the scenes and poses of its regime."""
        drawings = []
        for k, scene in enumerate(self.scenes):
            pose, _ = self._pose_and_variation(0 if self.regime.pose == "same" else k)
            _, seed = self._pose_and_variation(k % self.regime.scenes)
            drawings.append(draw(Factors(self.noun, self.identity_seed, scene, pose, None, seed)))
        return drawings

    def masks(self) -> list[NDArray[np.bool_]]:
        """The masks of its photos that training gets, `64 64` each; none if its regime has none."""
        if not self.regime.writes_masks:
            return []
        return training_masks([photo.mask for photo in self.photos()], self.regime, self._name)

    def captions(self) -> list[str]:
        """The captions of its photos, with [V] in them; none if its regime has none."""
        return photo_captions(self.noun, self.scenes, self.regime, self._name)

    @property
    def _name(self) -> str:
        return f"{self.noun}/{self.identity_seed}"

    def _pose_and_variation(self, photo: int) -> tuple[Pose, int]:
        """The pose in a photo of its own, and the seed of its scene."""
        rng = random.Random(f"photo/{self._name}/{photo}")
        return sample_pose(rng), rng.randrange(2**31)


# The demo subjects whose photos ship with the package, by the name of their folder.
DEMO_SUBJECTS: dict[str, MiniSubject] = {
    "robot": MiniSubject(
        "robot", HELD_OUT_FROM + 60, ("wood", "beach", "bricks", "meadow", "city")
    ),
    "cat": MiniSubject("cat", HELD_OUT_FROM + 43, ("rug", "beach", "city", "wood", "bricks")),
}


def subject_path(name: str) -> Path:
    """Return the folder of a demo subject's photos.

    Raises:
        UserError: If there is no such demo subject, or its photos are missing.
    """
    if name.partition("?")[0].isdecimal():
        raise UserError(
            f"'mini:{name}' is drawn by idgen benchmark alone; for another command write its "
            "photos with idgen.mini.subjects.write_subject, and give their folder"
        )
    if name not in DEMO_SUBJECTS:
        raise UserError(f"no demo subject 'mini:{name}'; there are: {', '.join(DEMO_SUBJECTS)}")
    folder = _SHIPPED / name
    if not any(folder.glob("*.png")):
        raise UserError(
            f"the photos of 'mini:{name}' are missing from {folder}; install idgen again"
        )
    return folder


def sample_subject(seed: int, noun: str | None = None, regime: Regime = PLAIN) -> MiniSubject:
    """Draw a subject of the held-out side.

    Args:
        seed: Number of the subject; the same number always gives the same one, in every regime.
        noun: Its class, or None to draw one.
        regime: How its photos come about.

    Raises:
        UserError: If there is no such class.
    """
    rng = random.Random(f"subject/{seed}")
    drawn = rng.choice(list(CLASSES))
    identity_seed = HELD_OUT_FROM + rng.randrange(HELD_OUT_FROM)
    places = rng.sample(list(SCENES), PHOTOS)
    scenes = tuple(places[k % regime.scenes] for k in range(regime.photos))
    return MiniSubject(subject_class(noun or drawn).noun, identity_seed, scenes, regime)


def write_subject(subject: MiniSubject, folder: Path) -> list[Path]:
    """Write a subject's photos as `01.png`, `02.png` ... (RGB, 64 x 64) into ``folder``.

    Beside them go `mini_subject.json`, which says what they show: `read_subject` reads it; where
    its regime has them, captions as `01.txt` ...; and masks in a folder `masks`.

    Returns:
        The photos written, in order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, drawing in enumerate(subject.photos(), start=1):
        paths.append(folder / f"{number:02d}.png")
        Image.fromarray(drawing.picture).save(paths[-1])
    for path, caption in zip(paths, subject.captions(), strict=False):
        path.with_suffix(".txt").write_text(f"{caption}\n", encoding="utf-8")
    if masks := subject.masks():
        (folder / MASKS_FOLDER).mkdir(exist_ok=True)
        for path, mask in zip(paths, masks, strict=True):
            Image.fromarray(mask.astype(np.uint8) * 255).save(folder / MASKS_FOLDER / path.name)
    (folder / TRUTH).write_text(json.dumps(_told(subject)) + "\n", encoding="utf-8")
    return paths


def _told(subject: MiniSubject) -> dict[str, Any]:
    """What `mini_subject.json` says."""
    told = {
        "noun": subject.noun,
        "identity_seed": subject.identity_seed,
        "scenes": list(subject.scenes),
    }
    return told if subject.regime.is_plain else {**told, "regime": str(subject.regime)}


def read_subject(folder: Path) -> MiniSubject | None:
    """Read the truth about the photos in a folder.

    Returns:
        The subject; None if the folder holds no `mini_subject.json`: its photos are others.

    Raises:
        UserError: If the file cannot be read, or is not what `write_subject` writes.
    """
    path = folder / TRUTH
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        return _subject(data)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UserError) as error:
        raise UserError(
            f"{path} does not say what mini subject the photos show ({error}); write the subject "
            "again with idgen.mini.subjects.write_subject, or remove the file"
        ) from error


def _subject(data: dict[str, Any]) -> MiniSubject:
    noun, seed, scenes = data["noun"], data["identity_seed"], tuple(data["scenes"])
    for what, names, known in (("class", (noun,), CLASSES), ("scene", scenes, SCENES)):
        unknown = [name for name in names if name not in tuple(known)]
        if unknown:
            named = ", ".join(map(repr, unknown))
            raise ValueError(f"no {what} {named}; there are: {', '.join(known)}")
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ValueError(f"identity_seed is {seed!r}, no whole number")
    return MiniSubject(noun, seed, scenes, Regime.parse(data.get("regime", "")))
