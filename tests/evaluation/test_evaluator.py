"""An evaluation without a trainer: scores and files of drawings that need no model to draw."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from idgen.errors import UserError
from idgen.evaluation.drawing import Evaluation
from idgen.evaluation.evaluator import Evaluator
from idgen.evaluation.fidelity import FidelityScores
from idgen.evaluation.files import metrics_content
from idgen.evaluation.recorder import DrawingRecorder
from idgen.evaluation.suite import Drawer, Suite
from idgen.masks import Mask
from idgen.metrics.balance import balance
from idgen.metrics.encoders import ClipScorer, DinoScorer
from idgen.pages.scores import FACTS
from idgen.prepare import OpenCVInpainter, find_photos
from idgen.sampling import DrawingRequest, Drawings, Sampler
from tests.metrics.tiny_models import save_clip, save_dino
from tests.parts_of_users import Brightness
from tests.prepare.parts import CentreSegmenter

CPU = torch.device("cpu")
PROMPTS = ("a dog on the beach", "a dog in the snow")
DRAWER = Drawer("last.ckpt", 4, "LoraTuning + TextOnly", "tiny", "abc")


def pictures(count: int, seed: int) -> NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    return random.integers(0, 255, (count, 32, 32, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def fidelity(tmp_path_factory: pytest.TempPathFactory) -> FidelityScores:
    folder = tmp_path_factory.mktemp("scorers")
    clip, dino = save_clip(folder / "clip"), save_dino(folder / "dino")
    own = [Brightness()]
    return FidelityScores(ClipScorer(f"local-dir:{clip}"), DinoScorer(str(dino)), scores=[*own])


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    """Three photos, in the middle of which the subject is."""
    folder = tmp_path / "rex"
    folder.mkdir()
    for index, picture in enumerate(pictures(3, 0)):
        Image.fromarray(picture).save(folder / f"{index}.png")

    def parts() -> tuple[list[Mask], list[NDArray[np.uint8]]]:
        mask = np.zeros((32, 32), np.bool_)
        mask[8:24, 8:24] = True
        return [mask] * 3, list(pictures(3, 1))

    photos = find_photos(folder)
    return Suite(
        class_noun="dog",
        folder=folder,
        photos=lambda: photos,
        pictures=lambda: [torch.from_numpy(p.pixels()).permute(2, 0, 1) for p in photos],
        parts=parts,
        segmenter=CentreSegmenter(),
        inpainter=OpenCVInpainter(),
        prompts=len(PROMPTS),
        prompts_identity="prompts",
        images_per_prompt=2,
        drawing_seed=0,
        sampler=Sampler(),
    )


def drawings(*numbers: int) -> Drawings:
    requests = [
        DrawingRequest(f"sks {PROMPTS[n // 2]}", PROMPTS[n // 2], n // 2, n % 2, 0) for n in numbers
    ]
    images = torch.from_numpy(pictures(4, 2)[list(numbers)]).permute(0, 3, 1, 2)
    return Drawings(images, requests)


def evaluated(fidelity: FidelityScores, suite: Suite) -> Evaluation:
    evaluator = Evaluator(fidelity)
    evaluator.learn_truth(suite, CPU)
    evaluator.start_test(suite, CPU)
    evaluator.add(drawings(3, 0))
    evaluator.add(drawings(1, 2))
    return evaluator.finish()


def test_validation_has_fidelity_alone(fidelity: FidelityScores, suite: Suite) -> None:
    evaluator = Evaluator(fidelity)
    evaluator.start(suite, CPU)
    evaluator.add(drawings(1, 0))
    found = evaluator.finish()
    dino, clip_t = found.scores["dino"], found.scores["clip_t"]
    assert list(found.scores) == ["dino", "clip_i", "clip_t", "balance"]
    assert dino is not None
    assert clip_t is not None
    assert found.scores["balance"] == balance(dino, clip_t)
    assert (found.photo_scores, found.protocol) == ({}, None)
    assert [drawing.request.number for drawing in found.drawings] == [0, 1]


def test_the_files_hold_what_was_found(
    fidelity: FidelityScores, suite: Suite, tmp_path: Path
) -> None:
    evaluation, folder = evaluated(fidelity, suite), tmp_path / "out"
    DrawingRecorder().record_test(folder, evaluation, suite, DRAWER, "idgen test")
    metrics = json.loads((folder / "metrics.json").read_text())
    assert metrics == json.loads(json.dumps(metrics_content(evaluation, suite, DRAWER)))
    assert set(metrics) - set(evaluation.scores) == FACTS
    rows = list(csv.DictReader((folder / "images.csv").open()))
    assert [(row["plain_prompt"], row["number"]) for row in rows] == [
        (prompt, number) for prompt in PROMPTS for number in "01"
    ]
    for row, picture in zip(rows, pictures(4, 2), strict=True):
        assert np.array_equal(np.asarray(Image.open(folder / row["file"])), picture)
        assert float(row["brightness"]) == pytest.approx(picture.mean() / 255, abs=1e-6)
    for name in ("dino", "clip_t", "leakage", "masked_dino", "diversity", "brightness"):
        mean = sum(float(row[name]) for row in rows) / len(rows)
        assert metrics[name] == pytest.approx(mean, abs=1e-5), name
    # No subject of the mini world.
    assert metrics["identity_accuracy"] is metrics["background_accuracy"] is None
    for file in ("grid.png", "report.html"):
        assert (folder / file).stat().st_size


def test_a_score_that_does_not_fit_the_drawings_is_named(
    fidelity: FidelityScores, suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Brightness, "each", lambda self, drawings: [0.5])
    evaluator = Evaluator(fidelity)
    evaluator.start_test(suite, CPU)
    with pytest.raises(UserError, match="'brightness' gave 1 values for 2 drawings"):
        evaluator.add(drawings(0, 1))


def test_a_second_evaluation_knows_nothing_of_the_first(
    fidelity: FidelityScores, suite: Suite
) -> None:
    first, again = evaluated(fidelity, suite), evaluated(fidelity, suite)
    assert len(again.drawings) == 4
    assert again.scores == first.scores
    assert again.photo_scores == first.photo_scores


def test_nothing_stays_in_memory(fidelity: FidelityScores, suite: Suite) -> None:
    evaluated(fidelity, suite)
    for scorer in (fidelity.clip, fidelity.dino):
        with pytest.raises(RuntimeError, match="call load"):
            scorer.embed_images([])


def test_grids_are_numbered_where_one_is_not_enough(
    fidelity: FidelityScores, suite: Suite, tmp_path: Path
) -> None:
    evaluation, recorder = evaluated(fidelity, suite), DrawingRecorder(grid_prompts=1)
    grids = recorder.record_validation(tmp_path / "many", evaluation, suite, 3)
    names = sorted(path.name for path in (tmp_path / "many").iterdir())
    assert len(grids) == 2
    assert names == ["scores.csv", "step-000003-1.png", "step-000003-2.png"]
    DrawingRecorder().record_validation(tmp_path / "many", evaluation, suite, 6)
    assert (tmp_path / "many" / "step-000006.png").exists()
    rows = list(csv.DictReader((tmp_path / "many" / "scores.csv").open()))
    assert [row["step"] for row in rows] == ["3", "6"]


def test_folders(tmp_path: Path) -> None:
    recorder = DrawingRecorder()
    assert recorder.stage_folder(tmp_path, "fit") == tmp_path / "validation"
    for number in ("test", "test-2", "test-3"):
        assert recorder.stage_folder(tmp_path, "test") == tmp_path / number
        (tmp_path / number).mkdir()
        (tmp_path / number / "file").touch()
    given = DrawingRecorder(tmp_path / "test")
    assert given.stage_folder(tmp_path, "predict") == tmp_path / "test"
    given.check(tmp_path, "validate")
    with pytest.raises(UserError, match="not empty"):
        given.check(tmp_path, "predict")
