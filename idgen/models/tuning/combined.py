"""Several tunings at once."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from idgen.backbones.backbone import Backbone
from idgen.backbones.text import SubjectWords
from idgen.errors import UserError
from idgen.models.tuning.tuning import Tuning


class CombinedTuning(Tuning):
    """Attaches tunings one after the other, such as Custom Diffusion's layers and token."""

    def __init__(self, parts: list[Tuning]) -> None:
        """Takes the tunings.

        Args:
            parts: At least one. No layer may be meant by two of them.

        Raises:
            UserError: If there is none.
        """
        if not parts:
            raise UserError("CombinedTuning.parts is empty; name at least one tuning")
        self.parts = parts

    @property
    def trains_text(self) -> bool:
        """Whether any of them gives f_s a gradient."""
        return any(part.trains_text for part in self.parts)

    @property
    def name(self) -> str:
        """Their names, in order."""
        return " + ".join(part.name for part in self.parts)

    @property
    def definition(self) -> dict[str, Any]:
        """Theirs, each key after its place among the parts."""
        return {
            f"parts.{index}.{key}": value
            for index, part in enumerate(self.parts)
            for key, value in part.definition.items()
        }

    @property
    def can_be_off(self) -> bool:
        """Whether all of them can."""
        return all(part.can_be_off for part in self.parts)

    @contextmanager
    def off(self, backbone: Backbone) -> Iterator[None]:
        """Switches all of them off."""
        with ExitStack() as stack:
            for part in self.parts:
                stack.enter_context(part.off(backbone))
            yield

    @contextmanager
    def folded(self, backbone: Backbone) -> Iterator[None]:
        """Folds what each of them adds."""
        with ExitStack() as stack:
            for part in self.parts:
                stack.enter_context(part.folded(backbone))
            yield

    @contextmanager
    def keeping_folds(self) -> Iterator[None]:
        """Keeps what each of them folded."""
        with ExitStack() as stack:
            for part in self.parts:
                stack.enter_context(part.keeping_folds())
            yield

    def words(self, subject: SubjectWords) -> tuple[str, ...]:
        """Theirs."""
        return tuple(word for part in self.parts for word in part.words(subject))

    def attach(self, backbone: Backbone, words: SubjectWords) -> None:
        """Attaches them in order."""
        for part in self.parts:
            part.attach(backbone, words)
