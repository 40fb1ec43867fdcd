"""What a picture says of how it was drawn, so that it can be drawn again."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch as pytorch
from PIL import Image

from idgen import __version__
from idgen.errors import UserError, first_line
from idgen.loaded.model import ModelRecord
from idgen.sampling import Sampler

KEY = "idgen"
_FORMAT = 1


@dataclass(frozen=True)
class Surroundings:
    """What besides the settings decides the last digit of a drawing.

    Attributes:
        idgen: Its version.
        torch: Its version.
        device: The kind, such as `cpu`, or a GPU's name.
        threads: Of the CPU.
        precision: As Lightning calls it.
    """

    idgen: str
    torch: str
    device: str
    threads: int
    precision: str

    @classmethod
    def here(cls, device: pytorch.device, precision: str) -> "Surroundings":
        """Those of this process."""
        gpu = device.type == "cuda"
        name = pytorch.cuda.get_device_name(device) if gpu else device.type
        return cls(__version__, pytorch.__version__, name, pytorch.get_num_threads(), precision)

    def differences(self, other: "Surroundings") -> list[str]:
        """What is another there, in words."""
        mine, theirs = asdict(self), asdict(other)
        return [f"{key} {theirs[key]}" for key in mine if mine[key] != theirs[key]]


@dataclass(frozen=True)
class PictureRecord:
    """All that it takes to draw a picture again.

    Attributes:
        prompt: With [V] in it.
        spoken: As the backbone read it.
        number: Which of the prompt's pictures.
        seed: Of its noise.
        sampler: The settings of its sampler.
        model: What drew it.
        reference: The photo whose scene was kept, None for none.
        reference_weight: How much of it.
        batch: Prompt and number of the pictures that were drawn together: their number decides the
            last digit.
        place: Its own place among them.
        surroundings: What else does.
    """

    prompt: str
    spoken: str
    number: int
    seed: int
    sampler: Mapping[str, Any]
    model: ModelRecord
    reference: str | None
    reference_weight: float
    batch: Sequence[tuple[str, int]]
    place: int
    surroundings: Surroundings

    @property
    def texts(self) -> dict[str, str]:
        """For the picture's file: a line for people, the whole for `--like`."""
        made = self.surroundings
        whole = {"format": _FORMAT, **asdict(self)}
        return {
            "Software": f"idgen {made.idgen}",
            "Description": self.prompt,
            KEY: json.dumps(whole, ensure_ascii=False),
        }

    @classmethod
    def of_file(cls, path: Path) -> "PictureRecord":
        """What a picture says of itself.

        Raises:
            UserError: If it is no picture, or says nothing that can be used.
        """
        try:
            with Image.open(path) as picture:
                texts = getattr(picture, "text", {})
        except FileNotFoundError as error:
            raise UserError(f"--like: there is no file {path}") from error
        except (OSError, ValueError, SyntaxError) as error:
            reason = first_line(error)
            raise UserError(f"--like: {path} cannot be read as a picture ({reason})") from error
        if KEY not in texts:
            raise UserError(
                f"--like: {path} does not say how it was drawn; give a PNG that idgen sample "
                "wrote, as it wrote it: other programs and web sites take that out"
            )
        try:
            return cls._read(json.loads(texts[KEY]))
        except (ValueError, TypeError, KeyError) as error:
            raise UserError(
                f"--like: what {path} says of how it was drawn cannot be read "
                f"({first_line(error)}); it is damaged, or of another version of idgen"
            ) from error

    @classmethod
    def _read(cls, whole: Mapping[str, Any]) -> "PictureRecord":
        values = dict(whole)
        if values.pop("format") != _FORMAT:
            raise ValueError("another format")
        model = ModelRecord(**values.pop("model"))
        surroundings = Surroundings(**values.pop("surroundings"))
        batch = [(str(prompt), int(number)) for prompt, number in values.pop("batch")]
        texts = ("kind", "path", "digest", "backbone", "backbone_identity")
        if not all(isinstance(getattr(model, name), str) for name in texts):
            raise ValueError("its model is none")
        if not isinstance(values["seed"], int) or values["place"] not in range(len(batch)):
            raise ValueError("its place or its seed is none")
        Sampler.of_settings(values["sampler"])
        return cls(**values, model=model, surroundings=surroundings, batch=batch)
