"""What scores drawings is loaded once a fit, and does not outlive it."""

from collections import Counter

import pytest
import torch
from torch import Tensor

from idgen.backbones.latents import Autoencoder
from idgen.backbones.pipeline import PipelineBackbone
from idgen.metrics.encoders import ClipScorer, DinoScorer
from idgen.metrics.scorer import ImageScorer, LoadedEncoder
from tests.workspace import Workspace

SCORERS = (ClipScorer, DinoScorer)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> Counter[ImageScorer]:
    """How often each scorer was loaded."""
    counted: Counter[ImageScorer] = Counter()

    def count(kind: type[ImageScorer]) -> None:
        load = kind._load

        def counting(self: ImageScorer) -> LoadedEncoder:
            counted[self] += 1
            return load(self)

        monkeypatch.setattr(kind, "_load", counting)

    for kind in SCORERS:
        count(kind)
    return counted


def test_scorers_are_loaded_once_for_all_validations_of_a_fit(
    workspace: Workspace, loads: Counter[ImageScorer]
) -> None:
    assert workspace.fit() == 0
    assert len(list((workspace.run / "validation").glob("step-*.png"))) == 2
    assert sorted(loads.values()) == [1, 1]
    assert all(scorer._encoder is None for scorer in loads)


def test_nothing_that_draws_or_scores_outlives_an_error(
    workspace: Workspace, loads: Counter[ImageScorer], monkeypatch: pytest.MonkeyPatch
) -> None:
    backbones = []
    load = PipelineBackbone.load_autoencoder

    def noted(self: PipelineBackbone, device: torch.device) -> Autoencoder:
        backbones.append(self)
        return load(self, device)

    def fails(self: DinoScorer, pixels: Tensor) -> Tensor:
        raise RuntimeError("no score today")

    monkeypatch.setattr(PipelineBackbone, "load_autoencoder", noted)
    monkeypatch.setattr(DinoScorer, "_image_features", fails)
    with pytest.raises(RuntimeError, match="no score today"):
        workspace.fit("--trainer.num_sanity_val_steps=0")
    assert sorted(loads.values()) == [1, 1]
    assert all(scorer._encoder is None for scorer in loads)
    assert backbones
    assert not any(backbone._autoencoders for backbone in backbones)
