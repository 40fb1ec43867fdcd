"""A checkpoint of idgen 0.1 draws, or is refused in one line that says why."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from PIL import Image

from idgen import __version__
from idgen.cli import main
from tests.commands.test_bad_input import Refusal, refusal  # noqa: F401
from tests.workspace import Workspace

# What 0.2 has added to configs, below `init_args` and beside it.
ADDED = ("solver", "size", "dora", "rank_dropout", "text_lr", "captions", "companion", "pairs")


def without_additions(part: Any) -> Any:
    if isinstance(part, dict):
        return {k: without_additions(v) for k, v in part.items() if k not in ADDED}
    return [without_additions(entry) for entry in part] if isinstance(part, list) else part


def save_old(trained: Workspace, path: Path, **tuning: Any) -> Path:
    checkpoint = torch.load(trained.last, weights_only=True)
    made = checkpoint["idgen"]
    assert made.pop("idgen_version") == __version__ == "0.2.0"
    config = without_additions(yaml.safe_load(made["config"]))
    config["model"]["tuning"]["init_args"].update(tuning)
    made["config"] = yaml.safe_dump(config)
    del made["config_digest"]
    torch.save(checkpoint, path)
    return path


def test_it_draws_what_it_drew(trained: Workspace, tmp_path: Path) -> None:
    old = save_old(trained, tmp_path / "old.ckpt")
    out, beside = tmp_path / "out", ("--beside", str(old))
    words = ["a [V] dog in the snow", "-n", "1", "--out", str(out)]
    assert main(["sample", str(trained.run), *words, *beside]) == 0
    one, other = (next((out / "images" / name).iterdir()) for name in ("run", "old"))
    assert np.array_equal(np.asarray(Image.open(one)), np.asarray(Image.open(other)))


def test_a_setting_that_is_gone_is_told_with_the_version(
    trained: Workspace,
    tmp_path: Path,
    refusal: Refusal,  # noqa: F811
) -> None:
    old = save_old(trained, tmp_path / "old.ckpt", gone_since=1)
    line = refusal("sample", str(old), "a [V] dog", "--out", str(tmp_path / "out"))
    assert f"was written by idgen 0.1, and this is {__version__}: " in line
    assert "gone_since" in line
