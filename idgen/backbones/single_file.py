"""A model in one `.safetensors` file, as other tools keep it: made a pipeline folder once."""

import json
import logging
import os
import secrets
import shutil
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from idgen.backbones.single_file_cache import (
    FORM,
    INDEX,
    LOCK,
    SUFFIX,
    WHOLE,
    FileName,
    clean,
    files_cache,
    lost_links,
    made_in,
    remove_left_over,
)
from idgen.backbones.single_file_layouts import FileLayout, layout_of
from idgen.errors import UserError, first_line
from idgen.files import TEMPORARY_PREFIX, atomic_write
from idgen.fingerprint import CACHE_VARIABLE, fingerprint_fields, fingerprint_path
from idgen.integrity import weight_header
from idgen.locks import locked
from idgen.sources import model_folder

_CONFIGS = (INDEX, "*/config.json", "tokenizer*/*", "scheduler/*")
_PICKLES = (".ckpt", ".pt", ".pth", ".bin")
_PROJECTION = "transformer.text_projection.weight"
_DTYPES = {"F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16}
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SingleFile:
    """A model in one file.

    Attributes:
        file: The `.safetensors` file.
        config: A pipeline folder or hub id of the same layout, whose configuration and tokenizers
            are taken, and weights that the file lacks; None for the best-known one on the hub.
    """

    file: str
    config: str | None = None

    @property
    def path(self) -> Path:
        """Where the file is."""
        return Path(self.file).expanduser()

    def configuration(self, revision: str | None, parameter: str) -> Path:
        """The pipeline folder that is made of the file, of which the configuration is there.

        Args:
            revision: Of `config` on the hub.
            parameter: The parameter that named the file, for errors.

        Raises:
            UserError: If the file is no whole model of a family that is taken, or if there is no
                configuration for it.
        """
        if not self.path.is_file() and (kept := self._name.made()) is not None:
            _say(f"{self.file} is gone; what was made of it is taken: {kept}")
            return kept
        header = self._header(parameter)
        layout = layout_of(header, f"{parameter}: {self.file}")
        base = self._base(layout, revision, parameter)
        layout.check(header, base, f"{parameter}: {self.file}")
        key = fingerprint_fields(
            file=fingerprint_path(self.path),
            config=fingerprint_path(base, _CONFIGS),
            weights=self._from_elsewhere(layout, header, base),
            form=FORM,
        )
        place = files_cache() / key[:16]
        if made_in(place) is None:
            with self._writing(parameter):
                self._copy_configuration(layout, header, base, place / self.path.stem)
        self._name.note(place)
        # The same file may have had another name then.
        folder = made_in(place) or place / self.path.stem
        if lost_links(folder):
            # The folder that weights were taken from stands elsewhere now.
            with self._writing(parameter):
                (folder / WHOLE).unlink(missing_ok=True)
        return folder

    @property
    def _has_own_config(self) -> bool:
        """Whether `config` is a folder of the user's, and no hub id."""
        return self.config is not None and Path(self.config).expanduser().is_dir()

    @property
    def _name(self) -> FileName:
        """What it is asked for by."""
        config = self.config or ""
        if self._has_own_config:
            config = str(Path(config).expanduser().absolute())
        return FileName(str(self.path.absolute()), config)

    def _from_elsewhere(self, layout: FileLayout, header: Mapping[str, Any], base: Path) -> str:
        """What tells apart the weights that the file lacks: their hash, or a hub's revision."""
        if not self._has_own_config:
            return base.name
        parts = [part for part in self._whole(base) if part in layout.parts]
        lacking = [part for part in sorted(parts) if not layout.has(header, part)]
        return json.dumps({part: fingerprint_path(base / part) for part in lacking})

    def _whole(self, base: Path) -> tuple[str, ...]:
        """The parts of the user's own folder that hold weights."""
        if not self._has_own_config:
            return ()
        return tuple({path.parent.name for path in base.glob(f"*/*{SUFFIX}")})

    def convert(self, folder: Path, revision: str | None, parameter: str) -> None:
        """Brings the weights into the folder, unless they are there; what a part is in is kept.

        Args:
            folder: What `configuration` gave.
            revision: Of `config` on the hub.
            parameter: The parameter that named the file, for errors.

        Raises:
            UserError: If the file does not fit its configuration, or the disk is full.
        """
        if (folder / WHOLE).is_file():
            return
        with self._writing(parameter), locked(folder.parent / LOCK):
            if (folder / WHOLE).is_file():
                return  # another process has done it
            remove_left_over(folder)
            header = self._header(parameter)
            layout = layout_of(header, f"{parameter}: {self.file}")
            self._check_space(folder, parameter)
            _log.warning("converting %s to the pipeline folder %s, once", self.file, folder)
            lacking = self._lacking(layout, header, folder)
            base = self._base(layout, revision, parameter, lacking)
            for part in lacking:
                self._link(base, folder, part, parameter)
            self._convert(layout, header, folder, lacking, parameter)
            atomic_write(folder / WHOLE, b"")

    def _header(self, parameter: str) -> dict[str, dict[str, Any]]:
        suffix = self.path.suffix.lower()
        if not self.file.strip():
            raise UserError(f"{parameter}.file is blank; give the model's file")
        if self.path.is_dir():
            raise UserError(f"{parameter}.file: {self.file} is a folder; set source to it itself")
        if suffix != SUFFIX:
            reason = f"is no {SUFFIX} file"
            if suffix in _PICKLES:
                reason = "is a pickle, which can run any code when it is read, and is not read"
            raise UserError(
                f"{parameter}: {self.file} {reason}; take the model's {SUFFIX} file, or make a "
                "folder of it once (diffusers: from_single_file, then save_pretrained)"
            )
        if not self.path.is_file():
            raise UserError(
                f"{parameter}: there is no file {self.file}; give the model's file, or the "
                f"folder in {files_cache()} that was made of it"
            )
        try:
            return weight_header(self.path)
        except Exception as error:  # damaged files fail in many ways
            raise UserError(
                f"{parameter}: cannot read {self.file} ({first_line(error)}); fetch it again"
            ) from error

    def _base(
        self,
        layout: FileLayout,
        revision: str | None,
        parameter: str,
        lacking: tuple[str, ...] = (),
    ) -> Path:
        """Where configuration and tokenizers are, and the weights of parts that the file lacks."""
        name = self.config or layout.hub
        if name is None:
            raise UserError(
                f"{parameter}: {self.file}: {layout.hint}; set source.config to the right one"
            )
        patterns = [*_CONFIGS, *(f"{part}/*{SUFFIX}*" for part in lacking)]
        try:
            folder = model_folder(
                name, parameter=f"{parameter}.config", revision=revision, patterns=patterns
            )
            if not (folder / INDEX).is_file():
                raise UserError(
                    f"{parameter}.config: {folder} is no pipeline folder, {INDEX} is missing; give "
                    "one"
                )
            return folder
        except UserError as error:
            if self.config is not None:
                raise
            reason = str(error).removeprefix(f"{parameter}.config: ")
            raise UserError(
                f"{parameter}: {self.file} holds no configuration and no tokenizer, and those of "
                f"its family cannot be had: {reason}; set source.file to it and "
                f"source.config to a pipeline folder of a {layout.name}"
            ) from error

    def _copy_configuration(
        self, layout: FileLayout, header: Mapping[str, Any], base: Path, folder: Path
    ) -> None:
        """Writes the folder without weights, all at once."""
        index = layout.index(header, base, self._whole(base))
        files_cache().mkdir(parents=True, exist_ok=True)
        made = files_cache() / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}" / folder.name
        with locked(files_cache() / LOCK):
            if made_in(folder.parent) is not None:
                return  # another process was first
            clean()
            try:
                for pattern in _CONFIGS:
                    for path in sorted(base.glob(pattern)):
                        if path.is_file() and (path.parent == base or index.get(path.parent.name)):
                            copy = made / path.relative_to(base)
                            copy.parent.mkdir(parents=True, exist_ok=True)
                            shutil.copyfile(path, copy)
                (made / INDEX).write_text(json.dumps(index, indent=2), encoding="utf-8")
                layout.write_prediction(header, made)
                made.parent.rename(folder.parent)
            finally:
                shutil.rmtree(made.parent, ignore_errors=True)

    def _lacking(
        self, layout: FileLayout, header: Mapping[str, Any], folder: Path
    ) -> tuple[str, ...]:
        """The parts that the pipeline has and the file does not."""
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        return tuple(p for p in layout.parts if index.get(p) and not layout.has(header, p))

    def _link(self, base: Path, folder: Path, part: str, parameter: str) -> None:
        files = sorted((base / part).glob(f"*{SUFFIX}*"))
        if not any(path.suffix == SUFFIX for path in files):
            raise UserError(
                f"{parameter}: {self.file} holds no {part}, and neither does {base}; set "
                "source.config to a pipeline folder that has its weights"
            )
        for path in files:
            link = folder / part / path.name
            link.unlink(missing_ok=True)
            link.symlink_to(path.resolve())

    def _convert(
        self,
        layout: FileLayout,
        header: Mapping[str, Any],
        folder: Path,
        lacking: tuple[str, ...],
        parameter: str,
    ) -> None:
        import diffusers

        held = [part for part in layout.parts if part not in lacking and layout.has(header, part)]
        each = {part: self._dtype(layout, header, part, parameter) for part in held}
        made = getattr(diffusers, layout.kind)
        try:
            for dtype in dict.fromkeys(each.values()):
                without = [part for part in layout.parts if each.get(part) is not dtype]
                pipeline = made.from_single_file(
                    str(self.path),
                    config=str(folder),
                    local_files_only=True,
                    torch_dtype=dtype,
                    **dict.fromkeys(without),
                )
                for part in held:
                    network = getattr(pipeline, part, None)
                    if each[part] is dtype and network is not None:
                        self._project(network, layout.parts[part], header)
                        _save(network, folder / part)
        except OSError:
            raise
        except Exception as error:  # files of other layouts fail in many ways
            raise UserError(
                f"{parameter}: {self.file} does not fit the configuration in {folder} "
                f"({first_line(error)}); set source.config to a pipeline folder of its layout"
            ) from error

    def _project(self, network: Any, heads: Sequence[str], header: Mapping[str, Any]) -> None:
        """Gives a text encoder its own projection, which diffusers takes for none in SD 3."""
        names = [f"{head}{_PROJECTION}" for head in heads if f"{head}{_PROJECTION}" in header]
        if names and hasattr(network, "text_projection"):
            with safe_open(self.path, framework="pt") as file, torch.no_grad():
                network.text_projection.weight.copy_(file.get_tensor(names[0]))

    def _dtype(
        self, layout: FileLayout, header: Mapping[str, Any], part: str, parameter: str
    ) -> torch.dtype:
        """What most of a network is in, by bytes: a few weights in another type do not count."""
        name = layout.stored_in(header, part)
        if name not in _DTYPES:
            raise UserError(
                f"{parameter}: {self.file} holds its {part} in {name}; take the file in float16, "
                "bfloat16 or float32"
            )
        return _DTYPES[name]

    def _check_space(self, folder: Path, parameter: str) -> None:
        needed, free = self.path.stat().st_size, shutil.disk_usage(folder).free
        if free < needed:
            raise UserError(
                f"{parameter}: {self.file} is converted once, which takes {needed >> 20} MiB in "
                f"{files_cache()}, where {free >> 20} MiB are free; free some, or set "
                f"{CACHE_VARIABLE} to a folder elsewhere"
            )

    @contextmanager
    def _writing(self, parameter: str) -> Any:
        """Says which folder cannot be written."""
        try:
            yield
        except OSError as error:
            raise UserError(
                f"{parameter}: cannot convert {self.file} to a folder in {files_cache()} "
                f"({first_line(error)}); set {CACHE_VARIABLE} to a folder that can be written"
            ) from error


Source = str | SingleFile
"""`mini`, a pipeline folder, a hub id, or a model in one file, by its path or with its config."""


def single_file(source: Source) -> SingleFile | None:
    """The model in one file that a source names; None for folders and hub ids.

    Args:
        source: What a backbone is asked for by.
    """
    if isinstance(source, SingleFile):
        return source
    path = Path(source).expanduser()
    # One that is gone may have been converted before.
    named = path.suffix.lower() == SUFFIX and not path.is_dir()
    return SingleFile(source) if named or path.is_file() else None


def is_model_file(path: Path) -> bool:
    """Whether a path is a whole model in one file, and no LoRA or other export.

    Args:
        path: Existing or not.
    """
    if path.suffix.lower() != SUFFIX or not path.is_file():
        return False
    try:
        layout_of(weight_header(path), "")
    except Exception:  # whoever reads it says what is wrong
        return False
    return True


@cache
def _say(text: str) -> None:
    """Warns once in a process."""
    _log.warning(text)


def _save(network: Any, folder: Path) -> None:
    """Writes a network's weights beside its configuration, which stays."""
    if hasattr(network, "tie_weights"):
        network.tie_weights()  # T5's words have two names, of which many files have one
    work = folder.parent / f"{TEMPORARY_PREFIX}{secrets.token_hex(8)}"
    try:
        network.save_pretrained(work, safe_serialization=True)
        for path in sorted(work.glob(f"*{SUFFIX}*")):
            os.replace(path, folder / path.name)
    finally:
        shutil.rmtree(work, ignore_errors=True)
