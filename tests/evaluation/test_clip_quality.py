from pathlib import Path

import pytest
import torch

from idgen.evaluation.clip_quality import ClipQuality
from idgen.evaluation.observed import Observed, Observer
from idgen.metrics.encoders import ClipScorer
from idgen.sampling import DrawingRequest
from tests.metrics.tiny_models import save_clip

CPU = torch.device("cpu")


def test_drawings_lie_between_two_texts_as_clip_says(tmp_path: Path) -> None:
    clip = ClipScorer(f"local-dir:{save_clip(tmp_path / 'clip')}").load(CPU)
    observer = Observer(clip, None)  # type: ignore[arg-type]
    images = torch.randint(0, 256, (3, 3, 32, 32), dtype=torch.uint8)
    requests = [DrawingRequest("a sks dog", "a dog", 0, n, 0) for n in range(3)]
    photos = Observed(images[:1], observer)
    score = ClipQuality("sharp", "blurred", scale=5).start(photos, 1, CPU)
    values = score.add(Observed(images, observer, requests))
    texts = clip.embed_texts(["sharp", "blurred"])
    expected = (5 * clip.embed_images(images) @ texts.T).softmax(dim=1)[:, 0]
    assert values == pytest.approx(expected.tolist(), abs=1e-5)
    assert score.result() == pytest.approx(expected.mean().item(), abs=1e-5)
    assert score.name == "clip_quality"


def test_texts_and_scale_decide_its_identity() -> None:
    every = [ClipQuality(), ClipQuality(good="a sharp photo"), ClipQuality(scale=20)]
    assert len({score.identity for score in every}) == 3
    assert ClipQuality().identity == every[0].identity
