"""Each setting of docs/settings.md in a run of a few steps, through the real command line."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from idgen.cli import main
from idgen.yaml_texts import own_yaml
from tests.commands.test_bad_input import Refusal, refusal  # noqa: F401
from tests.commands.test_fit import assert_same
from tests.workspace import TinyModels, Workspace, make_workspace

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"
LORA = "--model.tuning.init_args"


def section(heading: str) -> str:
    """What is under a heading of the page."""
    return PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]


def options_of(heading: str) -> list[str]:
    """The options of the command under a heading of the page."""
    command = re.search(r"^idgen fit((?:.*\\\n)*.*)$", section(heading), re.MULTILINE)
    assert command is not None, heading
    words = command[1].replace("\\\n", " ").split()
    assert words[:2] == ["--config", "configs/base.yaml"]
    return words[2:]


@pytest.fixture(scope="module")
def subject(tmp_path_factory: pytest.TempPathFactory, tiny_models: TinyModels) -> Workspace:
    """Prepared once for all of them."""
    workspace = make_workspace(tmp_path_factory.mktemp("settings"), tiny_models)
    assert main(["prepare", "--config", str(workspace.config)]) == 0
    return workspace


def trained(
    subject: Workspace, folder: Path, options: Sequence[str], steps: int = 2
) -> dict[str, Any]:
    short = (f"--trainer.max_steps={steps}", "--trainer.limit_val_batches=0")
    root = f"--trainer.default_root_dir={folder}"
    assert subject.fit(root, *short, *options) == 0
    checkpoint: dict[str, Any] = torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True)
    return checkpoint


def groups(checkpoint: dict[str, Any]) -> list[dict[str, Any]]:
    [optimizer] = checkpoint["optimizer_states"]
    found: list[dict[str, Any]] = optimizer["param_groups"]
    return found


def test_the_text_side_has_a_rate_of_its_own(subject: Workspace, tmp_path: Path) -> None:
    options = options_of("A rate of its own for the text side")
    made = trained(subject, tmp_path / "a", options)
    text_lr = next(o for o in options if o.startswith("5")), 5e-6
    rest, text = groups(made)
    assert (rest["lr"], text["lr"]) == (1e-2, float(text_lr[0]))
    encoder = [n for n in made["state_dict"] if "text_encoder" in n]
    assert len(text["params"]) == len(encoder) > 0
    assert len(rest["params"]) + len(encoder) == len(
        [n for n in made["state_dict"] if "lora" in n or n.startswith("conditioning")]
    )
    # Stopped and gone on with, it comes to the same weights to the bit.
    whole = trained(subject, tmp_path / "whole", options, steps=3)
    last = tmp_path / "a" / "checkpoints" / "last.ckpt"
    assert main(["fit", f"--ckpt_path={last}", "--trainer.max_steps=3"]) == 0
    assert_same(torch.load(last, weights_only=True)["state_dict"], whole["state_dict"])


def test_a_rate_of_its_own_is_used_and_another_grouping_is_refused(
    subject: Workspace,
    tmp_path: Path,
    refusal: Refusal,  # noqa: F811
) -> None:
    fast = trained(subject, tmp_path / "fast", ["--model.text_lr=0.01"])
    same = trained(subject, tmp_path / "same", [])
    # At the rate of all others it is what it is without.
    for name, weight in same["state_dict"].items():
        torch.testing.assert_close(fast["state_dict"][name], weight)
    last = tmp_path / "same" / "checkpoints" / "last.ckpt"
    line = refusal("fit", f"--ckpt_path={last}", "--trainer.max_steps=4", "--model.text_lr=0.01")
    assert "optimizer: the checkpoint holds the state of" in line
    given = ("fit", f"--config={subject.config}", f"--trainer.default_root_dir={tmp_path / 'no'}")
    assert "text_lr must be finite" in refusal(*given, "--model.text_lr=0")
    frozen = refusal(*given, "--model.text_lr=0.01", f"{LORA}.text_rank=0")
    assert "--model.text_lr: nothing is trained on the text side" in frozen


@pytest.mark.parametrize(
    "heading", ["DoRA", "Rank dropout", "An average of the weights", "8-bit AdamW", "Prodigy"]
)
def test_each_setting_trains_and_draws(subject: Workspace, tmp_path: Path, heading: str) -> None:
    options = options_of(heading)
    package = {"8-bit AdamW": "bitsandbytes", "Prodigy": "prodigyopt"}.get(heading)
    if package is not None:
        pytest.importorskip(package)
    made = trained(subject, tmp_path / "run", options)
    assert all(weight.isfinite().all() for weight in made["state_dict"].values())
    moved = [w for n, w in made["state_dict"].items() if "lora_B" in n]
    assert any(weight.abs().max() > 0 for weight in moved)
    if heading == "DoRA":
        assert any("lora_magnitude_vector" in name for name in made["state_dict"])
    if heading == "An average of the weights":
        assert made["current_model_state"].keys() == made["state_dict"].keys()
    if package is not None:
        assert made["idgen"]["optimizer"].startswith(package)
    if package is not None or heading == "Rank dropout":
        return  # such a checkpoint is one of LoRA as any other
    out = tmp_path / "out"
    assert main(["sample", str(tmp_path / "run"), "a [V] dog", "-n", "1", "--out", str(out)]) == 0
    assert len(list((out / "images").iterdir())) == 1


def test_a_cpu_is_not_compiled_for_and_trains_the_same(
    subject: Workspace, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO"):
        made = trained(subject, tmp_path / "a", options_of("A compiled denoiser"))
    assert "on the cpu it seldom pays back" in caplog.text
    plain = trained(subject, tmp_path / "b", ())
    assert_same(made["state_dict"], plain["state_dict"])


def test_settings_for_less_memory_train_together(subject: Workspace, tmp_path: Path) -> None:
    options = re.findall(r"^\| `(--\S+) (\S+)` \|", section("Less memory"), re.MULTILINE)
    assert len(options) == 4
    given = [f"{key}={'24' if key.endswith('resolution') else value}" for key, value in options]
    made = trained(subject, tmp_path / "run", given)
    config = own_yaml(made["idgen"]["config"])
    assert config["model"]["backbone"]["init_args"]["dtype"] == "bfloat16"
    assert config["data"]["preparation"]["init_args"]["resolution"] == 24
    moved = [w for n, w in made["state_dict"].items() if "lora_B" in n]
    assert any(weight.abs().max() > 0 for weight in moved)


def test_every_heading_of_the_page_is_run() -> None:
    source = Path(__file__).read_text(encoding="utf-8")
    headings = re.findall(r"^## (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)
    assert headings
    assert [heading for heading in headings if f'"{heading}"' not in source] == []
