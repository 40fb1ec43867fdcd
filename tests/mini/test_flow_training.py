"""The mini flow is trained on what ships, goes on, and becomes a pipeline that idgen draws with."""

import math
from pathlib import Path

import pytest
import torch

from idgen.backbones import StableDiffusion3Backbone
from idgen.errors import UserError
from idgen.mini.assets import WEIGHTS
from idgen.models.conditioning import TextOnly
from idgen.sampling import DrawingRequest, Sampler
from tools.train_mini.captioned_latents import CaptionedLatents
from tools.train_mini.dataset import build_dataset
from tools.train_mini.denoiser import train_denoiser
from tools.train_mini.flow import FlowDenoising, build_transformer
from tools.train_mini.flow_pipeline import assemble
from tools.train_mini.from_shipped import from_shipped
from tools.train_mini.pipeline import export
from tools.train_mini.share import Share
from tools.train_mini.timed import TimedSchedule, late_fall


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("flow") / "work"
    from_shipped(folder, WEIGHTS)
    build_dataset(folder / "data", 500, workers=1)
    return folder


def test_a_folder_in_use_is_left_alone(work: Path) -> None:
    with pytest.raises(UserError, match=r"vae_ema\.pt is there already"):
        from_shipped(work, WEIGHTS)


def test_its_loss_is_that_of_the_velocity(work: Path) -> None:
    """A transformer that predicts 0 has the velocity's own square for loss: 1 + 1."""
    data = CaptionedLatents(work, "cpu", 64, 500, Share())
    transformer = build_transformer()
    torch.nn.init.zeros_(transformer.proj_out.weight)
    torch.nn.init.zeros_(transformer.proj_out.bias)
    denoising = FlowDenoising(work, transformer, "cpu", data)
    with torch.no_grad():
        _, plain = denoising.loss(0)
        assert plain == denoising.loss(0)[1], "a step's batch follows from its number"
    assert math.isclose(float(plain), 2.0, rel_tol=0.1)


def test_it_trains_and_draws_in_idgen(work: Path, tmp_path: Path) -> None:
    schedule = TimedSchedule(2.0, 1e-3, late_fall)
    given = ("flow", build_transformer, FlowDenoising, work)
    train_denoiser(*given, schedule, 2, 500, "cpu", Share())
    first = torch.load(work / "flow.ckpt", weights_only=True)
    train_denoiser(*given, TimedSchedule(3.0, 1e-3, late_fall), 2, 500, "cpu", Share())
    assert torch.load(work / "flow.ckpt", weights_only=True)["step"] > first["step"] > 0
    export(assemble(work), tmp_path / "flow")
    backbone = StableDiffusion3Backbone(str(tmp_path / "flow"), t5_tokens=1)
    assert "text_encoder_3" not in backbone.parts
    backbone.load()
    request = DrawingRequest("a cat in the snow", "a cat in the snow", 0, 0, 0)
    drawn = Sampler(2, 4.0).draw(
        backbone, TextOnly(backbone.features), [request], torch.device("cpu")
    )
    assert drawn.images.shape == (1, 3, 64, 64)
    assert drawn.images.float().std() > 5
