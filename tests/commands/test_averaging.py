"""An average of the trained weights, by Lightning's own callback."""

from pathlib import Path
from typing import Any

import torch

from idgen.cli import main
from tests.workspace import TinyModels, make_workspace

AVERAGING = (
    "--trainer.callbacks+=lightning.pytorch.callbacks.EMAWeightAveraging",
    "--trainer.callbacks.decay=0.75",
)
Weights = dict[str, torch.Tensor]


def stored(folder: Path) -> dict[str, Any]:
    checkpoint: dict[str, Any] = torch.load(folder / "checkpoints/last.ckpt", weights_only=True)
    return checkpoint


def test_averaged_weights_are_kept_and_gone_on_with(
    tmp_path: Path, tiny_models: TinyModels
) -> None:
    workspace = make_workspace(tmp_path, tiny_models)

    def fit(steps: int, folder: str, *options: str) -> dict[str, Any]:
        run = tmp_path / folder
        root = f"--trainer.default_root_dir={run}"
        assert workspace.fit(root, f"--trainer.max_steps={steps}", *options) == 0
        return stored(run)

    first, second = (fit(steps, f"plain {steps}")["state_dict"] for steps in (1, 2))
    whole = fit(2, "averaged", *AVERAGING)
    assert whole["state_dict"].keys() == first.keys()
    for key, weight in whole["state_dict"].items():
        # The average starts as the weights after the first step.
        torch.testing.assert_close(weight, 0.75 * first[key] + 0.25 * second[key])
        assert torch.equal(whole["current_model_state"][key], second[key])

    fit(1, "stopped", *AVERAGING)
    last = tmp_path / "stopped" / "checkpoints" / "last.ckpt"
    assert main(["fit", f"--ckpt_path={last}", "--trainer.max_steps=2"]) == 0
    resumed = stored(tmp_path / "stopped")
    for name in ("state_dict", "current_model_state"):
        for key, weight in resumed[name].items():
            assert torch.equal(weight, whole[name][key]), (name, key)
