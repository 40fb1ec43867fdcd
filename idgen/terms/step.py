"""A training step as terms see it: what it starts from, and the predictions that they ask for."""

from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor
from torch.nn.functional import pad

from idgen.backbones.backbone import Backbone
from idgen.backbones.text import SubjectWords, TextStates
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
        words: What stands for the subject in the prompts.
        scenes: The noised latents of scene images, None where there are none.
    """

    batch: SubjectBatch
    noised: NoisedLatents
    text: TextStates
    condition: Condition
    prior: NoisedLatents | None
    backbone: Backbone
    conditioning: Conditioning
    words: SubjectWords
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


Inputs = tuple[NoisedLatents, TextStates]
"""What the denoiser is given: noised latents and a condition."""


@dataclass(frozen=True)
class Asked:
    """A prediction that a term asks for.

    Attributes:
        name: What it is under, for people.
        inputs: What the denoiser is given in a step: noised latents and a condition.
        frozen: Whether the backbone is to predict as it was before its tuning, without gradients;
            it is untuned already when `inputs` is called.
        attention: None for what the denoiser predicts. A number r for where it looks for the
            subject's word in the batch's prompts, a map `B h/r w/r`; see
            `Backbone.predict_attending`.
    """

    name: str
    inputs: Callable[[Step], Inputs]
    frozen: bool = False
    attention: int | None = None


def _of_class_images(step: Step) -> Inputs:
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
        `B C h w` for each, or its map of attention.
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


def _predict_together(step: Step, asked: Sequence[Asked]) -> dict[Asked, Tensor]:
    inputs: dict[Callable[[Step], Inputs], Inputs] = {}
    groups: dict[tuple[torch.Size, ...], dict[tuple[int, ...], list[Asked]]] = {}
    for one in asked:
        if one.inputs not in inputs:
            noised, condition = one.inputs(step)
            if len(condition.states) == 1:
                condition = condition.rows([0] * len(noised.noisy))
            inputs[one.inputs] = noised, condition
        noised, condition = inputs[one.inputs]
        shapes = (noised.noisy.shape[1:], condition.states.shape[1:])
        same = (id(noised.noisy), id(condition.states), id(condition.pooled))
        groups.setdefault(shapes, {}).setdefault(same, []).append(one)
    found: dict[Asked, Tensor] = {}
    for group in groups.values():
        parts = [(inputs[alike[0].inputs], alike) for alike in group.values()]
        found |= _predict_group(step, parts)
    return found


def _predict_group(
    step: Step, parts: Sequence[tuple[Inputs, Sequence[Asked]]]
) -> dict[Asked, Tensor]:
    """One call of the denoiser on inputs of one shape, each with what is asked of it."""
    latents = [noised for (noised, _), _ in parts]
    first, *others = (condition for (_, condition), _ in parts)
    noisy = torch.cat([noised.noisy for noised in latents])
    times = torch.cat([noised.times for noised in latents])
    condition = _framed(first, latents[0]).then(
        *(_framed(other, noised) for other, noised in zip(others, latents[1:], strict=True))
    )
    asked = [one.attention for _, alike in parts for one in alike]
    reductions = sorted({reduction for reduction in asked if reduction is not None})
    maps: dict[int, Tensor] = {}
    if reductions:
        places = torch.cat([_places(step, text, alike) for (_, text), alike in parts])
        attending = step.backbone.predict_attending
        prediction, maps = attending(noisy, times, condition, places, reductions)
    else:
        prediction = step.backbone.predict(noisy, times, condition)
    sizes = [len(noised.noisy) for noised in latents]
    predicted = torch.split(prediction, sizes)
    looked = {reduction: torch.split(found, sizes) for reduction, found in maps.items()}
    return {
        one: (predicted if one.attention is None else looked[one.attention])[at]
        for at, (_, alike) in enumerate(parts)
        for one in alike
    }


def _framed(condition: TextStates, noised: NoisedLatents) -> TextStates:
    """The condition, with which part of which picture the latents are."""
    if noised.framing is None:
        return condition
    return condition._replace(framing=noised.framing)


def _places(step: Step, condition: TextStates, asked: Sequence[Asked]) -> Tensor:
    """Where the subject's word is among the states, `B N` bool; nowhere if nobody asks."""
    rows, length = condition.states.shape[:2]
    if all(one.attention is None for one in asked):
        return torch.zeros(rows, length, dtype=torch.bool)
    places = step.backbone.word_places(step.batch.prompts, step.words.token)
    # A conditioning may have put tokens of its own behind the prompt's.
    return pad(places, (0, length - places.shape[1]))
