"""Pipeline folders: where one is, what its parts are, and how they are read and loaded."""

import json
import re
import warnings
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from idgen.backbones.families import advice
from idgen.backbones.quantization import Quantization, quantization_config
from idgen.backbones.single_file import Source, single_file
from idgen.errors import UserError, first_line
from idgen.fingerprint import fingerprint_path
from idgen.importing import uncollected
from idgen.integrity import weight_names
from idgen.sources import is_mini_backbone, model_folder

_INDEX = "model_index.json"
_CONFIGS = (_INDEX, "*/config.json", "tokenizer*/*", "scheduler/*")
_STEMS = ("diffusion_pytorch_model", "model")
# A variant stands behind the shard's number on the hub, before it in what the libraries save.
_SHARD = r"-\d{5}-of-\d{5}"
_NAME = re.compile(
    rf"(?P<stem>{'|'.join(_STEMS)})(?:{_SHARD})?(?:\.(?P<variant>[^.]+?))?(?:{_SHARD})?\.safetensors"
)
_LORA = "pytorch_lora_weights.safetensors"
_TOKENIZER_FILES = (("tokenizer.json",), ("vocab.json", "merges.txt"), ("spiece.model",))


class PipelineFolder:
    """A folder in the layout of diffusers' pipelines, by name; weights are read by `load` alone.

    Attributes:
        source: The name it was asked for by; of a model in one file, the folder that is made of it.
        folder: Where it is on this machine.
    """

    def __init__(
        self,
        source: Source,
        revision: str | None,
        variant: str | None,
        networks: Mapping[str, str],
        others: Sequence[str],
        parameter: str,
    ) -> None:
        """Finds it; of one on the hub, the configuration alone is fetched.

        Args:
            source: `mini`, a folder, a hub id, or a model in one file.
            revision: The hub's commit, tag or branch.
            variant: Of the weights' files, such as `fp16`; None for the plain ones, or the only
                variant that there is.
            networks: The class of each part that has weights, such as
                `diffusers.UNet2DConditionModel`, by its folder.
            others: Folders that have to be there besides.
            parameter: The parameter that named it, for errors.

        Raises:
            UserError: If it cannot be found, or lacks a part.
        """
        self._revision, self._variant, self._parameter = revision, variant, parameter
        self._networks = dict(networks)
        self._named_loras: set[Path] = set()
        self._file = single_file(source)
        if self._file is not None and variant is not None:
            raise UserError(
                f"{parameter.removesuffix('source')}variant: {variant!r} is of the files of a "
                f"pipeline folder; {self._file.file} is a model in one file, of which there is no "
                "other: leave variant out, or set it to null"
            )
        self.folder = configuration_folder(source, revision, parameter, _CONFIGS)
        self.source = str(source if self._file is None else self.folder)
        self._check_parts((*networks, *others))

    def _check_parts(self, parts: Sequence[str]) -> None:
        """Refuses a folder without model_index.json, and a family of other parts by its name."""
        absent = ", ".join(part for part in parts if not (self.folder / part).is_dir())
        if not (self.folder / _INDEX).is_file():
            raise self.refused(f"{self.folder} is no pipeline folder: {_INDEX} missing")
        if absent:
            family = self.index.get("_class_name", "pipeline of another kind")
            raise self.refused(
                f"{self.folder} ({family}) has no {absent}; a backbone of this kind takes folders "
                f"with {', '.join(parts)}; {advice(self.index)}"
            )

    def refused(self, reason: str) -> UserError:
        """An error about this folder, which names the parameter."""
        return UserError(f"{self._parameter}: {reason}")

    @property
    def index(self) -> dict[str, Any]:
        """The content of model_index.json: the pipeline's class, and each part's."""
        return self._json(self.folder / _INDEX)

    @property
    def kind(self) -> str:
        """Diffusers' class of the pipeline."""
        return str(self.index.get("_class_name", ""))

    def config(self, part: str) -> dict[str, Any]:
        """A network's configuration."""
        return self._json(self.folder / part / "config.json")

    def _json(self, path: Path) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise self.refused(f"cannot read {path} ({error}); fetch it again") from error
        if not isinstance(content, dict):
            raise self.refused(f"{path} holds no settings; fetch it again")
        return content

    def scheduler_config(self) -> dict[str, Any]:
        """The scheduler's configuration, with the defaults of its class.

        Raises:
            UserError: If it cannot be read.
        """
        import diffusers

        try:
            kind = self.index["scheduler"][1]
            scheduler = getattr(diffusers, kind).from_pretrained(self.folder, subfolder="scheduler")
        except ImportError as error:
            package = "scipy" if "scipy" in str(error) else "what it asks for"
            raise self.refused(
                f"the scheduler of {self.folder}, {kind}, needs a package that is not there "
                f"({first_line(error, 60)}...): pip install {package}"
            ) from error
        except Exception as error:  # damaged files fail in many ways
            raise self.refused(
                f"cannot read the scheduler of {self.folder} ({first_line(error)}); fetch it again"
            ) from error
        return dict(scheduler.config)

    def tokenizer(self, part: str, kind: str) -> Any:
        """A tokenizer.

        Args:
            part: Its folder, such as `tokenizer`.
            kind: Its class in transformers.

        Raises:
            UserError: If its files are missing or damaged.
        """
        folder = self.folder / part
        # transformers would make one without words, and say nothing.
        if not any(all((folder / n).is_file() for n in names) for names in _TOKENIZER_FILES):
            raise self.refused(f"vocab.json and merges.txt are missing in {folder}")
        try:
            return _class(f"transformers.{kind}").from_pretrained(folder)
        except Exception as error:  # damaged files fail in many ways
            raise self.refused(
                f"cannot load {folder} ({first_line(error)}); fetch it again"
            ) from error

    # Weights

    @property
    def _is_local(self) -> bool:
        """Whether it was named by a folder, and not by a hub id."""
        return self.folder.is_relative_to(Path(self.source).expanduser()) or is_mini_backbone(
            self.source
        )

    def fetch(self) -> None:
        """Downloads the weights of a hub id, and converts those of one file, if that is not done.

        Raises:
            UserError: If they cannot be fetched or converted.
        """
        if self._file is not None:
            self._file.convert(self.folder, self._revision, self._parameter)
        if self._is_local:
            return
        dot = f".{self._variant}" if self._variant else ""
        ends = {dot, f"-?????-of-?????{dot}", f"{dot}-?????-of-?????"}
        names = [f"{stem}{end}.safetensors" for stem in _STEMS for end in sorted(ends)]
        names += [f"{stem}.safetensors.index{dot}.json" for stem in _STEMS]
        patterns = [*_CONFIGS, *(f"{part}/{name}" for part in self._networks for name in names)]
        # The same snapshot, unless the hub has moved on since: then what was fetched last counts.
        self.folder = model_folder(
            self.source, parameter=self._parameter, revision=self._revision, patterns=patterns
        )

    def weight_files(self, part: str) -> list[Path]:
        """The safetensors files of a network, one or several shards, sorted.

        Raises:
            UserError: If there are none, or several variants and none was named.
        """
        folder = self.folder / part
        found: dict[str | None, list[Path]] = {}
        for path in sorted(folder.glob("*.safetensors")):
            if (name := _NAME.fullmatch(path.name)) is not None:
                found.setdefault(name["variant"], []).append(path)
        only = self._variant is None and len(found) == 1
        variant = next(iter(found)) if only else self._variant
        if variant in found:
            return self._whole(found[variant])
        if found:
            there = ", ".join(sorted(name or "the plain one" for name in found))
            wanted = "plain weights" if self._variant is None else f"variant {self._variant!r}"
            raise self.refused(
                f"{folder} has no {wanted}; set variant to one that is there: {there}"
            )
        stem = _STEMS[self._networks[part].startswith("transformers.")]
        other = [p.name for p in folder.glob("*.bin")] if folder.is_dir() else []
        hint = f"{other[0]} is a pickle, which is not read" if other else "fetch the folder again"
        if not self._is_local:
            hint = "if the hub has a variant alone, such as fp16, set variant to it"
        raise self.refused(f"the weights {folder / stem}.safetensors are missing; {hint}")

    def _whole(self, files: list[Path]) -> list[Path]:
        """The files, if no shard is missing that their index names."""
        first = _NAME.fullmatch(files[0].name)
        assert first is not None
        dot = f".{first['variant']}" if first["variant"] else ""
        index = files[0].with_name(f"{first['stem']}.safetensors.index{dot}.json")
        if len(files) > 1 or "-of-" in files[0].name:
            if not index.is_file():
                raise self.refused(
                    f"{index} is missing, which says what is in the shards; fetch it"
                )
            named = set(self._json(index).get("weight_map", {}).values())
            for name in sorted(named - {path.name for path in files}):
                raise self.refused(f"the weights {index.with_name(name)} are missing; fetch them")
        return files

    def check_weights(self) -> None:
        """Makes sure that the weights of all networks are there; warns of a LoRA beside them.

        Raises:
            UserError: If a file is missing, damaged, or carries LoRA; the first is named.
        """
        self.fetch()
        for part in self._networks:
            for path in self.weight_files(part):
                self._check_plain(path)
        for place in (".", *self._networks):
            lora = self.folder / place / _LORA
            if lora.is_file() and lora not in self._named_loras:
                self._named_loras.add(lora)
                warnings.warn(
                    f"{lora} is not used: the backbone is the plain weights beside it; to train "
                    "on both, merge them first (diffusers: fuse_lora, then save_pretrained)",
                    stacklevel=2,
                )

    def _check_plain(self, path: Path) -> None:
        """Refuses weights that carry LoRA, which diffusers would drop and say nothing."""
        try:
            lora = next((name for name in weight_names(path) if "lora" in name.lower()), None)
        except Exception as error:  # damaged files fail in many ways
            raise self.refused(
                f"cannot read {path} ({first_line(error)}); fetch it again"
            ) from error
        if lora is not None:
            raise self.refused(
                f"{path} carries LoRA ({lora!r}), which would be left out: merge it into the "
                "weights first (diffusers: fuse_lora, unload_lora_weights, save_pretrained)"
            )

    def identity(self) -> str:
        """Hash of the configuration and of the weights that are loaded.

        A folder may hold the same weights in other formats too: those do not count.
        """
        self.check_weights()
        weights = [
            path.relative_to(self.folder).as_posix()
            for part in self._networks
            for path in self.weight_files(part)
        ]
        return fingerprint_path(self.folder, [*_CONFIGS, *weights])

    def load(self, part: str, dtype: torch.dtype, quantization: Quantization | None = None) -> Any:
        """Loads a network: on the CPU, or on the GPU if quantized; frozen, in evaluation mode.

        Args:
            part: Its folder.
            dtype: What its weights are in; if quantized, what it computes in.
            quantization: In how many bits its linear layers are held; None for all.

        Raises:
            UserError: If weights are missing, damaged, or do not fit.
        """
        name = _NAME.fullmatch(self.weight_files(part)[0].name)
        assert name is not None
        in_bits: dict[str, Any] = {}
        if quantization is not None:
            config = quantization_config(quantization, dtype, self._networks[part])
            in_bits["quantization_config"] = config
        try:
            model, info = _class(self._networks[part]).from_pretrained(
                self.folder,
                **in_bits,
                subfolder=part,
                torch_dtype=dtype,
                use_safetensors=True,
                variant=name["variant"],
                output_loading_info=True,
            )
        except Exception as error:  # damaged files fail in many ways
            raise self.refused(
                f"cannot load {self.folder / part} ({first_line(error)}); "
                "fetch it again with safetensors weights"
            ) from error
        absent = [key for key in info["missing_keys"] if "position_ids" not in key]
        if absent:
            raise self.refused(
                f"{self.folder / part} lacks {len(absent)} weights, {absent[0]!r} the first; they "
                "would stay random, fetch the folder again"
            )
        return model.requires_grad_(False).eval()

    def build(self, part: str) -> nn.Module:
        """Builds a network from its configuration alone, on the current device."""
        config, made = self.config(part), _class(self._networks[part])
        if self._networks[part].startswith("diffusers."):
            network: nn.Module = made.from_config(config)
        else:
            network = made(made.config_class(**config))
        return network.requires_grad_(False).eval()


def configuration_folder(
    source: Source, revision: str | None, parameter: str, patterns: Sequence[str] = (_INDEX,)
) -> Path:
    """The folder of a pipeline's configuration, before any weights are there.

    Args:
        source: `mini`, a folder, a hub id, or a model in one file.
        revision: The hub's commit, tag or branch.
        parameter: The parameter that named the pipeline, for errors.
        patterns: The files that are needed.

    Raises:
        UserError: If the pipeline cannot be found.
    """
    file = single_file(source)
    if file is not None:
        return file.configuration(revision, parameter)
    return model_folder(
        str(source), parameter=parameter, part="pipeline", revision=revision, patterns=patterns
    )


def pipeline_has(source: Source, revision: str | None, part: str, parameter: str) -> bool:
    """Whether a pipeline says in model_index.json that it has a part, or does not say.

    Args:
        source: `mini`, a folder, a hub id, or a model in one file.
        revision: The hub's commit, tag or branch.
        part: Such as `text_encoder_3`.
        parameter: The parameter that named the pipeline, for errors.

    Raises:
        UserError: If the pipeline cannot be found.
    """
    folder = configuration_folder(source, revision, parameter)
    try:
        said = json.loads((folder / _INDEX).read_text(encoding="utf-8"))[part]
    except (OSError, ValueError, KeyError, TypeError):
        return True  # `PipelineFolder` says what is wrong
    return not isinstance(said, list) or any(said)


def _class(path: str) -> Any:
    module, _, name = path.rpartition(".")
    with uncollected():
        return getattr(import_module(module), name)
