"""A trained run, as the formats of exports see it."""

import copy
import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from idgen.backbones.pipeline import PipelineBackbone
from idgen.backbones.stable_diffusion import StableDiffusionBackbone
from idgen.backbones.text import TextStates
from idgen.data.cast import Cast
from idgen.errors import UserError
from idgen.export.kohya_names import KOHYA_FAMILIES
from idgen.export.recipe import Recipe
from idgen.export.trained_views import TrainedViews
from idgen.export.updates import TrainedParts
from idgen.models.decoupling import PhotoFeatures
from idgen.module import PersonalizationModule
from idgen.placeholders import FIRST, PLACEHOLDER, SECOND
from idgen.sampling import DrawingRequest, Sampler, drawing_noise
from idgen.sources import is_mini_backbone, local_folder


@dataclass(frozen=True)
class Reference:
    """A photo whose scene and pose are kept.

    Attributes:
        features: Its features, `1 D` each.
        weight: How much of it, 1 as much as in training.
    """

    features: PhotoFeatures
    weight: float


@dataclass(frozen=True)
class ExportedRun:
    """A module with its trained weights, and what is to be drawn to compare.

    Attributes:
        module: Its weights loaded, in float32, frozen weights included.
        step: Steps that it was trained for.
        prompts: With [V] in them; the first is drawn to compare.
        cast: Who is named in prompts.
        views: The sizes of what it was trained on.
        seed: Of the drawings.
        reference: A photo that the prompts keep; None for prompts alone.
    """

    module: PersonalizationModule
    step: int
    prompts: tuple[str, ...]
    cast: Cast
    views: TrainedViews
    seed: int = 0
    reference: Reference | None = None

    @property
    def backbone(self) -> PipelineBackbone:
        """Its backbone; `check_family` has refused others."""
        backbone = self.module.backbone
        assert isinstance(backbone, PipelineBackbone)
        return backbone

    @property
    def pipeline(self) -> str:
        """Diffusers' class of pipelines that draw from an export."""
        if isinstance(self.backbone, StableDiffusionBackbone):
            return "StableDiffusionPipeline"
        return self.backbone.pipeline.kind

    @property
    def left_out(self) -> tuple[str, ...]:
        """Parts of the pipeline that its settings do without, such as T5 and its tokenizer."""
        backbone = self.backbone
        used = {*backbone.parts, *backbone.tokenizer_parts}
        return tuple(p for p in (*backbone.networks, *backbone.tokenizer_kinds) if p not in used)

    @cached_property
    def trained(self) -> TrainedParts:
        """What training changed inside the backbone."""
        return TrainedParts.of(self.backbone, self.module.words.token)

    @property
    def name(self) -> str:
        """A name for files, of the token and the class noun."""
        return slug(" ".join(self.triggers(self.cast.first.token)))

    @cached_property
    def sampler(self) -> Sampler:
        """The run's; with guidance 1 where it has less, which diffusers takes for none at all."""
        sampler = copy.copy(self.module.sampler)
        sampler.guidance = max(sampler.guidance, 1.0)
        return sampler

    @property
    def recipe(self) -> Recipe:
        """How other tools draw as it does."""
        return Recipe.of(self.sampler, self.backbone.process)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of its drawings in pixels."""
        return self.sampler.size or (self.backbone.resolution, self.backbone.resolution)

    @property
    def base(self) -> str | None:
        """The base model if it has a name for everybody: `mini`, or a hub id."""
        source = self.backbone.source
        return source if is_mini_backbone(source) or local_folder(source) is None else None

    @property
    def example(self) -> str:
        """The plainest prompt that names everybody."""
        nouns = [subject.class_noun for subject in self.cast.subjects]
        if len(nouns) == 1:
            return f"a photo of a {PLACEHOLDER} {nouns[0]}".strip()
        return f"a photo of a {FIRST} {nouns[0]} and a {SECOND} {nouns[1]}"

    def spoken(self, prompt: str, word: str | None = None) -> str:
        """A prompt as it is read.

        Args:
            prompt: With [V] in it.
            word: What stands for the subject, the first of two; None for its token.
        """
        first = self.cast.first if word is None else replace(self.cast.first, token=word)
        return Cast(first, self.cast.second).read(prompt).spoken

    def triggers(self, word: str) -> tuple[str, ...]:
        """What calls up each subject, such as `sks dog`.

        Args:
            word: What stands for the first one.
        """
        words = (word, *(subject.token for subject in self.cast.subjects[1:]))
        each = zip(words, self.cast.subjects, strict=True)
        return tuple(f"{one} {subject.class_noun}".strip() for one, subject in each)

    @property
    def device(self) -> torch.device:
        """Where it draws."""
        return self.backbone.device

    @property
    def word(self) -> str:
        """What stands for the subject where a learnt token is added to another vocabulary."""
        learnt = self.trained.word
        return self.module.words.token if learnt is None else learnt.exported

    def conditions(self, prompts: Sequence[str]) -> TextStates:
        """What the denoiser takes for prompts with [V]: states `B N D`."""
        text = self.backbone.encode([self.spoken(prompt) for prompt in prompts])
        if self.reference is None:
            return self.module.conditioning.infer(text)
        return self.module.conditioning.infer(text, self._kept(), self.reference.weight)

    def request(self, number: int = 0) -> DrawingRequest:
        """The drawing of a prompt, by its number; the first is compared."""
        spoken, plain = self.cast.read(self.prompts[number])
        return DrawingRequest(spoken, plain, number, 0, self.seed)

    def noise(self) -> Tensor:
        """What the first drawing starts from, and what each step adds where it does, `S C h w`."""
        shape = self.backbone.latent_shape_of(*self.size)
        sampler, process = self.sampler, self.backbone.process_of(shape)
        solver = process.solver(sampler.steps, sampler.stochastic, sampler.solver)
        steps = len(solver.times) if sampler.stochastic else 0
        request = self.request()
        return torch.stack([drawing_noise(request, shape, step) for step in range(steps + 1)])

    def draw(self, number: int = 0) -> Tensor:
        """Idgen's own drawing of a prompt, `3 H W` uint8.

        Raises:
            UserError: If what comes out is no picture, as of a run that diverged.
        """
        features, weight = None, 0.0
        if self.reference is not None:
            features, weight = self._kept(), self.reference.weight
        module, requests = self.module, [self.request(number)]
        drawn = self.sampler.draw(
            self.backbone, module.conditioning, requests, self.device, features, weight
        )
        if not drawn.finite:
            raise UserError(
                "CKPT: it draws nothing that is finite, as a run does that diverged; take an "
                "earlier checkpoint, or train again with a lower lr"
            )
        return drawn.images[0]

    def sample(self, number: int) -> tuple[str, Tensor]:
        """A prompt as others read it, and idgen's drawing of it."""
        return self.spoken(self.prompts[number], self.word), self.draw(number)

    def _kept(self) -> PhotoFeatures:
        assert self.reference is not None
        return PhotoFeatures(*(part.to(self.device) for part in self.reference.features))

    @torch.no_grad()
    def round_trained(self, dtype: torch.dtype) -> None:
        """Rounds what was trained as a file of that type does, so that the drawing shows it.

        Of a layer that was trained in full, files hold what was added to it, which is rounded.

        Args:
            dtype: Of the file.
        """
        if dtype == torch.float32:
            return
        weights = dict(self.module.named_parameters())
        for part, updates in self.trained.networks.items():
            changed = updates.replaced
            plain = dict(self.plain_network(part).named_parameters()) if changed else {}
            for name in changed:
                weight = weights.pop(f"backbone.{part}.{name}")
                before = plain[name].detach().to(weight.device)
                weight.copy_(before + (weight - before).to(dtype).float())
        for name, weight in weights.items():
            if name in self.module.trained_shapes:
                weight.copy_(weight.to(dtype).float())
        self.__dict__.pop("trained", None)

    def plain_network(self, part: str) -> nn.Module:
        """A network as it was before training, loaded anew in float32.

        Args:
            part: Its folder, such as `unet`.
        """
        network: nn.Module = self.backbone.pipeline.load(part, torch.float32)
        return network


def slug(text: str) -> str:
    """Letters, digits and underscores of a text, for names of files."""
    return re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_").lower() or "subject"


def check_family(module: PersonalizationModule, name: str) -> None:
    """Refuses backbones that a format does not know.

    Args:
        module: Light or loaded.
        name: The format's.

    Raises:
        UserError: If it does not: of families beside Stable Diffusion 1.x and 2.x, LoRA alone is
            made, for diffusers where it has a loader, as kohya's files where their names are known.
    """
    backbone: Any = module.backbone
    if isinstance(backbone, StableDiffusionBackbone):
        return
    kind = type(backbone).__name__
    if not isinstance(backbone, PipelineBackbone) or not _lora_arguments(backbone):
        raise UserError(
            f"CKPT: its backbone is a {kind}, for which no format is known; draw with idgen sample"
        )
    if name == "kohya" and backbone.pipeline.kind not in KOHYA_FAMILIES:
        raise UserError(
            f"CKPT: its backbone is a {kind}; --format kohya writes files for Stable Diffusion "
            "1.x, 2.x, XL and FLUX.1 alone: of others idgen knows no names of kohya's that it "
            "could compare; take --format diffusers"
        )
    if name not in ("diffusers", "kohya"):
        raise UserError(
            f"CKPT: its backbone is a {kind}; --format {name} is for Stable Diffusion 1.x and 2.x, "
            "take --format diffusers"
        )


def check_loadable(module: PersonalizationModule) -> None:
    """Refuses what diffusers' loaders of a family do not take.

    Raises:
        UserError: If a text encoder was trained for which there is no LoRA, or a word of several
            text encoders.
    """
    backbone: Any = module.backbone
    if isinstance(backbone, StableDiffusionBackbone):
        return
    kind = type(backbone).__name__
    if module.tuning.words(module.words):
        raise UserError(
            f"CKPT: it learnt a word in each text encoder of a {kind}, which no format holds; draw "
            "with idgen sample"
        )
    known = _lora_arguments(backbone)
    for name in module.trained_shapes:
        part = name.removeprefix("backbone.").partition(".")[0]
        if name.startswith("backbone.") and f"{part}_lora_layers" not in known:
            raise UserError(
                f"CKPT: it trained {part}, for which diffusers' {backbone.pipeline.kind} loads no "
                "LoRA; draw with idgen sample"
            )


def _lora_arguments(backbone: PipelineBackbone) -> set[str]:
    """What diffusers saves of the LoRA of a pipeline, by the names of its arguments."""
    import diffusers

    save = getattr(getattr(diffusers, backbone.pipeline.kind, None), "save_lora_weights", None)
    return set() if save is None else set(inspect.signature(save).parameters)


def draws_by_prompt(module: PersonalizationModule) -> bool:
    """Whether the denoiser receives the text encoder's states as they are; no weights needed."""
    conditioning, width = module.conditioning, module.backbone.features.width
    held = next(conditioning.parameters(), torch.empty(0, device="meta"))
    states = torch.zeros(1, 4, width, device=held.device)
    mask = torch.ones(1, 4, dtype=torch.bool, device=held.device)
    return conditioning.infer(TextStates(states, mask)).states is states


def check_prompt_alone(module: PersonalizationModule, reference: bool, name: str) -> None:
    """Refuses what changes the text encoder's states on their way to the denoiser.

    Args:
        module: Light or loaded.
        reference: Whether a photo is to be kept.
        name: The format's.

    Raises:
        UserError: If something does; it names the formats that can hold it.
    """
    if reference:
        raise UserError(
            f"--reference: --format {name} cannot hold a photo's feature; take --format embeddings"
        )
    if not draws_by_prompt(module):
        raise UserError(
            f"CKPT: it draws with fusion at inference ({type(module.conditioning).__name__}), "
            f"which --format {name} cannot hold; take --format fusion, or --format embeddings"
        )
