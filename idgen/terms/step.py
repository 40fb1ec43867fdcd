"""A training step as terms see it: what it starts from, and the predictions that they ask for."""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from idgen.backbones.backbone import Backbone
from idgen.backbones.text import TextStates
from idgen.data.batch import SubjectBatch
from idgen.errors import UserError
from idgen.models.conditioning import Condition, Conditioning
from idgen.processes import NoisedLatents


@dataclass(frozen=True)
class Step:
    """What a training step starts from.

    Attributes:
        batch: Latents, masks and features of photos.
        noised: Their noised latents.
        text: f_s of their prompts, `B N D`.
        condition: f_r, f_i and f'_i.
        prior: The noised latents of class images, None where there are none.
        backbone: Predicts.
        conditioning: The method's way from features to condition.
        scenes: The noised latents of scene images, None where there are none.
    """

    batch: SubjectBatch
    noised: NoisedLatents
    text: TextStates
    condition: Condition
    prior: NoisedLatents | None
    backbone: Backbone
    conditioning: Conditioning
    scenes: NoisedLatents | None = None

    @cached_property
    def text_mean(self) -> Tensor:
        """f_s pooled over its real tokens, `B D`."""
        return self.text.mean()

    @cached_property
    def scene_condition(self) -> Condition:
        """The condition of the scene images: their prompt, which names no scene, with their f'_i.

        Raises:
            UserError: If there are none.
        """
        batch = self.batch.scenes
        if batch is None:
            raise UserError("terms: the scene images' loss needs them: set data.scenes")
        text = self.backbone.encode(batch.prompts)
        condition: Condition = self.conditioning(text, batch.features)
        return condition


@dataclass(frozen=True)
class Asked:
    """A prediction that a term asks for.

    Attributes:
        name: What it is under, for people.
        inputs: What the denoiser is given in a step: noised latents and a condition.
        frozen: Whether the backbone is to predict as it was before its tuning, without gradients;
            it is untuned already when `inputs` is called.
    """

    name: str
    inputs: Callable[[Step], tuple[NoisedLatents, TextStates]]
    frozen: bool = False


def _of_class_images(step: Step) -> tuple[NoisedLatents, TextStates]:
    batch = step.batch.prior
    if batch is None or step.prior is None:
        raise UserError("terms: the prior's loss needs class images: set data.prior")
    return step.prior, step.conditioning.infer(step.backbone.encode(batch.prompts))


def _of_scene_images(step: Step) -> tuple[NoisedLatents, TextStates]:
    refined = step.scene_condition.refined
    assert step.scenes is not None, "the condition has refused a step without scene images"
    return step.scenes, refined


REFINED = Asked("f_r", lambda step: (step.noised, step.condition.refined))
TEXT = Asked("f_s alone", lambda step: (step.noised, step.conditioning.infer(step.text)))
FROZEN = Asked(
    "the frozen backbone's f_s of the prompt without [V]",
    lambda step: (step.noised, step.backbone.encode(step.batch.class_prompts)),
    frozen=True,
)
PRIOR = Asked("the class images' prompt", _of_class_images)
SCENES = Asked("the scene images' f_r", _of_scene_images)


def predict(step: Step, asked: Iterable[Asked]) -> dict[Asked, Tensor]:
    """Makes all predictions in as few calls of the denoiser as fit.

    One call for all that have gradients and one for all that have none, as long as shapes are
    alike; what is asked for twice is predicted once. One call is faster than several, and keeps
    as much for the backward pass: `tools/benchmark_step.py`.

    Args:
        step: What the step starts from.
        asked: What the terms need, in order.

    Returns:
        `B C h w` for each.
    """
    wanted = list(dict.fromkeys(asked))
    found: dict[Asked, Tensor] = {}
    for frozen in (False, True):
        some = [one for one in wanted if one.frozen is frozen]
        with ExitStack() as stack:
            if frozen and some:
                stack.enter_context(torch.no_grad())
                stack.enter_context(step.backbone.untuned())
            found |= _predict_together(step, some)
    return found


def _predict_together(step: Step, asked: Iterable[Asked]) -> dict[Asked, Tensor]:
    inputs = {one: one.inputs(step) for one in asked}
    groups: dict[tuple[torch.Size, ...], dict[tuple[int, ...], list[Asked]]] = {}
    for one, (noised, condition) in inputs.items():
        if len(condition.states) == 1:
            condition = condition.rows([0] * len(noised.noisy))
            inputs[one] = noised, condition
        shapes = (noised.noisy.shape[1:], condition.states.shape[1:])
        same = (id(noised.noisy), id(condition.states), id(condition.pooled))
        groups.setdefault(shapes, {}).setdefault(same, []).append(one)
    found: dict[Asked, Tensor] = {}
    for group in groups.values():
        each = [inputs[alike[0]] for alike in group.values()]
        first, *others = (condition for _, condition in each)
        prediction = step.backbone.predict(
            torch.cat([noised.noisy for noised, _ in each]),
            torch.cat([noised.times for noised, _ in each]),
            first.then(*others),
        )
        parts = torch.split(prediction, [len(noised.noisy) for noised, _ in each])
        for alike, part in zip(group.values(), parts, strict=True):
            found |= dict.fromkeys(alike, part)
    return found
