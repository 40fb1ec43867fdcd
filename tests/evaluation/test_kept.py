"""Evaluations of untrained models: found again whole, or not at all."""

import os
from pathlib import Path

import pytest
import torch

from idgen.evaluation.drawing import Evaluation, ScoredDrawing
from idgen.evaluation.kept import KeptEvaluations
from idgen.sampling import DrawingRequest

KEY = "0" * 64


def evaluation(seed: int = 0) -> Evaluation:
    random = torch.Generator().manual_seed(seed)
    drawings = [
        ScoredDrawing(
            DrawingRequest(f"a sks dog {place}", f"a dog {place}", place, number, 0),
            torch.randint(0, 256, (3, 8, 8), dtype=torch.uint8, generator=random),
            {"dino": 1 / 3 + place, "clip_t": None},
        )
        for place in range(2)
        for number in range(2)
    ]
    return Evaluation(drawings, {"dino": 0.1 + 0.2, "clip_t": None})


def requests(of: Evaluation) -> list[DrawingRequest]:
    return [drawing.request for drawing in of.drawings]


def test_it_is_found_as_it_was(tmp_path: Path) -> None:
    made, kept = evaluation(), KeptEvaluations(tmp_path / "new")
    assert kept.find(KEY, requests(made)) is None
    kept.keep(KEY, made)
    found = kept.find(KEY, requests(made)[::-1])
    assert found is not None
    assert found.scores == made.scores
    for one, other in zip(found.drawings, made.drawings, strict=True):
        assert (one.request, one.scores) == (other.request, other.scores)
        assert torch.equal(one.image, other.image)


def test_another_key_or_number_of_drawings_finds_nothing(tmp_path: Path) -> None:
    made, kept = evaluation(), KeptEvaluations(tmp_path)
    kept.keep(KEY, made)
    (file,) = tmp_path.iterdir()
    file.rename(file.with_name(f"{'1' * 64}{file.suffix}"))
    assert kept.find("1" * 64, requests(made)) is None
    kept.keep(KEY, made)
    assert kept.find(KEY, requests(made)[1:]) is None


@pytest.mark.parametrize("place", range(0, 1000, 37))
def test_a_changed_byte_is_seen(tmp_path: Path, place: int) -> None:
    made, kept = evaluation(), KeptEvaluations(tmp_path)
    kept.keep(KEY, made)
    (file,) = tmp_path.iterdir()
    content = bytearray(file.read_bytes())
    content[place] ^= 0x04
    file.write_bytes(content)
    found = kept.find(KEY, requests(made))
    # What the format's head says beside names and shapes may differ and mean the same.
    assert found is None or found.scores == made.scores


@pytest.mark.parametrize("content", [b"", b"\0" * 9, b"{}"])
def test_a_damaged_file_is_none(tmp_path: Path, content: bytes) -> None:
    made, kept = evaluation(), KeptEvaluations(tmp_path)
    kept.keep(KEY, made)
    (file,) = tmp_path.iterdir()
    file.write_bytes(content)
    assert kept.find(KEY, requests(made)) is None


def test_those_used_last_stay(tmp_path: Path) -> None:
    made = evaluation()
    KeptEvaluations(tmp_path).keep(KEY, made)
    (file,) = tmp_path.iterdir()
    size = file.stat().st_size
    kept = KeptEvaluations(tmp_path, 5 * size)
    keys = [str(number) * 64 for number in range(5)]
    for age, key in enumerate(keys):
        kept.keep(key, made)
        os.utime(tmp_path / f"{key}.safetensors", (age, age))
    assert kept.find(keys[0], requests(made)) is not None
    kept.keep("9" * 64, made)
    found = [kept.find(key, requests(made)) is not None for key in keys]
    assert found == [True, False, True, True, True]


def test_one_that_is_too_large_is_not_kept(tmp_path: Path) -> None:
    KeptEvaluations(tmp_path, 100).keep(KEY, evaluation())
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_changes_nothing() -> None:
    kept = KeptEvaluations(Path("/proc/none"))
    kept.keep(KEY, evaluation())
    assert kept.find(KEY, requests(evaluation())) is None
