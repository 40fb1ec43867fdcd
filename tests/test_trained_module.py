"""What is trained, and checkpoints that hold that alone."""

import torch

from idgen.backbones import FeatureSpace, StableDiffusionBackbone
from idgen.models.conditioning import DecoupledFusion, TextOnly
from idgen.models.tuning import LoraTuning
from idgen.module import PersonalizationModule
from idgen.terms import Diffusion


def test_the_trained_weights_are_known_before_and_are_the_state(
    backbone: StableDiffusionBackbone,
) -> None:
    fresh = StableDiffusionBackbone(backbone.source)
    module = PersonalizationModule(fresh, LoraTuning(), DecoupledFusion)
    shapes = dict(module.trained_shapes)
    assert not list(module.parameters())
    module.configure_model()
    assert {key: value.shape for key, value in module.state_dict().items()} == shapes
    trained = {name for name, value in module.named_parameters() if value.requires_grad}
    assert trained == shapes.keys()


class Counting(TextOnly):
    """Has a buffer."""

    def __init__(self, space: FeatureSpace) -> None:
        super().__init__(space)
        self.register_buffer("asked", torch.zeros(1))


def test_buffers_of_a_conditioning_are_kept(backbone: StableDiffusionBackbone) -> None:
    module = PersonalizationModule(backbone, LoraTuning(), Counting, {"diffusion": Diffusion()})
    module.configure_model()
    assert "conditioning.asked" in module.state_dict()
    module.check_weights({key: value.shape for key, value in module.state_dict().items()})
