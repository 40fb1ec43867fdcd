"""Trains the two CLIPs of the mini world: the image encoder E_I with its text twin, and the scorer.

Run as ``python -m tools.train_mini.clip encoder --work DIR`` and ``... clip scorer --work DIR``.
They write the open_clip folders ``DIR/encoder`` and ``DIR/clip``; the first also writes
``DIR/text_encoder``, the same text tower as transformers' ``CLIPTextModel``.

The loss is CLIP's (Radford et al., 2021, arXiv 2103.00020) on pictures and captions, plus the same
softmax over whole sets of prompts: all classes, all scenes, all colours of one class.
"""

import random
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from open_clip.model import CLIP
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize
from transformers import CLIPTokenizer

from idgen.mini.captions import Wording, article
from idgen.mini.classes import CLASSES
from idgen.mini.colours import COLOUR_WORDS
from idgen.mini.scenes import SCENES
from tools.command import run
from tools.train_mini.clip_export import export_open_clip, export_text_encoder
from tools.train_mini.loop import Schedule, load_checkpoint, train, training_parser
from tools.train_mini.pictures import TrainingPictures, noisy_caption, training_wordings
from tools.train_mini.start import start_from
from tools.train_mini.tokenizer import CONTEXT, read_tokenizer

_NOUNS, _SCENES = list(CLASSES), list(SCENES)
_MAX_SCALE = 25.0


@dataclass(frozen=True)
class Recipe:
    """How one of the CLIPs is built and trained.

    Attributes:
        folder: Name of its folder.
        seed: Of weights, order and captions.
        width: Of its embedding.
        vision: open_clip's ``vision_cfg``.
        text: open_clip's ``text_cfg``, without what the tokenizer decides.
        steps: Optimiser steps.
        text_steps: Of those, how many train the text tower as well; then it is frozen and, for
            E_I, exported, so that the pipeline can be trained on it meanwhile.
        batch: Pictures a step.
        rate: Peak learning rate of AdamW.
    """

    folder: str
    seed: int
    width: int
    vision: dict[str, Any]
    text: dict[str, Any]
    steps: int
    text_steps: int
    batch: int
    rate: float


RECIPES: dict[str, Recipe] = {
    "encoder": Recipe(
        folder="encoder",
        seed=1,
        width=128,
        vision={"layers": [1, 1, 1, 1], "width": 12, "image_size": 64, "head_width": 64},
        text={"width": 128, "heads": 4, "layers": 4, "mlp_ratio": 2.0},
        steps=5950,
        text_steps=2700,
        batch=64,
        rate=1e-3,
    ),
    "scorer": Recipe(
        folder="clip",
        seed=2,
        width=96,
        vision={"layers": [1, 1, 2, 1], "width": 10, "image_size": 64, "head_width": 64},
        text={"width": 96, "heads": 3, "layers": 3, "mlp_ratio": 2.0},
        steps=6300,
        text_steps=6300,
        batch=64,
        rate=1.5e-3,
    ),
}


def model_config(recipe: Recipe, tokenizer: CLIPTokenizer) -> dict[str, Any]:
    """The ``model_cfg`` of open_clip's configuration file."""
    text = recipe.text | {
        "context_length": CONTEXT,
        "vocab_size": len(tokenizer),
        "pad_id": tokenizer.pad_token_id,
        "eos_id": tokenizer.eos_token_id,
        "pool_type": "eos",
        "hf_tokenizer_name": "tokenizer",
    }
    return {"embed_dim": recipe.width, "vision_cfg": recipe.vision, "text_cfg": text}


def build(recipe: Recipe, tokenizer: CLIPTokenizer) -> CLIP:
    """Build the model with weights drawn from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    config = model_config(recipe, tokenizer)
    return CLIP(config["embed_dim"], config["vision_cfg"], config["text_cfg"])


def embed_texts(model: CLIP, tokenizer: CLIPTokenizer, texts: list[str], device: str) -> Tensor:
    """Embed texts, `B E` of unit length.

    Padding after the longest text is left out: the attention is causal, so it changes nothing.
    """
    ids = tokenizer(texts, padding=True, truncation=True, return_tensors="pt").input_ids.to(device)
    mask = model.attn_mask
    model.attn_mask = mask[: ids.shape[1], : ids.shape[1]]
    x = model.token_embedding(ids) + model.positional_embedding[: ids.shape[1]]
    states = model.ln_final(model.transformer(x, attn_mask=model.attn_mask))
    model.attn_mask = mask
    ends = (ids == tokenizer.eos_token_id).int().argmax(dim=1)
    pooled: Tensor = states[torch.arange(len(ids)), ends] @ model.text_projection
    return normalize(pooled, dim=-1)


@dataclass(frozen=True)
class PromptSets:
    """Texts of one step, all embedded at once.

    Attributes:
        captions: One of each picture.
        classes: One of each class.
        scenes: One or more rounds of one of each scene.
        colours: One or more rounds of one of each colour, each round of one class.
    """

    captions: list[str]
    classes: list[str]
    scenes: list[str]
    colours: list[str]


def write_prompts(wordings: list[Wording], rng: random.Random) -> PromptSets:
    """Write the texts of one step."""
    prefix = rng.choice(("", "a photo of ", "a picture of "))
    nouns = rng.sample(_NOUNS, 2)
    return PromptSets(
        captions=[noisy_caption(wording, rng) for wording in wordings],
        classes=[f"{prefix}{article(name)}" for name in _NOUNS],
        scenes=[
            f"{prefix}{article(other)} {rng.choice(SCENES[scene].phrases)}"
            for other in nouns
            for scene in _SCENES
        ],
        colours=[
            f"{prefix}{article(colour)} {other}" for other in nouns for colour in COLOUR_WORDS
        ],
    )


def clip_loss(
    images: Tensor, texts: Tensor, scale: Tensor, prompts: PromptSets, wordings: list[Wording]
) -> Tensor:
    """CLIP's loss on captions and the softmax over the sets of prompts.

    Args:
        images: Embeddings of the pictures, `B E`, of unit length.
        texts: Embeddings of all texts of ``prompts`` in order, `T E`, of unit length.
        scale: Inverse temperature.
        prompts: The texts.
        wordings: The truth about the pictures.
    """
    sizes = [len(prompts.captions), len(prompts.classes), len(prompts.scenes), len(prompts.colours)]
    captions, classes, scenes, colours = torch.split(texts, sizes)
    device = images.device
    logits = scale * images @ captions.T
    own = torch.arange(len(images), device=device)
    loss = (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2
    truth = (
        (1.0, classes, [_NOUNS.index(wording.noun) for wording in wordings]),
        (
            0.3,
            _centres(scenes, len(_SCENES)),
            [_SCENES.index(wording.scene) for wording in wordings],
        ),
        (
            1.5,
            _centres(colours, len(COLOUR_WORDS)),
            [COLOUR_WORDS.index(wording.colours[0]) for wording in wordings],
        ),
    )
    for weight, embeddings, right in truth:
        target = torch.tensor(right, device=device)
        loss = loss + weight * cross_entropy(scale * images @ embeddings.T, target)
    return loss


def _centres(embeddings: Tensor, count: int) -> Tensor:
    """Mean direction of each of ``count`` prompts over its rounds."""
    return normalize(embeddings.view(-1, count, embeddings.shape[1]).mean(dim=0), dim=-1)


class Steps:
    """The loss of each step of one CLIP's training.

    Args:
        recipe: What to train.
        work: Working folder with ``data`` and ``tokenizer``.
        device: Where.
    """

    def __init__(self, recipe: Recipe, work: Path, device: str) -> None:
        self.recipe = recipe
        self.device = device
        self.tokenizer = read_tokenizer(work)
        self.data = TrainingPictures.read(work)
        self.wordings = training_wordings(len(self.data))
        self.model = build(recipe, self.tokenizer).to(device, memory_format=torch.channels_last)
        self._text_folder = work / "text_encoder"

    def loss(self, step: int) -> Tensor:
        """Loss of one step; everything random in it follows from its number."""
        recipe = self.recipe
        if step == recipe.text_steps:
            export_text_encoder(self.model, recipe.text, self.tokenizer, self._text_folder)
        with torch.no_grad():
            self.model.logit_scale.clamp_(max=float(np.log(_MAX_SCALE)))
        seed = recipe.seed * 1_000_003 + step
        rows = np.sort(np.random.default_rng(seed).choice(len(self.data), recipe.batch, False))
        wordings = [self.wordings[row] for row in rows]
        prompts = write_prompts(wordings, random.Random(seed))
        everything = [*prompts.captions, *prompts.classes, *prompts.scenes, *prompts.colours]
        pixels = self.data.pixels(rows).to(self.device, memory_format=torch.channels_last)
        with torch.set_grad_enabled(step < recipe.text_steps):
            texts = embed_texts(self.model, self.tokenizer, everything, self.device)
        images = normalize(self.model.encode_image(pixels), dim=-1)
        return clip_loss(images, texts, self.model.logit_scale.exp(), prompts, wordings)


@torch.no_grad()
def match_norm(model: CLIP, pixels: Tensor) -> None:
    """Scale image embeddings so that their elements are of order one, as the text's states are.

    Cosines do not change. The embeddings are also read unnormalised, as conditions.
    """
    model.eval()
    norm = model.encode_image(pixels).norm(dim=-1).mean()
    last = model.visual.attnpool.c_proj if hasattr(model.visual, "attnpool") else None
    if last is not None:
        factor = model.text_projection.shape[1] ** 0.5 / norm
        last.weight.mul_(factor)
        last.bias.mul_(factor)


def main() -> None:
    """Read the command line, train and export."""
    parser = training_parser("train a CLIP of the mini world")
    parser.add_argument(
        "which", choices=sorted(RECIPES), help="E_I with its text twin, or the CLIP for scores"
    )
    parser.add_argument("--steps", type=int, help="in place of the recipe's")
    parser.add_argument("--text-steps", type=int, help="in place of the recipe's")
    parser.add_argument("--rate", type=float, help="in place of the recipe's")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    given = {name: getattr(arguments, name) for name in ("steps", "text_steps", "rate")}
    changed = {name: value for name, value in given.items() if value is not None}
    recipe, work = replace(RECIPES[arguments.which], **changed), arguments.work
    steps = Steps(recipe, work, arguments.device)
    if arguments.begin_with is not None:
        start_from(steps.model, arguments.begin_with)
    if arguments.export_only:
        load_checkpoint(recipe.folder, steps.model, work)
    else:
        schedule = Schedule(recipe.steps, recipe.rate)
        train(recipe.folder, steps.model, steps.loss, schedule, work)
    match_norm(steps.model, steps.data.pixels(np.arange(256)).to(arguments.device))
    config = model_config(recipe, steps.tokenizer)
    export_open_clip(steps.model, config, steps.tokenizer, work / recipe.folder)


if __name__ == "__main__":
    run(main)
