"""`--format merged`: a whole pipeline folder with everything folded in."""

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from idgen.backbones.pipeline import PipelineBackbone
from idgen.backbones.stable_diffusion import StableDiffusionBackbone
from idgen.export.exported_run import ExportedRun, check_prompt_alone
from idgen.export.format import Written
from idgen.export.updates import LearntWord
from idgen.models.conditioning import TextOnly
from idgen.module import PersonalizationModule


class MergedFormat:
    """A pipeline folder that diffusers draws with, and that idgen takes as a backbone again.

    The text encoder's learnt token keeps its name, as a token of the folder's tokenizer.
    """

    name = "merged"

    def check(self, module: PersonalizationModule, reference: bool) -> None:
        """Refuses fusion at inference and a reference photo."""
        check_prompt_alone(module, reference, self.name)

    def write(self, run: ExportedRun, folder: Path, dtype: torch.dtype) -> Written:
        """Writes the folder; the autoencoder too, in the same type."""
        from diffusers import StableDiffusionPipeline

        backbone, trained = run.backbone, run.trained
        unet, encoder = (run.plain_network(part) for part in ("unet", "text_encoder"))
        trained.denoiser.fold_into(unet)
        trained.text.fold_into(encoder)
        tokenizer = copy.deepcopy(backbone.tokenizers[0])
        if trained.word is not None:
            _put_word(encoder, trained.word)
        pipeline = StableDiffusionPipeline(
            vae=backbone.pipeline.load("vae", torch.float32).to(dtype),
            text_encoder=encoder.to(dtype),
            tokenizer=tokenizer,
            unet=unet.to(dtype),
            scheduler=_scheduler(backbone),
            safety_checker=None,
            feature_extractor=None,
            requires_safety_checker=False,
        )
        pipeline.save_pretrained(folder, safe_serialization=True)
        return Written(run.module.words.token, dtype, base=folder)

    def own_drawing(self, run: ExportedRun, written: Written) -> Tensor:
        """The run's; of rounded weights, that of the folder as a backbone of idgen."""
        if written.dtype == torch.float32:
            return run.draw()
        assert written.base is not None
        return draw_as_backbone(run, StableDiffusionBackbone(str(written.base)))


def draw_as_backbone(run: ExportedRun, backbone: StableDiffusionBackbone) -> Tensor:
    """The run's drawing with a merged folder in place of its backbone and tuning, `3 H W` uint8.

    Args:
        run: Whose prompt, noise and sampler are taken.
        backbone: Of the folder; it is loaded.
    """
    backbone.load()
    backbone.to(run.device)
    conditioning = TextOnly(backbone.features)
    drawn = run.sampler.draw(backbone, conditioning, [run.request()], run.device)
    return drawn.images[0]


def _put_word(encoder: Any, word: LearntWord) -> None:
    """Lays a learnt token's embedding into a text encoder, behind its words if it is new."""
    if word.row >= encoder.get_input_embeddings().num_embeddings:
        encoder.resize_token_embeddings(word.row + 1, mean_resizing=False)
    with torch.no_grad():
        encoder.get_input_embeddings().weight[word.row] = word.vector


def _scheduler(backbone: PipelineBackbone) -> Any:
    """The base's own, so that the folder can be trained on as the base can."""
    import diffusers

    kind = getattr(diffusers, backbone.pipeline.index["scheduler"][1])
    return kind.from_pretrained(backbone.pipeline.folder, subfolder="scheduler")
