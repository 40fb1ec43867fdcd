"""The passes that a method makes, and nothing else: what no framework could do without."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from idgen.backbones.backbone import Backbone
from idgen.backbones.frozen_text import FrozenTextBackbone
from idgen.backbones.text import TextStates, TextTokens
from idgen.data.batch import SubjectBatch
from idgen.errors import UserError
from idgen.losses import denoising_loss
from idgen.module import PersonalizationModule
from idgen.optimization import in_one_pass
from idgen.processes import NoisedLatents
from idgen.terms.step import FROZEN, REFINED, TEXT, Asked


class BareStep:
    """Text, condition, one call of the denoiser, one of the frozen one, backward, optimizer.

    All that does not change from step to step is made before: tokens, noise, times, the frozen
    text states, the frozen denoiser.
    """

    def __init__(
        self, module: PersonalizationModule, batch: SubjectBatch, compiled: bool = False
    ) -> None:
        """Makes what does not change.

        Args:
            module: Loaded, with its tuning; the step trains its weights.
            batch: On the module's device; each step is about it.
            compiled: Whether the module's denoiser is compiled; the frozen one then is as well.
        """
        backbone = module.backbone
        self._module, self._batch = module, batch
        self._asked = asked_by(module)
        self._noised = fixed_noise(backbone, batch)
        each = list(dict.fromkeys(batch.prompts))
        self._tokens: TextTokens = backbone.tokenize(each).to(backbone.device)
        self._rows = [each.index(prompt) for prompt in batch.prompts]
        self._reader = reader(backbone)
        self._frozen, self._frozen_text = frozen_twin(backbone, batch.class_prompts)
        if compiled:
            self._frozen.denoiser.compile(dynamic=False)
        self.optimizer = in_one_pass(module.optimization.optimizer(trained_by(module)))

    def __call__(self) -> None:
        """One step."""
        backbone, conditioning = self._module.backbone, self._module.conditioning
        noised = self._noised
        text = self._reader.encode_text(self._tokens).rows(self._rows)
        shown = None if self._batch.photos is None else self._batch.photos.numbers
        conditions: list[TextStates] = []
        if REFINED in self._asked:
            conditions.append(conditioning.of_photos(text, self._batch.features, shown).refined)
        if TEXT in self._asked:
            conditions.append(conditioning.infer(text))
        count = len(conditions)
        first, *others = conditions
        noisy, times = torch.cat([noised.noisy] * count), torch.cat([noised.times] * count)
        predictions = backbone.predict(noisy, times, first.then(*others)).chunk(count)
        losses = [denoising_loss(p, noised.target, noised.weight) for p in predictions]
        if FROZEN in self._asked:
            with torch.no_grad():
                kept = self._frozen.predict(noised.noisy, noised.times, self._frozen_text)
            beside = 1 - self._batch.subject_mask
            losses.append(denoising_loss(predictions[-1], kept, noised.weight, beside))
        total: Tensor = torch.stack(losses).sum()
        total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad()


def asked_by(module: PersonalizationModule) -> Sequence[Asked]:
    """What the method's terms ask of the denoiser, each once.

    Raises:
        UserError: If it is something that this benchmark does not know.
    """
    terms = module.objective.terms
    asked = list(dict.fromkeys(one for term in terms.values() for one in term.asks))
    for name, term in terms.items():
        if not set(term.asks) <= {REFINED, TEXT, FROZEN}:
            raise UserError(f"terms.{name}: tools.bench knows L1 to L6 alone; take another config")
    return asked


def reader(backbone: Backbone) -> Backbone:
    """What encodes prompts anew: the backbone, or a frozen one like it where its encoders went."""
    if not isinstance(backbone, FrozenTextBackbone) or not backbone.has_let_go:
        return backbone
    loaded = backbone.unloaded()
    loaded.load_parts(loaded.text_parts)
    return loaded.to(backbone.device)


def fixed_noise(backbone: Backbone, batch: SubjectBatch) -> NoisedLatents:
    """The batch's latents, noised once."""
    return backbone.process.noised(backbone.scale_latents(batch.latent_mean))


def frozen_twin(backbone: Backbone, prompts: Sequence[str]) -> tuple[Backbone, TextStates]:
    """The backbone as it was before its tuning, without text encoders, and its text states."""
    twin = backbone.unloaded()
    twin.load()
    twin.to(backbone.device).requires_grad_(False)
    with torch.no_grad():
        states = twin.encode_text(twin.tokenize(prompts).to(backbone.device))
    return twin, states


def trained_by(module: PersonalizationModule) -> list[nn.Parameter]:
    """The weights that the module trains."""
    return [weight for weight in module.parameters() if weight.requires_grad]
