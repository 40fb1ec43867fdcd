"""Everything that is looked at, in order: what is cheap first."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from jsonargparse import Namespace

from idgen.data.datamodule import SubjectDataModule
from idgen.doctor.finding import Findings, State
from idgen.doctor.prediction import better_prediction, prediction_errors
from idgen.doctor.saving import count_step, savings
from idgen.doctor.surroundings import in_words, look_at_devices, look_at_versions, memory_there
from idgen.doctor.trial import STEPS, try_training
from idgen.errors import UserError, first_line
from idgen.files import check_writable
from idgen.module import PersonalizationModule
from idgen.prepare import PreparedSubject
from idgen.prepare.store import CONTACT_PAGE
from idgen.prepare.subject import pick
from idgen.processes import VariancePreserving
from idgen.runs.freezing import BuiltRun, ConfigReader
from idgen.runs.keys import with_key
from idgen.runs.sharding import is_sharded

_FEW_PHOTOS = 3


def examine(configs: Sequence[str], settings: Mapping[str, Any], trial: bool = True) -> Findings:
    """Looks at a set-up.

    Args:
        configs: YAML files; later ones win.
        settings: Dotted keys and their values, over the files.
        trial: Whether training is tried for some steps.
    """
    findings = Findings()
    look_at_versions(findings)
    look_at_devices(findings)
    reader = ConfigReader()
    try:
        built = reader.build(reader.read(configs, settings))
    except UserError as error:
        findings.add("config", str(error), State.fails)
        return findings
    Examination(built, findings, reader).run(trial)
    return findings


@dataclass(frozen=True)
class Examination:
    """Of a run whose parts could be built.

    Attributes:
        built: Its parts, light.
        findings: What is found.
        reader: Builds parts.
    """

    built: BuiltRun
    findings: Findings
    reader: ConfigReader

    @property
    def module(self) -> PersonalizationModule:
        """Its module."""
        module: PersonalizationModule = self.built.parts.model
        return module

    @property
    def data(self) -> SubjectDataModule:
        """Its data."""
        data: SubjectDataModule = self.built.parts.data
        return data

    @property
    def config(self) -> Namespace:
        """Its config."""
        return self.built.config

    def run(self, trial: bool) -> None:
        """Looks at everything; tries training only where nothing fails before."""
        self._device()
        self._folders()
        self._models()
        self._prediction_type()
        self._photos()
        self._prepared()
        self._the_rest()
        self._memory()
        why = "mend what fails first" if self.findings.failed else None if trial else "left out"
        why = why or self._too_large_unsplit()
        if why is not None:
            self.findings.add("training", why, State.skipped)
            return
        self._trial()

    def _reword(self, error: UserError) -> UserError:
        return with_key(error, self.config)

    def _device(self) -> None:
        wanted = str(self.config.trainer.accelerator)
        if wanted in ("gpu", "cuda") and not torch.cuda.is_available():
            says = "there is no GPU that torch can use; take cpu or auto"
            self.findings.add("device", f"--trainer.accelerator: {wanted}: {says}", State.fails)

    def _folders(self) -> None:
        root = Path(self.config.trainer.default_root_dir or "runs/default").expanduser()
        with self.findings.of("folders", self._reword):
            check_writable(root, "--trainer.default_root_dir")
            check_writable(self.data.subject.prepared_folder, "--data.subject.prepared")
            self.findings.add("folders", f"{root} can be written")

    def _models(self) -> None:
        preparation, fidelity = self.data.preparation, self.built.parts.fidelity
        backbone = self.module.backbone
        segmenter = preparation.segmenter_for(backbone)
        parts = {
            "backbone": (backbone.source, backbone.check),
            "image encoder": (preparation.image_encoder.model, preparation.image_encoder.fetch),
            "segmenter": (type(segmenter).__name__, lambda: segmenter.identity),
            "inpainter": (
                type(preparation.inpainter_for(backbone)).__name__,
                lambda: preparation.inpainter_for(backbone).identity,
            ),
            "scores": (f"{fidelity.clip.model}, {fidelity.dino.model}", fidelity.check),
        }
        if (captioner := preparation.captioner) is not None:
            parts["captioner"] = (type(captioner).__name__, captioner.fetch)
        for what, (name, check) in parts.items():
            with self.findings.of(what, self._reword):
                check()
                self.findings.add(what, f"{name} is there")
        with self.findings.of("image encoder", self._reword):
            self.module.check_features(preparation.image_encoder.width)

    def _prediction_type(self) -> None:
        process = self.module.backbone.process
        says = type(process).__name__
        if isinstance(process, VariancePreserving):
            says = process.prediction.value
        self.findings.add("prediction", f"{says}, as the scheduler's configuration says")

    def _photos(self) -> None:
        with self.findings.of("photos", self._reword):
            photos = self.data.photos
            self.data.check()
            few = len(photos) < _FEW_PHOTOS
            says = f"{len(photos)} in {self.data.subject.photos_folder}"
            hint = f"{says}; {_FEW_PHOTOS} to 6 teach a subject better" if few else says
            self.findings.add("photos", hint, State.note if few else State.fine)
            least = self.data.preparation.resolution or self.module.backbone.resolution
            small = [photo.name for photo in photos if min(photo.size()) < least]
            if small:
                self.findings.add(
                    "photos", f"{len(small)} are below {least} pixels, first {small[0]}", State.note
                )

    def _prepared(self) -> None:
        needed = ("photos", "segmenter", "inpainter", "backbone", "image encoder", "captioner")
        if any(finding.what in needed for finding in self.findings.failed):
            return
        data, folder = self.data, self.data.subject.prepared_folder
        with self.findings.of("prepared subject", self._reword):
            lacking = data.preparation.plan(
                data.subject.photos_folder, folder, self.module.backbone
            )
            if lacking:
                says = f"{folder} lacks {len(lacking)} files, first {lacking[0]}"
                hint = f"{says}; fit makes them, or idgen prepare does"
                self.findings.add("prepared subject", hint, State.note)
                return
            self.findings.add("prepared subject", f"{folder} is complete")
            for photo in PreparedSubject(folder).photos:
                for warning in photo.warnings:
                    self.findings.add("masks", f"{photo.name}: {warning}", State.note)
            if any(finding.what == "masks" for finding in self.findings.lines):
                self.findings.add("masks", f"look at {folder / CONTACT_PAGE}", State.note)

    def _the_rest(self) -> None:
        """Whatever else fit refuses, once nothing is in the way of looking."""
        if self.findings.failed:
            return
        try:
            self.built.check()
        except UserError as error:
            self.findings.add("config", str(error), State.fails)
        except ImportError as error:
            self.findings.add("config", f"{first_line(error)}: install it", State.fails)

    @property
    def _training_device(self) -> torch.device:
        if str(self.config.trainer.accelerator) != "cpu" and torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("cpu")

    def _memory(self) -> None:
        if self.findings.failed:
            return
        device = self._training_device
        needed = count_step(self.config, self.reader.build, device)
        there = memory_there(device)
        says = (
            f"{in_words(needed.total)} for a training step, counted: {in_words(needed.frozen)} "
            f"frozen weights, {in_words(needed.trained)} for what is trained, "
            f"{in_words(needed.activations)} for the passes"
        )
        if there is None:
            self.findings.add("memory", f"{says}; how much is free is not known", State.note)
        elif needed.total > there:
            helps = map(str, savings(self.config, self.reader.build, device))
            mend = ", ".join(helps) or "take a smaller backbone"
            more = f"{says}; {in_words(there)} are free: {mend}"
            self.findings.add("memory", more, State.fails)
        else:
            self.findings.add("memory", f"{says}; {in_words(there)} are free")

    def _too_large_unsplit(self) -> str | None:
        """Why training is not tried, which one process does: it would hold all that a run splits.

        None where it can be tried.
        """
        if not is_sharded(self.built.parts.trainer.get("strategy")):
            return None
        device = self._training_device
        whole = {"trainer.strategy": "auto"}
        needed = count_step(self.config, self.reader.build, device, whole).total
        there = memory_there(device)
        if there is None or needed <= there:
            return None
        return (
            f"left out: it would be tried in one process, where a step needs {in_words(needed)}, "
            f"and {in_words(there)} are free"
        )

    def _trial(self) -> None:
        with self.findings.of("training", self._reword):
            trial = try_training(self.module, self.data, self.config.trainer)
            peak = "" if trial.peak is None else f", {in_words(trial.peak)} of its memory at most"
            where = trial.device.type
            says = f"{trial.seconds:.2f} s a step on the {where}, of {STEPS} steps{peak}"
            self.findings.add("training", says)
            if trial.moved > 0:
                says = f"changes what the model predicts for [V] by {trial.moved:.2g} after them"
                self.findings.add("tuning", says)
            else:
                says = (
                    f"{STEPS} steps change nothing of what the model predicts for [V]; raise the "
                    "optimizer's lr, and see that the terms reach what is trained"
                )
                self.findings.add("tuning", says, State.fails)
            self._measure_prediction(trial.device)

    def _measure_prediction(self, device: torch.device) -> None:
        """Compares what the frozen model predicts of the photos with what it says it does."""
        backbone, subject = self.module.backbone, self.data.subject
        if not isinstance(backbone.process, VariancePreserving):
            return
        try:
            views = PreparedSubject(subject.prepared_folder).load_views()
        except UserError:
            says = "whether it is right is seen once the photos are prepared"
            self.findings.add("prediction", says, State.skipped)
            return
        own = [
            at for at, mean in enumerate(views.latent_mean) if mean.shape == backbone.latent_shape
        ]
        if not own:
            return
        latents = backbone.scale_latents(pick(views.latent_mean, own[:4]).to(device))
        errors = prediction_errors(backbone, latents, f"a photo of a {subject.class_noun}")
        other = better_prediction(backbone, errors)
        told = ", ".join(f"{kind.value} {error:.3f}" for kind, error in errors.items())
        if other is None:
            self.findings.add("prediction", f"it is right: errors on the photos {told}")
        else:
            self.findings.add(
                "prediction",
                f"the model predicts {other.value} (errors on the photos {told}); set "
                f"prediction_type in scheduler/scheduler_config.json of {backbone.source}",
                State.fails,
            )
