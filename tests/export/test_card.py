"""What a card says of scores, of the base model and of folders."""

import csv
import json
from pathlib import Path

import pytest
import torch

from idgen.backbones import StableDiffusionBackbone
from idgen.errors import UserError
from idgen.export.base_model import BaseModel, check_hub_id
from idgen.export.card import without_places
from idgen.export.evidence import evidence_of
from idgen.pictures import save_png


def save_test(folder: Path, step: int, dino: float, prompts: int = 3) -> None:
    """A folder of `idgen test` of two drawings a prompt, as far as a card reads it."""
    metrics = {
        "dino": dino,
        "clip_t": 0.25,
        "leakage": None,
        "step": step,
        "images": 2 * prompts,
        "prompts": prompts,
        "drawing_seed": 5,
        "sampler": {"steps": 20, "guidance": 4.0},
        "protocol": {"dino": "/models/vits16", "clip": "ViT-B-32"},
    }
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    with (folder / "images.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["prompt", "plain_prompt", "number", "seed", "file"])
        for prompt in range(prompts):
            for number in (0, 1):
                name = f"images/{prompt}-{number}.png"
                image = torch.full((3, 4, 4), 10 * prompt + number, dtype=torch.uint8)
                save_png(image, folder / name)
                writer.writerow([f"prompt {prompt}", "", number, 5, name])


def test_scores_are_those_of_the_step_that_is_exported(tmp_path: Path) -> None:
    save_test(tmp_path / "test", step=100, dino=0.5)
    save_test(tmp_path / "test-2", step=200, dino=0.75)
    found = evidence_of(tmp_path, step=100, most=2)
    assert found is not None
    assert found.scores == {"dino": 0.5, "clip_t": 0.25}
    assert "6 drawings of 3 prompts" in found.protocol
    assert "seed 5, 20 steps, guidance 4.0; DINO by vits16, CLIP-I and CLIP-T by ViT-B-32" in (
        found.protocol
    )
    # The first drawing of each prompt.
    assert [sample.prompt for sample in found.samples] == ["prompt 0", "prompt 1"]
    assert [int(sample.image.max()) for sample in found.samples] == [0, 10]
    later = evidence_of(tmp_path, step=200, most=4)
    assert later is not None
    assert later.scores["dino"] == 0.75
    assert evidence_of(tmp_path, step=150, most=4) is None


def test_validation_stands_in_where_the_step_was_never_tested(tmp_path: Path) -> None:
    save_test(tmp_path / "test", step=100, dino=0.5)
    (tmp_path / "validation").mkdir()
    (tmp_path / "validation" / "scores.csv").write_text("step,dino,clip_i\n150,0.6,\n200,0.7,0.8\n")
    found = evidence_of(tmp_path, step=150, most=4)
    assert found is not None
    assert (found.scores, found.samples) == ({"dino": 0.6}, ())
    assert "validation" in found.protocol


def test_the_base_is_named_with_its_licence(tiny_pipeline: Path, tmp_path: Path) -> None:
    mini = BaseModel.of(StableDiffusionBackbone("mini"))
    assert (mini.hub_id, mini.licence) == (None, "apache-2.0")
    folder = tmp_path / "mine"
    folder.symlink_to(tiny_pipeline)
    unknown = BaseModel.of(StableDiffusionBackbone(str(folder)))
    assert (unknown.hub_id, unknown.name, unknown.licence) == (None, "mine", None)
    named = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    known = BaseModel.of(StableDiffusionBackbone(str(folder)), named)
    assert (known.hub_id, known.licence) == (named, "creativeml-openrail-m")


def test_a_bases_own_card_says_its_licence(tiny_pipeline: Path, tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    for path in tiny_pipeline.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n# Mine\n")
    assert BaseModel.of(StableDiffusionBackbone(str(folder)), "owner/mine").licence == "mit"
    (folder / "README.md").write_text("---\nlicense: [broken\n---\n")
    assert BaseModel.of(StableDiffusionBackbone(str(folder)), "owner/mine").licence is None


@pytest.mark.parametrize("name", ["mine", "a/b/c", "../mine", "user/my dog", "a/b--c", ""])
def test_names_that_the_hub_cannot_have_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=r"--push: .* is no name on the hub"):
        check_hub_id(name, "--push")


def test_folders_of_this_machine_become_names() -> None:
    config = {
        "model": {"source": "/home/me/sd15", "list": ["local-dir:/models/clip", "a/b", 3]},
        "data": {"subject": {"photos": "~/photos/dog", "prepared": "/home/me/prepared/dog"}},
        "prompt": "a [V] dog: on/the beach",
    }
    assert without_places(config) == {
        "model": {"source": "sd15", "list": ["local-dir:clip", "a/b", 3]},
        "data": {"subject": {"photos": "dog", "prepared": None}},
        "prompt": "a [V] dog: on/the beach",
    }
