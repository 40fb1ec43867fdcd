"""What the mini backbone truly predicts is told from its predictions alone."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from idgen.backbones import StableDiffusionBackbone
from idgen.doctor.prediction import better_prediction, prediction_errors
from idgen.mini.subjects import subject_path
from idgen.processes import Prediction, VariancePreserving

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def mini() -> StableDiffusionBackbone:
    backbone = StableDiffusionBackbone("mini")
    backbone.load()
    return backbone


@pytest.fixture(scope="module")
def latents(mini: StableDiffusionBackbone) -> torch.Tensor:
    files: list[Path] = sorted(subject_path("robot").glob("*.png"))[:3]
    side = mini.resolution
    pictures = [np.asarray(Image.open(f).convert("RGB").resize((side, side))) for f in files]
    pixels = torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2) / 127.5 - 1
    with mini.autoencoder(CPU) as autoencoder, torch.no_grad():
        return mini.scale_latents(autoencoder.encode(pixels)[0])


@pytest.mark.parametrize("told", Prediction)
def test_a_wrong_prediction_type_is_found(
    mini: StableDiffusionBackbone,
    latents: torch.Tensor,
    told: Prediction,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert isinstance(mini.process, VariancePreserving)
    monkeypatch.setattr(mini, "process", replace(mini.process, prediction=told))
    errors = prediction_errors(mini, latents, "a photo of a robot")
    truly = Prediction.v_prediction
    assert min(errors, key=lambda kind: errors[kind]) is truly
    assert better_prediction(mini, errors) is (None if told is truly else truly)
