"""Subjects of the held-out side: a few pictures of one identity, as a user's photos would be."""

import json
import random
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from idgen.errors import UserError
from idgen.mini.classes import CLASSES, subject_class
from idgen.mini.scenes import SCENES
from idgen.mini.world import HELD_OUT_FROM, Drawing, Factors, draw, sample_pose

PHOTOS = 5
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
    """

    noun: str
    identity_seed: int
    scenes: tuple[str, ...]

    @property
    def unseen_scenes(self) -> tuple[str, ...]:
        """The scenes that no photo of it shows."""
        return tuple(name for name in SCENES if name not in self.scenes)

    def photos(self) -> list[Drawing]:
        """Draw its photos: one identity in different scenes and poses."""
        drawings = []
        for k, scene in enumerate(self.scenes):
            rng = random.Random(f"photo/{self.noun}/{self.identity_seed}/{k}")
            pose = sample_pose(rng)
            seed = rng.randrange(2**31)
            drawings.append(draw(Factors(self.noun, self.identity_seed, scene, pose, None, seed)))
        return drawings


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
    if name not in DEMO_SUBJECTS:
        raise UserError(f"no demo subject 'mini:{name}'; there are: {', '.join(DEMO_SUBJECTS)}")
    folder = _SHIPPED / name
    if not any(folder.glob("*.png")):
        raise UserError(
            f"the photos of 'mini:{name}' are missing from {folder}; install idgen again"
        )
    return folder


def sample_subject(seed: int, noun: str | None = None) -> MiniSubject:
    """Draw a subject of the held-out side.

    Args:
        seed: Number of the subject; the same number always gives the same one.
        noun: Its class, or None to draw one.

    Raises:
        UserError: If there is no such class.
    """
    rng = random.Random(f"subject/{seed}")
    drawn = rng.choice(list(CLASSES))
    identity_seed = HELD_OUT_FROM + rng.randrange(HELD_OUT_FROM)
    scenes = tuple(rng.sample(list(SCENES), PHOTOS))
    return MiniSubject(subject_class(noun or drawn).noun, identity_seed, scenes)


def write_subject(subject: MiniSubject, folder: Path) -> list[Path]:
    """Write a subject's photos as `01.png`, `02.png` ... (RGB, 64 x 64) into ``folder``.

    Beside them goes `mini_subject.json`, which says what they show: `read_subject` reads it.

    Returns:
        The photos written, in order.
    """
    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for number, drawing in enumerate(subject.photos(), start=1):
        paths.append(folder / f"{number:02d}.png")
        Image.fromarray(drawing.picture).save(paths[-1])
    (folder / TRUTH).write_text(json.dumps(asdict(subject)) + "\n", encoding="utf-8")
    return paths


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
    except (OSError, ValueError, KeyError, TypeError) as error:
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
    return MiniSubject(noun, seed, scenes)
