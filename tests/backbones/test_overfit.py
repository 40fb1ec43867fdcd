"""Families learn: a small denoiser trained in full on one picture draws that picture.

So noising, target, packing, guidance and solver agree with each other.
"""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from idgen.backbones import Backbone, StableDiffusionBackbone, SubjectWords
from idgen.data.batch import SubjectBatch
from idgen.models.conditioning import TextOnly
from idgen.models.decoupling import PhotoFeatures
from idgen.models.tuning import Tuning
from idgen.module import PersonalizationModule
from idgen.sampling import DrawingRequest, Sampler, to_uint8
from idgen.terms import Diffusion, Term
from tests.backbones.tiny_flow import TinyFlowBackbone

PROMPT = "a photo of a sks dog"
STEPS = 300
CPU = torch.device("cpu")


class WholeDenoiser(Tuning):
    """Trains all of the denoiser."""

    @property
    def trains_text(self) -> bool:
        return False

    def attach(self, backbone: Backbone, words: SubjectWords) -> None:
        backbone.denoiser.requires_grad_(True)


def picture(side: int) -> Tensor:
    """Slopes, stripes and a square, `1 3 side side` in [-1, 1]."""
    slope = torch.linspace(-0.8, 0.8, side).expand(side, side)
    stripes = (torch.arange(side) // 4 % 2 * 1.2 - 0.6).expand(side, side)
    shown = torch.stack([slope.T, slope, stripes])
    shown[:, side // 4 : side // 2, side // 2 :] = torch.tensor([0.9, -0.5, 0.2]).view(3, 1, 1)
    return shown[None]


def train(module: PersonalizationModule, latents: Tensor, steps: int, batch: int) -> None:
    rows = latents.expand(batch, -1, -1, -1)
    trained = [weight for weight in module.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(trained, lr=3e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)
    features = PhotoFeatures(torch.zeros(batch, 4), torch.zeros(batch, 4))
    mask = torch.ones(batch, 1, *latents.shape[2:])
    for position in range(steps):
        prompts = (PROMPT,) * batch
        certain = torch.full_like(rows, -80.0)
        given = SubjectBatch(rows, certain, mask, features, prompts, prompts, position)
        torch.manual_seed(position)
        optimizer.zero_grad()
        module.training_step(given, 0).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        schedule.step()


def tiny_flow(request: pytest.FixtureRequest) -> Backbone:
    return TinyFlowBackbone()


def stable_diffusion(request: pytest.FixtureRequest) -> Backbone:
    return StableDiffusionBackbone(str(request.getfixturevalue("tiny_v_pipeline")))


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
@pytest.mark.parametrize("family", [stable_diffusion, tiny_flow])
def test_it_draws_the_picture_it_was_trained_on(
    family: Callable[[pytest.FixtureRequest], Backbone], request: pytest.FixtureRequest
) -> None:
    backbone = family(request)
    terms: dict[str, Term | None] = {"diffusion": Diffusion()}
    sampler = Sampler(12, guidance=1.0)
    module = PersonalizationModule(backbone, WholeDenoiser(), TextOnly, terms, sampler=sampler)
    module.configure_model()
    with backbone.autoencoder(CPU) as autoencoder, torch.no_grad():
        mean, _ = autoencoder.encode(picture(backbone.resolution))
        # A random autoencoder's latents may be of any scale.
        latents = backbone.unscale_latents((mean - mean.mean()) / mean.std())
        wanted = to_uint8(autoencoder.decode(latents)).float()
    train(module, latents, steps=STEPS, batch=8)
    drawing = DrawingRequest(PROMPT, PROMPT, 0, 0, 0)
    drawn = sampler.draw(backbone, module.conditioning, [drawing], CPU).images
    error = (drawn.float() - wanted).square().mean().item()
    assert wanted.std() > 10, "a picture of one colour would be drawn by anyone"
    assert 10 * math.log10(255**2 / error) >= 20
