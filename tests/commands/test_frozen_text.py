"""A fit without its frozen text encoders is the fit that it was with them."""

from pathlib import Path
from typing import Any, ClassVar

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import Callback

from idgen.backbones.frozen_text import FrozenTextBackbone
from tests.backbones.test_frozen_text import loads
from tests.backbones.tiny_families import FAMILIES
from tests.commands.test_families import changed
from tests.workspace import TinyModels, Workspace, make_workspace

EMA = "lightning.pytorch.callbacks.EMAWeightAveraging"


class Look(Callback):
    """Notes the losses, and the networks that are there, of each step."""

    losses: ClassVar[list[float]] = []
    parts: ClassVar[set[str]] = set()

    def on_train_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *args: Any
    ) -> None:
        Look.losses.append(float(outputs["loss"]))
        named = pl_module.backbone.named_parameters()  # type: ignore[union-attr]
        Look.parts |= {name.partition(".")[0] for name, _ in named}


def fitted(workspace: Workspace, run: Path, *options: str) -> tuple[list[float], set[str]]:
    Look.losses, Look.parts = [], set()
    look = f"--trainer.callbacks+={Look.__module__}.Look"
    assert workspace.fit(f"--trainer.default_root_dir={run}", look, *options) == 0
    return Look.losses, Look.parts


def everything(run: Path) -> tuple[dict[str, torch.Tensor], dict[str, bytes]]:
    """The trained weights, and what validation drew."""
    state = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    pictures = {path.name: path.read_bytes() for path in sorted((run / "validation").glob("*.png"))}
    assert pictures
    return state, pictures


@pytest.mark.parametrize(
    ("name", "tuning", "there", "options"),
    [
        ("", {"text_rank": 0}, {"unet"}, ("preserved", "ema")),
        ("flux1_dev", {"text_encoders": [0]}, {"transformer", "text_encoder"}, ("ema",)),
        ("z_image", {"text_rank": 0}, {"transformer"}, ()),
    ],
)
def test_losses_weights_and_drawings_are_the_same(
    name: str,
    tuning: dict[str, Any],
    there: set[str],
    options: tuple[str, ...],
    tmp_path: Path,
    tiny_models: TinyModels,
) -> None:
    workspace = make_workspace(tmp_path, tiny_models)
    settings = workspace.settings()
    for family in (family for family in FAMILIES if family.name == name):
        settings = changed(settings, family, family.save(tmp_path / "pipeline"))
    settings["model"]["tuning"]["init_args"] |= tuning
    if "preserved" in options:
        settings["model"]["terms"]["preserved"] = {
            "class_path": "idgen.terms.BackgroundPreservation"
        }
        settings["data"]["captions"] = {"use": "always", "dropout": 0.4}
        for number, words in enumerate(("on a sofa", "in the snow")):
            (workspace.photos / f"{number}.txt").write_text(f"a dog {words}")
    workspace.write(settings)
    ema = [f"--trainer.callbacks+={EMA}", "--trainer.callbacks.decay=0.5"]
    further = ema if "ema" in options else []

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FrozenTextBackbone, "keep_texts", lambda *given: None)
        losses, parts = fitted(workspace, tmp_path / "with", *further)
    assert parts > there
    with loads() as loaded:
        assert fitted(workspace, tmp_path / "without", *further) == (losses, there)
    texts = [part for part in loaded if part.startswith("text_encoder")]
    assert 1 <= len(texts) == len(set(texts))
    assert len(losses) == 4
    (state, pictures), (expected, as_drawn) = map(
        everything, (tmp_path / "without", tmp_path / "with")
    )
    assert state.keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in state.items())
    assert pictures == as_drawn
