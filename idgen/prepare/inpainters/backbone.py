"""Inpainting by the backbone that is to be trained: no weights but its own."""

import copy
import gc
import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import numpy as np
import torch
from torch import Tensor

from idgen import opencv as cv2
from idgen.backbones.backbone import Backbone
from idgen.backbones.latents import Autoencoder
from idgen.devices import sent
from idgen.errors import UserError
from idgen.fingerprint import fingerprint_fields
from idgen.masks import Mask, Picture
from idgen.prepare.features import LatentBackbone
from idgen.prepare.inpainters.context import CONTEXT, at_resolution, fill_in_context
from idgen.prepare.inpainters.hole import Hole
from idgen.prepare.inpainters.inpainter import Inpaint, Inpainter, no_background
from idgen.prepare.inpainters.scene_lora import SceneLora
from idgen.sampling import to_uint8
from idgen.seeds import seed_of

_VERSION = 1


class BackboneInpainter(Inpainter):
    """The frozen backbone fills the hole: what is known is put back at every step of drawing.

    So RePaint does it with pixels (Lugmayr et al. 2022, arXiv 2201.09865) and Blended Latent
    Diffusion with latents (Avrahami et al. 2022, arXiv 2206.02779): at each time, latents beside
    the hole are those of the photo, noised to that time, and the model makes up the rest to fit.
    It works with every backbone, for it asks no more of one than drawing does.

    The hole starts from pure noise, and the photo's latents are those of the photo with its hole
    filled by Navier-Stokes, so that nothing of the subject is seen. Noise is seeded by what is
    seen, so that a photo gets the same background whatever photos stand beside it.
    """

    def __init__(
        self,
        backbone: Backbone | None = None,
        steps: int = 30,
        guidance: float = 4.0,
        prompt: str = "an empty scene, background only",
        negative_prompt: str = "",
        stochastic: bool | None = None,
        samples: int = 1,
        strength: float = 1.0,
        hole: Hole | None = None,
        lora: SceneLora | None = None,
        seed: int = 0,
    ) -> None:
        """Sets how it fills; `loaded` brings in the weights.

        Args:
            backbone: Who fills; None for the backbone that photos are prepared for.
            steps: Of the backbone's solver.
            guidance: Its scale, as `Sampler.guidance`; 1 is none, and half the work.
            prompt: What is to be seen in the subject's place.
            negative_prompt: What is not.
            stochastic: Whether each step adds fresh noise, which mends seams; None for where the
                backbone's noise process can.
            samples: How many fills the result is the mean of. One is the sharpest; several are
                nearer to the true background in the mean square.
            strength: Where it starts: 1 is pure noise in the hole, less is what the surroundings
                carried inwards give, noised to that share of the way.
            hole: What is painted out around a mask; None for the mask, a little widened.
            lora: Lets the backbone draw scenes with nobody in them, where it cannot by itself.
            seed: Another one gives other backgrounds.

        Raises:
            UserError: If a value is out of its range.
        """
        if steps < 1 or samples < 1 or guidance < 0 or not 0 < strength <= 1:
            raise UserError(
                "BackboneInpainter: steps and samples must be 1 or more, guidance 0 or more and "
                "strength above 0 and at most 1; they are "
                f"{steps}, {samples}, {guidance} and {strength}"
            )
        self.backbone = backbone
        self.steps = steps
        self.guidance = float(guidance)
        self.prompt = prompt
        self.negative_prompt = negative_prompt
        self.stochastic = stochastic
        self.samples = samples
        self.strength = float(strength)
        self.hole = hole or Hole()
        self.lora = lora
        self.seed = seed

    def of(self, backbone: LatentBackbone) -> Inpainter:
        """The same one with this backbone, unless it has one of its own."""
        if self.backbone is not None or not isinstance(backbone, Backbone):
            return self
        made = copy.copy(self)
        made.backbone = backbone.unloaded()
        return made

    @property
    def _filler(self) -> Backbone:
        if self.backbone is None:
            raise UserError(
                "BackboneInpainter: it has no backbone here; set its `backbone`, or use it for the "
                "preparation of a backbone's photos"
            )
        return self.backbone

    @property
    def identity(self) -> str:
        """Hash of the backbone's weights and the settings."""
        return fingerprint_fields(
            inpainter="backbone",
            version=_VERSION,
            backbone=self._filler.identity,
            dtype=str(self._filler.dtype),
            lora=None if self.lora is None else self.lora.identity,
            steps=self.steps,
            guidance=self.guidance,
            prompt=self.prompt,
            negative_prompt=self.negative_prompt,
            stochastic=self.stochastic,
            samples=self.samples,
            strength=self.strength,
            hole=self.hole.identity,
            context=CONTEXT,
            seed=self.seed,
        )

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Inpaint]:
        """Loads a copy of the backbone without any tuning, and frees it when the context ends."""
        backbone = self._filler.unloaded()
        if self.steps > backbone.process.steps:
            raise UserError(
                f"BackboneInpainter.steps: {self.steps} are more than the "
                f"{backbone.process.steps} of the backbone's noise schedule"
            )
        backbone.load()
        backbone.requires_grad_(False)
        if self.lora is not None:
            self.lora.lay_into(backbone)
        backbone.to(device)
        try:
            with backbone.autoencoder(device) as autoencoder:
                yield partial(self._inpaint, backbone, autoencoder, device)
        finally:
            # The caller may still hold the function; the weights go all the same.
            backbone._modules = {}
            backbone._fixed_states = {}
            gc.collect()

    def _inpaint(
        self,
        backbone: Backbone,
        autoencoder: Autoencoder,
        device: torch.device,
        image: Picture,
        mask: Mask,
    ) -> Picture:
        def fill(seen: Picture, unseen: Mask) -> Picture:
            blank = np.asarray(cv2.inpaint(seen, unseen.astype(np.uint8), 3, cv2.INPAINT_NS))
            latents = self._fill(backbone, autoencoder, device, blank, unseen)
            pixels = autoencoder.decode(latents).clamp(-1, 1).mean(0, keepdim=True)
            return to_uint8(pixels)[0].permute(1, 2, 0).cpu().numpy()

        def at_own(seen: Picture, unseen: Mask) -> Picture:
            return at_resolution(seen, unseen, backbone.resolution, fill)

        def whole(part: Picture, hole: Mask) -> Picture:
            if hole.all():
                raise no_background()
            return fill_in_context(part, hole, at_own)

        return self.hole.filled(image, mask, whole)

    @torch.inference_mode()
    def _fill(
        self,
        backbone: Backbone,
        autoencoder: Autoencoder,
        device: torch.device,
        blank: Picture,
        unseen: Mask,
    ) -> Tensor:
        """The latents of all fills, `samples C h w`, unscaled."""
        pixels = torch.from_numpy(blank).permute(2, 0, 1)[None].float().to(device) / 127.5 - 1
        known = backbone.scale_latents(autoencoder.encode(pixels)[0].float())
        height, width = known.shape[-2:]
        share = cv2.resize(unseen.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
        hole = torch.from_numpy(share > 0).to(device)
        digest = hashlib.sha256(blank.tobytes() + unseen.tobytes()).hexdigest()
        seeds = [seed_of("inpainting", self.seed, digest, n) for n in range(self.samples)]
        known = known.expand(self.samples, -1, -1, -1)
        return backbone.unscale_latents(self._solved(backbone, known, hole, seeds))

    def _solved(self, backbone: Backbone, known: Tensor, hole: Tensor, seeds: list[int]) -> Tensor:
        """Latents whose hole is filled, `B C h w`.

        Args:
            backbone: Loaded.
            known: Scaled latents, `B C h w`.
            hole: Their places that are not known, `h w`.
            seeds: Of the noise of each.
        """
        generators = [torch.Generator().manual_seed(seed) for seed in seeds]
        shape = known.shape[1:]

        def noise() -> Tensor:
            drawn = [torch.randn(shape, generator=generator) for generator in generators]
            return sent(torch.stack(drawn), known.device)

        stochastic = self._is_stochastic(backbone)
        solver = backbone.process.solver(self.steps, stochastic)
        condition = backbone.encode([self.prompt] * len(known))
        unguided = backbone.embeds_guidance or self.guidance == 1
        negative = None if unguided else backbone.encode([self.negative_prompt])
        visited = solver.times[min(self.steps - 1, int(self.steps * (1 - self.strength))) :]
        all_times = sent(visited, known.device)
        latents = solver.noised(known, noise(), visited[0])
        if self.strength == 1:
            latents = torch.where(hole, solver.start(noise()), latents)
        for step, time in enumerate(visited, start=1):
            noisy, times = solver.scaled(latents, time), all_times[step - 1].expand(len(known))
            prediction = backbone.guided(noisy, times, condition, negative, self.guidance)
            latents = solver.step(prediction, time, latents, noise() if stochastic else None)
            last = step == len(visited)
            there = known if last else solver.noised(known, noise(), visited[step])
            latents = torch.where(hole, latents, there)
        return latents

    def _is_stochastic(self, backbone: Backbone) -> bool:
        if self.stochastic is not None:
            return self.stochastic
        try:
            backbone.process.solver(self.steps, stochastic=True)
        except UserError:
            return False
        return True
