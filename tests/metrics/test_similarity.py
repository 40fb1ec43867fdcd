import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.multiprocessing.spawn import start_processes
from torch.nn.functional import cosine_similarity

from idgen.metrics.similarity import (
    ImageSimilarity,
    MeanScore,
    TextAlignment,
    mean_reference_similarity,
    text_alignment,
)

DRAWINGS, REFERENCES, WIDTH = 11, 4, 24


def embeddings(count: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, WIDTH, generator=generator) * 3


def by_numpy(drawings: Tensor, references: Tensor) -> np.ndarray:
    d, r = drawings.numpy().astype(np.float64), references.numpy().astype(np.float64)
    cosines = [[a @ b / np.sqrt((a @ a) * (b @ b)) for b in r] for a in d]
    return np.asarray(cosines)


def test_reference_similarity_by_hand() -> None:
    drawings = torch.tensor([[2.0, 0.0], [0.0, 5.0], [3.0, 4.0]])
    references = torch.tensor([[1.0, 0.0], [0.0, -2.0]])
    expected = torch.tensor([0.5, -0.5, (0.6 - 0.8) / 2], dtype=torch.float64)
    torch.testing.assert_close(mean_reference_similarity(drawings, references), expected)


def test_reference_similarity_equals_numpy() -> None:
    drawings, references = embeddings(DRAWINGS, 0), embeddings(REFERENCES, 1)
    expected = by_numpy(drawings, references).mean(axis=1)
    np.testing.assert_allclose(
        mean_reference_similarity(drawings, references).numpy(), expected, atol=1e-12
    )


def test_text_alignment_by_hand_and_by_torch() -> None:
    by_hand = text_alignment(
        torch.tensor([[2.0, 0.0], [1.0, 1.0]]), torch.tensor([[0.6, 0.8], [-3.0, -3.0]])
    )
    torch.testing.assert_close(by_hand, torch.tensor([0.6, -1.0], dtype=torch.float64))
    drawings, prompts = embeddings(DRAWINGS, 0), embeddings(DRAWINGS, 1)
    torch.testing.assert_close(
        text_alignment(drawings, prompts).float(), cosine_similarity(drawings, prompts)
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_scores_are_computed_in_float64(dtype: torch.dtype) -> None:
    drawings, references = embeddings(DRAWINGS, 0).to(dtype), embeddings(REFERENCES, 1).to(dtype)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = mean_reference_similarity(drawings, references)
    expected = by_numpy(drawings.double(), references.double()).mean(axis=1)
    assert scores.dtype == torch.float64
    np.testing.assert_allclose(scores.numpy(), expected, atol=1e-12)


def test_an_embedding_equals_itself_and_a_zero_one_nothing() -> None:
    drawings = torch.cat([embeddings(1, 0), torch.zeros(1, WIDTH)])
    scores = mean_reference_similarity(drawings, embeddings(1, 0))
    torch.testing.assert_close(scores, torch.tensor([1.0, 0.0], dtype=torch.float64))


def test_wrong_shapes_are_refused() -> None:
    good = embeddings(3, 0)
    with pytest.raises(ValueError, match="at least one"):
        mean_reference_similarity(good, good[:0])
    with pytest.raises(ValueError, match="one encoder"):
        mean_reference_similarity(good, good[:, :5])
    with pytest.raises(ValueError, match="one a drawing"):
        text_alignment(good, good[:2])
    with pytest.raises(ValueError, match="B E"):
        text_alignment(good[0], good[0])
    with pytest.raises(ValueError, match="floating"):
        mean_reference_similarity(good.long(), good.long())
    with pytest.raises(ValueError, match="one dimension"):
        MeanScore().update(good)


@pytest.mark.parametrize("batch_size", [1, 3, DRAWINGS])
def test_metrics_do_not_depend_on_batches_or_order(batch_size: int) -> None:
    drawings, references = embeddings(DRAWINGS, 0), embeddings(REFERENCES, 1)
    prompts = embeddings(DRAWINGS, 2)
    order = torch.randperm(DRAWINGS, generator=torch.Generator().manual_seed(batch_size))
    image, text = ImageSimilarity(), TextAlignment()
    for batch in torch.split(order, batch_size):
        image.update(drawings[batch], references)
        text.update(drawings[batch], prompts[batch])
    assert image.compute().item() == pytest.approx(by_numpy(drawings, references).mean(), abs=1e-12)
    expected = np.diag(by_numpy(drawings, prompts)).mean()
    assert text.compute().item() == pytest.approx(expected, abs=1e-12)


def test_metrics_forget_on_reset_and_score_a_batch_on_forward() -> None:
    drawings, references = embeddings(DRAWINGS, 0), embeddings(REFERENCES, 1)
    metric = ImageSimilarity()
    metric.update(drawings[:5], references)
    metric.reset()
    first, last = metric(drawings[:2], references), metric(drawings[2:], references)
    scores = mean_reference_similarity(drawings, references)
    torch.testing.assert_close(first, scores[:2].mean())
    torch.testing.assert_close(last, scores[2:].mean())
    torch.testing.assert_close(metric.compute(), scores.mean())


def test_a_metric_without_drawings_is_nan() -> None:
    metric = ImageSimilarity()
    metric.update(embeddings(0, 0), embeddings(REFERENCES, 1))
    assert math.isnan(metric.compute().item())


def test_a_diverged_drawing_makes_the_score_nan() -> None:
    drawings = embeddings(DRAWINGS, 0)
    drawings[3, 0] = torch.nan
    metric = ImageSimilarity()
    metric.update(drawings, embeddings(REFERENCES, 1))
    assert math.isnan(metric.compute().item())


def test_states_stay_exact_in_a_half_precision_module() -> None:
    metric = ImageSimilarity()
    metric.update(embeddings(DRAWINGS, 0), embeddings(REFERENCES, 1))
    before = metric.total.clone()
    torch.nn.ModuleDict({"dino": metric}).to(torch.bfloat16).half()
    assert metric.total.dtype == torch.float64
    assert metric.total == before
    metric.reset()
    assert metric.total.dtype == torch.float64
    assert metric.count.dtype == torch.int64


def test_a_metric_reset_in_inference_mode_goes_on_outside() -> None:
    drawings, references = embeddings(DRAWINGS, 0), embeddings(REFERENCES, 1)
    metric = ImageSimilarity()
    with torch.inference_mode():
        metric.reset()
        metric.update(drawings[:4], references)
    metric.update(drawings[4:], references)
    expected = by_numpy(drawings, references).mean()
    assert metric.compute().item() == pytest.approx(expected, abs=1e-12)


def test_a_metric_holds_no_parameters_and_nothing_for_a_checkpoint() -> None:
    metric = ImageSimilarity()
    assert not list(metric.parameters())
    assert not metric.state_dict()


@pytest.mark.parametrize("world", [1, 2, 3, DRAWINGS + 2])
def test_merged_shards_equal_one_process(world: int) -> None:
    drawings, references = embeddings(DRAWINGS, 0), embeddings(REFERENCES, 1)
    shards = []
    for rank in range(world):
        shard = ImageSimilarity()
        shard.update(drawings[rank::world], references)
        shards.append(shard)
    merged = shards[0]
    for shard in shards[1:]:
        merged.merge_state(shard)
    expected = by_numpy(drawings, references).mean()
    assert merged.compute().item() == pytest.approx(expected, abs=1e-12)


def score_a_shard(rank: int, world: int, folder: str) -> None:
    torch.set_num_threads(1)  # a forked process lacks the threads of the pool that it inherits
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/rendezvous", rank=rank, world_size=world
    )
    image, text = ImageSimilarity(), TextAlignment()
    # Three drawings and one prompt between two processes: uneven shards, and an empty one.
    image.update(embeddings(3, 0)[rank::world], embeddings(REFERENCES, 1))
    text.update(embeddings(1, 0)[rank::world], embeddings(1, 2)[rank::world])
    torch.save([image.compute(), text.compute()], f"{folder}/{rank}.pt")
    dist.destroy_process_group()


def test_two_real_processes_agree_with_one(tmp_path: Path) -> None:
    world = 2
    # Forked, because importing torch once more in each process takes tens of seconds when busy.
    start_processes(score_a_shard, (world, str(tmp_path)), nprocs=world, start_method="fork")  # type: ignore[no-untyped-call]
    image = by_numpy(embeddings(3, 0), embeddings(REFERENCES, 1)).mean()
    text = by_numpy(embeddings(1, 0), embeddings(1, 2)).item()
    for rank in range(world):
        scores = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert [score.item() for score in scores] == pytest.approx([image, text], abs=1e-12)
