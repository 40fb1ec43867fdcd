"""A run whose device has too little memory ends with a line that says what would help."""

import re
from typing import Any

import pytest
import torch

from idgen.backbones.latents import KLAutoencoder
from idgen.backbones.pipeline import PipelineBackbone
from idgen.cli import main
from idgen.commands.out_of_memory import out_of_memory
from idgen.doctor.saving import _changes, count_step, savings
from idgen.metrics.encoders import ClipScorer
from idgen.module import PersonalizationModule
from idgen.runs.freezing import BuiltRun, ConfigReader
from tests.workspace import Workspace


def too_much(*args: Any, **kwargs: Any) -> None:
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.\nSee ...")


def last_line(capsys: pytest.CaptureFixture[str]) -> str:
    lines = [line for line in capsys.readouterr().err.splitlines() if "error:" in line]
    assert len(lines) == 1
    return lines[0]


def test_in_a_step_it_names_settings_and_amounts(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PersonalizationModule, "on_before_backward", too_much)
    assert workspace.fit("--trainer.num_sanity_val_steps=0", "--data.batch_size=4") == 2
    line = last_line(capsys)
    assert line.startswith("idgen fit: error: out of memory on cpu in training: ")
    assert re.search(
        r"a step needs \S+ .iB, counted; what would help: .*--data.batch_size 2 with", line
    )


def test_in_a_drawing_it_names_what_drawings_take(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KLAutoencoder, "decode", too_much)
    assert workspace.fit("--data.drawing_batch_size=6") == 2
    line = last_line(capsys)
    assert "out of memory on cpu while 6 pictures were drawn at a time" in line
    assert "--data.drawing_batch_size to 3" in line


def test_a_drawing_of_one_picture_is_not_told_to_draw_fewer(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(KLAutoencoder, "decode", too_much)
    assert workspace.fit("--data.drawing_batch_size=1") == 2
    line = last_line(capsys)
    assert "while a picture was drawn: set --model.backbone.init_args.dtype bfloat16" in line
    assert "drawing_batch_size" not in line


def test_class_images_are_drawn_with_a_setting_of_their_own(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = workspace.settings()
    settings["model"]["terms"]["prior"] = {"class_path": "idgen.terms.PriorPreservation"}
    settings["data"]["prior"] = {"count": 4, "batch_size": 4}
    workspace.write(settings)
    monkeypatch.setattr(KLAutoencoder, "decode", too_much)
    assert workspace.fit() == 2
    line = last_line(capsys)
    assert "while 4 pictures were drawn at a time: set --data.prior.batch_size to 2" in line


@pytest.mark.parametrize(
    ("kind", "name", "says"),
    [
        (ClipScorer, "embed_images", "while drawings were scored: set batch_size of fidelity.clip"),
        (PipelineBackbone, "_fixed", "while the text encoders read the prompts, before training"),
    ],
)
def test_what_else_a_fit_does_is_not_taken_for_a_step(
    kind: type,
    name: str,
    says: str,
    workspace: Workspace,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = workspace.settings()
    settings["model"]["tuning"]["init_args"]["text_rank"] = 0
    workspace.write(settings)
    monkeypatch.setattr(kind, name, too_much)
    assert workspace.fit() == 2
    assert says in last_line(capsys)


def test_a_command_that_only_draws_does_not_train(
    workspace: Workspace, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PersonalizationModule, "configure_model", too_much)
    assert main(["test", "--config", str(workspace.config)]) == 2
    line = last_line(capsys)
    assert "out of memory on cpu as the model was loaded" in line
    assert "training" not in line


def test_other_errors_stay_what_they_are(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(*args: Any, **kwargs: Any) -> None:
        raise RuntimeError("shapes do not fit")

    monkeypatch.setattr(PersonalizationModule, "training_step", wrong)
    with pytest.raises(RuntimeError, match="shapes do not fit"):
        workspace.fit("--trainer.num_sanity_val_steps=0")


def test_amounts_are_those_of_the_changed_settings(workspace: Workspace) -> None:
    reader = ConfigReader()
    config = reader.read([str(workspace.config)], {"data.batch_size": 5})

    build = reader.build
    gpu = torch.device("cuda")
    now = count_step(config, build, gpu).total
    found = savings(config, build, gpu)
    changed = {key for saving in found for key in saving.settings}
    backbone = "model.backbone.init_args"
    assert {f"{backbone}.gradient_checkpointing", f"{backbone}.dtype"} <= changed
    assert {"trainer.precision", "data.batch_size"} <= changed
    assert [saving.saved for saving in found] == sorted((s.saved for s in found), reverse=True)
    least = found[-1]
    assert least.saved == now - count_step(config, build, gpu, least.settings).total > 0
    (halved,) = (saving for saving in found if "data.batch_size" in saving.settings)
    # As many photos a step of the optimizer, or more.
    assert halved.settings == {"data.batch_size": 2, "trainer.accumulate_grad_batches": 3}


def test_a_gpu_without_bfloat16_is_offered_float16(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation: False)
    config = ConfigReader().read([str(workspace.config)], {"data.batch_size": 1})
    module, gpu = ConfigReader().build(config).parts.model, torch.device("cuda")
    offered = {key: value for one in _changes(config, module, gpu) for key, value in one.items()}
    assert offered["model.backbone.init_args.dtype"] == "float16"
    assert offered["trainer.precision"] == "16-mixed"


def test_what_cannot_be_counted_still_ends_with_a_line(workspace: Workspace) -> None:
    config = ConfigReader().read([str(workspace.config)], {})

    def refuse(changed: Any) -> BuiltRun:
        raise RuntimeError("no such class")

    line = str(out_of_memory(RuntimeError(), config, torch.device("cuda"), refuse))
    assert "lower --data.batch_size" in line
