"""The frozen models that are tuned, a family a file."""

from idgen.backbones.backbone import Backbone, FeatureSpace
from idgen.backbones.flux import FluxBackbone
from idgen.backbones.latents import Autoencoder
from idgen.backbones.sd3 import StableDiffusion3Backbone
from idgen.backbones.sdxl import SDXLBackbone
from idgen.backbones.single_file import SingleFile
from idgen.backbones.stable_diffusion import StableDiffusionBackbone
from idgen.backbones.text import SubjectWords, TextStates, TextTokens
from idgen.backbones.z_image import ZImageBackbone

__all__ = [
    "Autoencoder",
    "Backbone",
    "FeatureSpace",
    "FluxBackbone",
    "SDXLBackbone",
    "SingleFile",
    "StableDiffusion3Backbone",
    "StableDiffusionBackbone",
    "SubjectWords",
    "TextStates",
    "TextTokens",
    "ZImageBackbone",
]
