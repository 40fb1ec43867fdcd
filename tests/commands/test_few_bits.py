"""A run whose frozen weights are held in few bits, where bitsandbytes is installed."""

from pathlib import Path

import pytest
import torch

from idgen.cli import main
from tests.backbones.few_bits import allow_on_a_cpu
from tests.backbones.tiny_families import FAMILIES, save_sd3
from tests.commands.test_families import changed, weights
from tests.workspace import TinyModels, make_workspace


@pytest.mark.parametrize("dtype", ["nf4", "int8"])
def test_it_trains_validates_resumes_and_draws(
    dtype: str, tmp_path: Path, tiny_models: TinyModels, monkeypatch: pytest.MonkeyPatch
) -> None:
    allow_on_a_cpu(monkeypatch)
    (family,) = (one for one in FAMILIES if one.name == "sd35_medium")
    workspace = make_workspace(tmp_path, tiny_models)
    source = save_sd3(tmp_path / "wide", wide=True)
    settings = changed(workspace.settings(), family, source)
    settings["model"]["backbone"]["init_args"]["dtype"] = dtype
    settings["trainer"]["precision"] = "bf16-mixed"
    workspace.write(settings)
    assert workspace.fit() == 0
    whole = weights(workspace.last)
    assert all(v.isfinite().all() for v in whole.values())
    assert any(v.any() for name, v in whole.items() if ".lora_B." in name)
    assert (workspace.run / "validation" / "step-000004.png").exists()
    half = ["--trainer.max_steps=2", f"--trainer.default_root_dir={tmp_path / 'half'}"]
    assert workspace.fit(*half) == 0
    last = tmp_path / "half" / "checkpoints" / "last.ckpt"
    assert main(["fit", f"--ckpt_path={last}", "--trainer.max_steps=4"]) == 0
    resumed = weights(last)
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())
    drawn = tmp_path / "drawn"
    assert main(["sample", str(last), "a [V] dog", "-n1", f"--out={drawn}"]) == 0
    assert list(drawn.glob("*.png"))
