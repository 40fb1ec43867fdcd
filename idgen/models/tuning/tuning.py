"""What every tuning is, and how it finds the layers that it is about."""

import copy
import re
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Size, nn

from idgen.backbones.backbone import Backbone
from idgen.backbones.text import SubjectWords
from idgen.errors import UserError


class Tuning(ABC):
    """Makes a small part of a frozen backbone trainable, in place.

    It declares what it needs before it is attached: the words that have to be tokens, and, on a
    copy of the networks that has no weights, what it will train.
    """

    def words(self, subject: SubjectWords) -> tuple[str, ...]:
        """Words that have to be tokens of their own before prompts are read.

        Args:
            subject: What stands for the subject in prompts.
        """
        return ()

    def declare(self, backbone: Backbone, words: SubjectWords) -> dict[str, Size]:
        """What it would train, by attaching a copy of itself to networks without weights.

        Args:
            backbone: Loaded or not; it stays as it is.
            words: What stands for the subject in prompts.

        Returns:
            The shape of each trained weight by its name in the backbone.

        Raises:
            UserError: If the backbone lacks what is to be trained.
        """
        skeleton = backbone.skeleton()
        copy.deepcopy(self).attach(skeleton, words)
        trained = ((n, p) for n, p in skeleton.named_parameters() if p.requires_grad)
        return {name: parameter.shape for name, parameter in trained}

    @abstractmethod
    def attach(self, backbone: Backbone, words: SubjectWords) -> None:
        """Adds trainable parameters, float32, to a loaded backbone; the rest stays as it is.

        Args:
            backbone: Loaded; frozen, but for what other tunings have made trainable.
            words: What stands for the subject in prompts.

        Raises:
            UserError: If the backbone lacks what is to be trained.
        """

    @property
    @abstractmethod
    def trains_text(self) -> bool:
        """Whether f_s gets a gradient."""

    @property
    def can_be_off(self) -> bool:
        """Whether `off` can give the frozen backbone back."""
        return False

    def off(self, backbone: Backbone) -> AbstractContextManager[None]:
        """The backbone as it was before, for prompts without the subject's token.

        Args:
            backbone: What was attached to.

        Raises:
            NotImplementedError: If `can_be_off` is false.
        """
        raise NotImplementedError(f"{self.name} overwrites what it trains")

    def folded(self, backbone: Backbone) -> AbstractContextManager[None]:
        """What it adds to frozen weights, laid into copies of them, for drawing alone.

        Afterwards the frozen weights are what they were, to the bit. Nothing is trained inside, and
        `off` is not used there.

        Args:
            backbone: What was attached to.
        """
        return nullcontext()

    def keeping_folds(self) -> AbstractContextManager[None]:
        """What `folded` made is kept until it ends, and used again while nothing has changed in it.

        It takes as much memory as inside of `folded`, for as long.
        """
        return nullcontext()

    @property
    def name(self) -> str:
        """What tells checkpoints of this tuning from others'."""
        return type(self).__name__

    @property
    def definition(self) -> dict[str, Any]:
        """Plain settings that tell methods apart where the shapes of weights do not."""
        return {}


def find_layers(module: nn.Module, targets: Sequence[str], parameter: str) -> list[nn.Module]:
    """The linear and convolution layers whose names end as one of the targets.

    Args:
        module: Where to look.
        targets: Ends of names, at a dot: `to_k` finds `attn1.to_k` and `attn2.to_k`, `attn2.to_k`
            the second alone.
        parameter: The parameter that named them, for the error.

    Raises:
        UserError: If there is no target, or one fits no layer or one of another kind or one that
            is trained already.
    """
    if not targets:
        raise UserError(f"{parameter} is empty; name layers, such as 'to_q' or 'to_out.0'")
    layers = dict(module.named_modules())
    matching: list[nn.Module] = []
    for target in targets:
        pattern = re.compile(rf"(^|\.){re.escape(target)}$")
        names = [name for name in layers if pattern.search(name)]
        found = [layers[name] for name in names]
        if not found:
            raise UserError(f"{parameter}: no layer of {type(module).__name__} ends in {target!r}")
        for name, layer in zip(names, found, strict=True):
            if any(parameter.requires_grad for parameter in layer.parameters()):
                raise UserError(
                    f"{parameter}: {target!r} means {name}, which another part of the tuning "
                    "trains already; leave it to one of them"
                )
        if not all(isinstance(layer, (nn.Linear, nn.Conv2d)) for layer in found):
            raise UserError(
                f"{parameter}: {target!r} is a {type(found[0]).__name__}; linear and convolution "
                "layers can be trained, such as 'to_q' or 'to_out.0'"
            )
        matching += found
    return matching
