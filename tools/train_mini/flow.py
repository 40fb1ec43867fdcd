"""Trains the mini flow pipeline's transformer on the latents of the drawn pictures.

Run as ``python -m tools.train_mini.flow --work DIR``, or in two processes as
``torchrun --nproc-per-node 2 -m tools.train_mini.flow --work DIR``, once the autoencoder, the
tokenizer and E_I with its text tower are there; ``python -m tools.train_mini.from_shipped --work
DIR`` brings those that ship. It may be killed and started again at any time. ``DIR/flow.ckpt``
holds the running average of the weights as ``ema``.
"""

from pathlib import Path
from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import pad
from transformers import CLIPTextModelWithProjection

from idgen.backbones.clip_text import encode_clip
from idgen.processes import RectifiedFlow
from idgen.processes.rectified_flow import interpolate
from tools.command import run
from tools.train_mini.captioned_latents import CaptionedLatents
from tools.train_mini.denoiser import train_denoiser
from tools.train_mini.needed import made_by
from tools.train_mini.share import Share
from tools.train_mini.timed import TimedSchedule, late_fall, timed_parser
from tools.train_mini.vae import LATENT_CHANNELS

WIDTH = 128  # of the text encoder's states and of its projected vector


def build_transformer() -> Any:
    """An untrained MMDiT of 3.4 million parameters, in SD 3.5's layout (Esser et al. 2024)."""
    return SD3Transformer2DModel(
        sample_size=16,
        patch_size=2,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_layers=6,
        attention_head_dim=32,
        num_attention_heads=4,
        caption_projection_dim=128,
        joint_attention_dim=2 * WIDTH,
        pooled_projection_dim=2 * WIDTH,
        pos_embed_max_size=16,
        qk_norm="rms_norm",
    )


def build_flow_scheduler() -> Any:
    """Rectified flow without a shift: the latents are small."""
    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=1000, shift=1.0)


def projected_text_encoder(work: Path) -> Any:
    """The text encoder with E_I's projection of its last state, as SD 3's two CLIPs have one.

    Raises:
        UserError: If one of the two was not made yet.
    """
    folder = made_by("clip encoder", work, "text_encoder/FINAL").parent
    weights = made_by("clip encoder", work, "encoder/open_clip_model.safetensors")
    encoder = CLIPTextModelWithProjection.from_pretrained(folder, dtype=torch.float32)
    projection = load_file(weights)["text_projection"].float()
    encoder.text_projection.weight.data.copy_(projection.T)  # open_clip multiplies from the right
    return encoder.eval().requires_grad_(False)


class FlowDenoising:
    """The transformer's task: latents and captions of the pictures, noised, and the loss on them.

    Args:
        work: Folder of the training run.
        transformer: The MMDiT.
        device: Torch device.
        data: What it is trained on.
    """

    def __init__(self, work: Path, transformer: Any, device: str, data: CaptionedLatents) -> None:
        self._transformer, self._data = transformer, data
        self._text = projected_text_encoder(work).to(device)
        self._flow = RectifiedFlow(dict(build_flow_scheduler().config))

    @torch.no_grad()
    def _conditions(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """States and pooled vector as `StableDiffusion3Backbone` makes them, both CLIPs being one.

        A token of zeros stands where T5's would be.
        """
        text = encode_clip(self._text, ids, mask)
        states = torch.cat([text.states, text.states], dim=-1)
        return pad(states, (0, 0, 0, 1)), torch.cat([text.pooled, text.pooled], dim=-1)

    def loss(self, step: int) -> tuple[Tensor, Tensor]:
        """The loss of one batch, and its part without weights; random in the step's number alone.

        MSE of the velocity (Liu et al. 2023) at logit-normal times (Esser et al. 2024), where
        latents of the subject count several times.
        """
        batch = self._data.at(step)
        states, pooled = self._conditions(batch.ids, batch.mask)
        shares = self._flow.shares_at(batch.places)
        noisy = interpolate(batch.clean, batch.noise, shares)
        predicted = self._transformer(
            hidden_states=noisy,
            timestep=shares * self._flow.steps,
            encoder_hidden_states=states,
            pooled_projections=pooled,
        ).sample
        squared = (predicted - (batch.noise - batch.clean)).square()
        return (batch.weights * squared).mean(), squared.mean().detach()


def main() -> None:
    """Read the command line and train."""
    parser = timed_parser("train the mini flow's transformer", seconds=5400, batch=32, rate=1.5e-3)
    parser.add_argument("--pictures", type=int, default=60_000, help="the first so many")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    schedule = TimedSchedule(args.seconds, args.rate, late_fall, weight_decay=0.01)
    share = Share.from_environment()
    train_denoiser(
        "flow",
        build_transformer,
        FlowDenoising,
        args.work,
        schedule,
        args.batch,
        args.pictures,
        args.device,
        share,
        args.begin_with,
    )


if __name__ == "__main__":
    run(main)
