"""Networks that find a picture's salient object: rembg's ONNX files by name, or a file by path."""

import contextlib
import hashlib
import os
import tempfile
import urllib.request
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from idgen.errors import UserError, first_line
from idgen.fingerprint import fingerprint_path

Family: TypeAlias = Literal["isnet", "u2net", "birefnet"]
"""How a network wants its colours: ISNet in [-0.5, 0.5], the others by ImageNet's statistics."""

KEY = "SaliencySegmenter.model"
INSTALL = "pip install 'idgen[masks]'"
_RELEASE = "https://github.com/danielgatis/rembg/releases/download/v0.0.0/"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class _Published:
    """One of rembg's files.

    Attributes:
        file: Its name in rembg's release.
        md5: Of its bytes, as rembg states it.
        family: Of the network.
    """

    file: str
    md5: str
    family: Family


PUBLISHED: dict[str, _Published] = {
    "isnet-general-use": _Published(
        "isnet-general-use.onnx", "fc16ebd8b0c10d971d3513d564d01e29", "isnet"
    ),
    "birefnet-general": _Published(
        "BiRefNet-general-epoch_244.onnx", "7a35a0141cbbc80de11d9c9a28f52697", "birefnet"
    ),
    "birefnet-general-lite": _Published(
        "BiRefNet-general-bb_swin_v1_tiny-epoch_232.onnx",
        "4fab47adc4ff364be1713e97b7e66334",
        "birefnet",
    ),
    "u2net": _Published("u2net.onnx", "60024c5c889badc19c04ad937298a77b", "u2net"),
    "u2netp": _Published("u2netp.onnx", "8e83ca70e441ab06c318d82300c84806", "u2net"),
}
"""By the names that rembg gives them."""


@dataclass(frozen=True)
class SaliencyWeights:
    """A network by name or path.

    Attributes:
        name: One of `PUBLISHED`, or the path of an `.onnx` file.
        family: Of a file: how it wants its colours; None to read it off the network.
    """

    name: str
    family: Family | None = None

    @cached_property
    def path(self) -> Path:
        """The file; one of rembg's is downloaded on first use, to where rembg keeps it.

        Raises:
            UserError: If it is neither a file nor a known name, or cannot be downloaded.
        """
        if self.name in PUBLISHED:
            return _found(self.name) or _downloaded(self.name)
        path = Path(self.name).expanduser()
        if not path.is_file() or path.suffix != ".onnx":
            what = "is no .onnx file" if path.exists() else "is neither a known name nor a file"
            raise UserError(
                f"{KEY}: {self.name!r} {what}; give one of {', '.join(PUBLISHED)}, or the path of "
                "an .onnx file"
            )
        return path

    @cached_property
    def identity(self) -> str:
        """Hash of the weights."""
        return fingerprint_path(self.path)

    def check_runtime(self) -> None:
        """Raises a UserError with the install line if what runs the network is missing."""
        onnxruntime()

    def session(self, device: torch.device) -> Any:
        """The loaded network, an `onnxruntime.InferenceSession`.

        Raises:
            UserError: If the file is no network that takes a picture and gives a map.
        """
        path, runtime = self.path, onnxruntime()
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        options.enable_cpu_mem_arena = False  # it would keep gigabytes between photos
        wanted = ["CUDAExecutionProvider"] if device.type == "cuda" else []
        here = set(runtime.get_available_providers())
        providers = [*(name for name in wanted if name in here), "CPUExecutionProvider"]
        try:
            session = runtime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # the runtime's own errors share no base class
            raise self._no_network(first_line(error, 100)) from error
        inputs, outputs = session.get_inputs(), session.get_outputs()
        shape = inputs[0].shape if len(inputs) == 1 else []
        sides = {side for side in shape[2:] if isinstance(side, int)}  # others are free
        if len(shape) != 4 or shape[1] != 3 or len(sides) > 1:
            raise self._no_network("it does not take one square picture, 1 x 3 x S x S")
        if inputs[0].type != "tensor(float)":
            raise self._no_network(f"it takes {inputs[0].type}, not tensor(float)")
        if len(outputs[0].shape) != 4 or outputs[0].shape[1] not in (1, None):
            raise self._no_network("its first output is no map, 1 x 1 x S x S")
        return session

    def run(self, session: Any, inputs: NDArray[np.float32]) -> NDArray[np.float32]:
        """What a loaded network finds.

        Args:
            session: Of `session`.
            inputs: `1 3 S S`.

        Returns:
            Its first map, `S S`.

        Raises:
            UserError: If it fails, or its values are not finite.
        """
        first, name = session.get_outputs()[0].name, session.get_inputs()[0].name
        try:
            (answer,) = session.run([first], {name: inputs})
        except Exception as error:  # the runtime's own errors share no base class
            raise self._no_network(first_line(error, 100)) from error
        values = np.asarray(answer, dtype=np.float32)
        if values.ndim != 4 or not np.isfinite(values).all():
            what = "not finite" if values.ndim == 4 else "no map, 1 x 1 x S x S"
            raise self._no_network(f"what it gives is {what}")
        return np.asarray(values[0, 0])

    def family_of(self, session: Any) -> Family:
        """How a loaded network wants its colours."""
        if self.name in PUBLISHED:
            return PUBLISHED[self.name].family
        if self.family is not None:
            return self.family
        if session.get_inputs()[0].shape[2] == 320:
            return "u2net"
        # ISNet gives its inner maps too.
        return "birefnet" if len(session.get_outputs()) == 1 else "isnet"

    def _no_network(self, why: str) -> UserError:
        return UserError(
            f"{KEY}: {self.name!r} is no network that finds a salient object ({why}); give one of "
            f"{', '.join(PUBLISHED)}, or another .onnx file"
        )


def onnxruntime() -> Any:
    """The library that runs the networks; a UserError with the install line without it."""
    try:
        import onnxruntime as runtime
    except ImportError as error:
        raise UserError(
            f"{KEY}: the networks for salient objects run by onnxruntime, which is missing: "
            f"{INSTALL}"
        ) from error
    return runtime


def _homes(name: str) -> list[Path]:
    """Where rembg keeps a model, the place of new ones first."""
    own = os.environ.get("U2NET_HOME") or os.environ.get("REMBG_HOME")
    data = os.environ.get("XDG_DATA_HOME")
    home = Path(own or (f"{data}/rembg" if data else "~/.rembg")).expanduser()
    old = Path(own or (f"{data}/.u2net" if data else "~/.u2net")).expanduser()
    return [home / "models" / name, old]


def _found(name: str) -> Path | None:
    """A model that is on this machine already, whether idgen or rembg brought it."""
    for folder in _homes(name):
        for path in (folder / f"{name}.onnx", folder / PUBLISHED[name].file):
            if path.is_file():
                return path
    return None


def _downloaded(name: str) -> Path:
    published, folder = PUBLISHED[name], _homes(name)[0]
    url = _RELEASE + published.file
    if os.environ.get("HF_HUB_OFFLINE", "0").upper() in ("1", "TRUE", "YES", "ON"):
        raise _unreachable(name, url, folder, "HF_HUB_OFFLINE is set")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _partial(folder) as part:
            digest = hashlib.md5(usedforsecurity=False)
            with urllib.request.urlopen(url, timeout=30) as source, part.open("wb") as file:
                while chunk := source.read(_CHUNK):
                    digest.update(chunk)
                    file.write(chunk)
            if digest.hexdigest() != published.md5:
                raise _unreachable(name, url, folder, "what came is not what rembg published")
            os.replace(part, folder / f"{name}.onnx")
    except OSError as error:  # the network's errors, too
        raise _unreachable(name, url, folder, first_line(error, 80)) from error
    return folder / f"{name}.onnx"


@contextlib.contextmanager
def _partial(folder: Path) -> Any:
    """A file that is gone at the end, unless it was renamed."""
    handle, name = tempfile.mkstemp(prefix=".download-", dir=folder)
    os.close(handle)
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _unreachable(name: str, url: str, folder: Path, why: str) -> UserError:
    return UserError(
        f"{KEY}: cannot fetch {name!r} ({why}); without a network, copy {url} to "
        f"{folder / f'{name}.onnx'}, or give the path of an .onnx file"
    )
