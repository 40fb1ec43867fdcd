"""The model card of an export: README.md with the hub's metadata, and the pictures in it."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Environment, PackageLoader, StrictUndefined

from idgen import __version__
from idgen.backbones.stable_diffusion import StableDiffusionBackbone
from idgen.errors import printable
from idgen.export.base_model import BaseModel
from idgen.export.evidence import SCORES, Evidence, Sample
from idgen.export.exported_run import ExportedRun, slug
from idgen.export.format import ExportFormat, Written
from idgen.export.kohya_names import KOHYA_FAMILIES
from idgen.export.noting import note_for
from idgen.files import atomic_write
from idgen.loaded.export_note import CARD, KEY
from idgen.pictures import PromptRow, captioned_grid, save_png

CONFIG = "idgen_config.yaml"
GRID = "images/grid.png"
_TAGS = {
    "diffusers": ["lora", "template:sd-lora"],
    "kohya": ["lora", "template:sd-lora", "comfyui", "stable-diffusion-webui"],
    "fusion": ["lora", "comfyui"],
    "embeddings": ["lora"],
}
_RELATION = {"merged": "finetune"}


@dataclass(frozen=True)
class Card:
    """What a card says beside what the run and its files say.

    Attributes:
        form: The format.
        base: The base model.
        command: The command that made the export.
        config: The run's whole config; None where there is none.
        evidence: Its scores; None where it was never scored.
        samples: Drawings of it.
        repository: Where it is pushed to, for the commands that load it; None for a folder.
    """

    form: ExportFormat
    base: BaseModel
    command: str
    config: dict[str, Any] | None
    evidence: Evidence | None = None
    samples: tuple[Sample, ...] = field(default=())
    repository: str | None = None

    def write(
        self, folder: Path, run: ExportedRun, written: Written, difference: int | None
    ) -> None:
        """Writes README.md, the pictures it shows, and the run's config.

        Args:
            folder: Of the export.
            run: That was exported.
            written: By the format.
            difference: From idgen's own drawing, in grey levels; None where it was not compared.
        """
        pictures = self._write_samples(folder)
        if self.config is not None:
            text = yaml.safe_dump(without_places(self.config), sort_keys=False, allow_unicode=True)
            atomic_write(folder / CONFIG, text.encode())
        noun = run.module.words.class_noun
        content = {
            "base": self.base,
            "command": self.command,
            "config": None if self.config is None else CONFIG,
            "difference": difference,
            "evidence": self.evidence,
            "files": _files(folder, written),
            "form": self.form.name,
            "grid": GRID if pictures else None,
            "scores": _labelled(self.evidence),
            "metadata": _as_yaml(self._metadata(run, written, pictures)),
            "pipeline": run.pipeline,
            "has_kohya": run.pipeline in KOHYA_FAMILIES,
            "recipe": run.recipe,
            "size": run.size,
            "subjects": " and ".join(run.triggers(written.word)),
            "noun": noun or "subject",
            "prompt": run.spoken(run.example, written.word),
            "prompts": [run.spoken(prompt, written.word) for prompt in run.prompts],
            "repository": self.repository or folder_name(self.command),
            "run": run,
            "samples": pictures,
            "sampler": run.sampler,
            "guidance": run.backbone.diffusers_guidance(run.sampler.guidance),
            "trained": run.trained,
            "version": __version__,
            "word": written.word,
            "written": written,
        }
        environment = Environment(
            loader=PackageLoader("idgen.export"),
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
        )
        text = environment.get_template("card.md").render(**content)
        atomic_write(folder / CARD, re.sub(r"\n{3,}", "\n\n", text).encode())

    def _write_samples(self, folder: Path) -> list[tuple[str, str]]:
        """Pictures of the drawings and a grid of them; returns prompts with files."""
        found = []
        for number, sample in enumerate(self.samples):
            name = f"images/{number:02d}-{slug(sample.prompt)[:60]}.png"
            save_png(sample.image, folder / name)
            found.append((printable(sample.prompt), name))
        if self.samples:
            rows = [PromptRow(sample.prompt, [sample.image], "") for sample in self.samples]
            save_png(captioned_grid(rows, "drawn by idgen", []), folder / GRID)
        return found

    def _metadata(
        self, run: ExportedRun, written: Written, pictures: list[tuple[str, str]]
    ) -> dict[str, Any]:
        """What the hub reads at the head of a card."""
        kind = self.form.name
        base: dict[str, Any] = {}
        if self.base.hub_id is not None:
            relation = _RELATION.get(kind, "adapter")
            base = {"base_model": self.base.hub_id, "base_model_relation": relation}
        widget = [{"text": prompt, "output": {"url": name}} for prompt, name in pictures]
        is_sd = isinstance(run.backbone, StableDiffusionBackbone)
        family = ["stable-diffusion"] if is_sd else []
        return {
            **base,
            "library_name": "diffusers",
            "pipeline_tag": "text-to-image",
            "license": self.base.licence or "other",
            "tags": ["text-to-image", *family, *_TAGS.get(kind, []), "idgen"],
            "instance_prompt": run.spoken(run.example, written.word),
            **({"widget": widget} if widget else {}),
            KEY: note_for(run, self.form.name, written.word).as_plain(),
        }


def _labelled(evidence: Evidence | None) -> dict[str, float]:
    """Scores by the names that people know them by."""
    scores = {} if evidence is None else evidence.scores
    return {SCORES[name]: value for name, value in scores.items()}


def folder_name(command: str) -> str:
    """The output folder in a command."""
    found = re.search(r"--output[ =](\S+)", command)
    return found[1] if found is not None else "."


def _as_yaml(metadata: dict[str, Any]) -> str:
    text: str = yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=9999)
    return text


def _files(folder: Path, written: Written) -> dict[str, str | None]:
    """Names of the written files by what loads them, None where there is none."""
    paths = {kind: getattr(written, kind) for kind in ("lora", "embedding", "embeds")}
    return {
        kind: None if path is None else path.relative_to(folder).as_posix()
        for kind, path in paths.items()
    }


def without_places(value: Any, key: str = "") -> Any:
    """A config in which folders of this machine are names alone, for others to read.

    Args:
        value: The config, or a part of it.
        key: The part's key.
    """
    if isinstance(value, dict):
        return {name: without_places(inner, name) for name, inner in value.items()}
    if isinstance(value, list):
        return [without_places(inner) for inner in value]
    if key == "prepared":
        return None
    if isinstance(value, str):
        scheme, _, path = value.rpartition(":")
        if path.startswith(("/", "~")):
            return f"{scheme}:{Path(path).name}" if scheme else Path(path).name
    return value
