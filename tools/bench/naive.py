"""The same method as most training scripts make it: everything anew in each step.

Each step opens the photos, crops and turns them into tensors, encodes them with the autoencoder
and the image encoder, encodes the prompts of every pass, one a picture, makes each pass by itself,
turns the tuning off by a walk over the modules, and reads each loss from the device. LoRA is
peft's, the optimizer steps as torch lets it by itself.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from PIL import Image
from torch import Tensor

from idgen.backbones.backbone import Backbone
from idgen.backbones.latents import Autoencoder
from idgen.backbones.text import TextStates
from idgen.data.batch import SubjectBatch
from idgen.losses import denoising_loss
from idgen.models.decoupling import PhotoFeatures
from idgen.models.tuning.one_product import OneProduct
from idgen.module import PersonalizationModule
from idgen.terms.step import FROZEN, REFINED, Asked
from tools.bench.bare import asked_by, reader, trained_by


class NaiveStep:
    """One step of such a script."""

    def __init__(
        self,
        module: PersonalizationModule,
        batch: SubjectBatch,
        photos: Sequence[Path],
        autoencoder: Autoencoder,
        encoder: Callable[[Tensor], Tensor],
    ) -> None:
        """Takes what such a script has in memory.

        Args:
            module: Loaded, with its tuning; the step trains its weights.
            batch: On the module's device; its prompts and masks are taken.
            photos: Files of the photos, opened by turns.
            autoencoder: On that device.
            encoder: E_I, from pixels `B 3 H W` in [-1, 1] to embeddings `B D`.
        """
        self._module, self._batch, self._photos = module, batch, list(photos)
        self._autoencoder, self._encoder = autoencoder, encoder
        self._reader = reader(module.backbone)
        self._asked = asked_by(module)
        self._step = 0
        self.optimizer = module.optimization.optimizer(trained_by(module))
        self.losses: dict[str, float] = {}

    def __call__(self) -> None:
        """One step."""
        with patch.object(OneProduct, "forward", _three_products):
            self._take()

    def _take(self) -> None:
        module, backbone = self._module, self._module.backbone
        pixels = self._pixels().to(backbone.device)
        with torch.no_grad():
            mean, log_variance = self._autoencoder.encode(pixels)
            latents = mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)
            features = self._features(pixels)
        noised = backbone.process.noised(backbone.scale_latents(latents))
        predictions: dict[Asked, Tensor] = {}
        for asked in self._asked:
            if asked is FROZEN:
                with torch.no_grad(), _without_adapters(backbone):
                    text = self._encode(self._batch.class_prompts)
                    predictions[asked] = backbone.predict(noised.noisy, noised.times, text)
                continue
            text = self._encode(self._batch.prompts)
            condition = (
                module.conditioning(text, features).refined
                if asked is REFINED
                else module.conditioning.infer(text)
            )
            predictions[asked] = backbone.predict(noised.noisy, noised.times, condition)
        losses = {
            asked.name: denoising_loss(predicted, noised.target, noised.weight)
            for asked, predicted in predictions.items()
            if asked is not FROZEN
        }
        if FROZEN in predictions:
            last = next(p for asked, p in reversed(predictions.items()) if asked is not FROZEN)
            beside = 1 - self._batch.subject_mask
            losses[FROZEN.name] = denoising_loss(last, predictions[FROZEN], noised.weight, beside)
        total: Tensor = torch.stack(list(losses.values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.losses = {name: loss.item() for name, loss in losses.items()}
        self._step += 1

    def _pixels(self) -> Tensor:
        """Pictures of the step, `B 3 H W` in [-1, 1], opened and resized anew."""
        side = self._module.backbone.resolution
        count = len(self._batch.prompts)
        first = self._step * count
        pictures = []
        for number in range(first, first + count):
            with Image.open(self._photos[number % len(self._photos)]) as photo:
                resized = photo.convert("RGB").resize((side, side), Image.Resampling.BILINEAR)
            pictures.append(torch.from_numpy(np.array(resized)).permute(2, 0, 1))
        return torch.stack(pictures).float() / 127.5 - 1

    def _features(self, pixels: Tensor) -> PhotoFeatures:
        """f_p and f'_i, both anew; the photo stands for its background, which costs as much."""
        conditioning, device = self._module.conditioning, pixels.device
        if not (conditioning.explicit or conditioning.implicit):
            return self._batch.features
        photo = self._encoder(pixels).clone().to(device)
        background = self._encoder(pixels).clone().to(device) if conditioning.explicit else photo
        return PhotoFeatures(photo, background)

    def _encode(self, prompts: Sequence[str]) -> TextStates:
        backbone = self._module.backbone
        return self._reader.encode_text(backbone.tokenize(prompts).to(backbone.device))


def _three_products(layer: OneProduct, x: Tensor) -> Tensor:
    """Peft's own forward pass."""
    result: Tensor = super(OneProduct, layer).forward(x)
    return result


@contextmanager
def _without_adapters(backbone: Backbone) -> Iterator[None]:
    """Peft's own switch, in each layer of each network."""
    layers = [layer for layer in backbone.modules() if isinstance(layer, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(True)
