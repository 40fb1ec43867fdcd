import json
from pathlib import Path

import pytest
import torch

from idgen.backbones import SDXLBackbone
from idgen.cli import main
from idgen.errors import UserError
from idgen.prepare import PreparedSubject
from tests.backbones.tiny_families import save_sdxl
from tests.workspace import Workspace


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return save_sdxl(tmp_path / "pipeline")


def test_the_refiner_is_refused_by_name(folder: Path) -> None:
    path = folder / "model_index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps({**index, "requires_aesthetics_score": True}))
    with pytest.raises(UserError, match=r"SDXL's refiner.*take the base model"):
        SDXLBackbone(str(folder))
    for part in ("text_encoder", "tokenizer"):
        (folder / part).rename(folder / f"not_{part}")
    refiner = {"_class_name": "StableDiffusionXLImg2ImgPipeline", "text_encoder": [None, None]}
    path.write_text(json.dumps({**index, **refiner}))
    with pytest.raises(UserError, match=r"Img2ImgPipeline\) has no text_encoder.*SDXL's refiner"):
        SDXLBackbone(str(folder))


@pytest.mark.parametrize(
    ("part", "key", "value", "named"),
    [
        ("unet", "in_channels", 9, "in_channels"),
        ("unet", "time_cond_proj_dim", 256, "time_cond_proj_dim"),
        ("unet", "addition_embed_type", "image", "addition_embed_type"),
        ("unet", "addition_time_embed_dim", 16, "projection_class_embeddings_input_dim"),
        ("text_encoder_2", "hidden_size", 48, "cross_attention_dim"),
        ("text_encoder_2", "projection_dim", 8, "projection_class_embeddings_input_dim"),
    ],
)
def test_other_layouts_are_refused(
    folder: Path, part: str, key: str, value: object, named: str
) -> None:
    path = folder / part / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    with pytest.raises(UserError, match=rf"SDXLBackbone\.source: .*is no SDXL: {named} in unet"):
        SDXLBackbone(str(folder))


@torch.no_grad()
def test_the_denoiser_is_told_which_part_of_which_picture_it_makes(folder: Path) -> None:
    backbone = SDXLBackbone(str(folder))
    backbone.load()
    noisy, times = torch.randn(2, *backbone.latent_shape), torch.tensor([500, 500])
    text = backbone.encode(["a dog", "a dog"])
    plain = backbone.predict(noisy, times, text)
    whole = torch.tensor([[16.0, 16, 0, 0, 16, 16]]).expand(2, -1)
    for unsaid in (whole, torch.zeros(2, 6)):
        assert torch.equal(backbone.predict(noisy, times, text._replace(framing=unsaid)), plain)
    part = torch.stack([whole[0], torch.tensor([40.0, 48, 0, 3, 16, 16])])
    told = backbone.predict(noisy, times, text._replace(framing=part))
    torch.testing.assert_close(told[0], plain[0])
    assert not torch.allclose(told[1], plain[1])
    # Beside a condition that says nothing.
    both = text._replace(framing=part).then(text)
    assert both.framing is not None
    assert torch.equal(both.framing, torch.cat([part, torch.zeros(2, 6)]))


def test_views_of_photos_are_told_in_training(
    folder: Path, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = workspace.settings()
    source = {"source": str(folder)}
    settings["model"]["backbone"] = {
        "class_path": "idgen.backbones.SDXLBackbone",
        "init_args": source,
    }
    workspace.write(settings)
    seen = []
    time_ids = SDXLBackbone._time_ids

    def noted(self: SDXLBackbone, *given: torch.Tensor) -> torch.Tensor:
        seen.append(time_ids(self, *given))
        return seen[-1]

    monkeypatch.setattr(SDXLBackbone, "_time_ids", noted)
    options = ["--trainer.max_steps=3", "--trainer.limit_val_batches=0"]
    assert main(["fit", f"--config={workspace.config}", *options]) == 0
    # Photos of 40 x 48, of which a square of 40 is shown on 16 pixels.
    expected = PreparedSubject(workspace.folder / "prepared").load_framing()
    assert {tuple(row[:2]) for row in expected.tolist()} == {(40, 48)}
    known = {tuple(row) for row in expected.tolist()}
    rows = [tuple(row) for ids in seen for row in ids.tolist()]
    assert len(rows) >= 3 * 2
    assert set(rows) <= known
    assert len(set(rows)) > 1


def test_no_negative_prompt_is_what_the_model_was_taught(folder: Path) -> None:
    backbone = SDXLBackbone(str(folder))
    backbone.load()
    none, some = backbone.encode_negative(""), backbone.encode_negative("a dog")
    assert not none.states.any()
    assert none.pooled is not None
    assert not none.pooled.any()
    assert some.states.any()
    path = folder / "model_index.json"
    index = {**json.loads(path.read_text()), "force_zeros_for_empty_prompt": False}
    path.write_text(json.dumps(index))
    other = SDXLBackbone(str(folder))
    other.load()
    assert other.encode_negative("").states.any()
