"""The examples of docs/python.md, run as they stand there with tiny models, and what they leave."""

import re
from pathlib import Path
from typing import Any

import lightning as L
import pytest
import torch
import yaml

from idgen.cli import main
from idgen.errors import UserError
from idgen.module import PersonalizationModule
from tests.commands.test_fit import assert_same
from tests.workspace import TinyModels, Workspace, make_workspace

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


@pytest.fixture(scope="module")
def example(
    tmp_path_factory: pytest.TempPathFactory, tiny_models: TinyModels
) -> tuple[Workspace, dict[str, Any]]:
    """The folder that the example ran in, and its names."""
    section = PAGE.read_text().split("## With Lightning's Trainer")[1]
    match = re.search(r"```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert match is not None
    workspace = make_workspace(tmp_path_factory.mktemp("python"), tiny_models)
    code = match[1].replace('"mini"', repr(str(tiny_models.pipeline)))
    code = code.replace('"mini:robot", "robot"', f'{str(workspace.photos)!r}, "dog"')
    # With the masks and the encoder that fit the tiny backbone.
    code = code.replace("), backbone)", "), backbone, preparation)").replace('"robot"', '"dog"')
    preparation = (
        "from idgen.models.encoders import ImageEncoder\n"
        "from idgen.prepare import MaskFiles, Preparation\n"
        f"encoder = ImageEncoder(model='local-dir:{tiny_models.encoder}')\n"
        f"preparation = Preparation(MaskFiles({str(workspace.folder / 'masks')!r}), "
        "image_encoder=encoder)\n"
    )
    names: dict[str, Any] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace.folder)
        exec(preparation + code, names)
    return workspace, names


def test_it_loads_and_goes_on_to_the_bit(example: tuple[Workspace, dict[str, Any]]) -> None:
    workspace, names = example
    stored = torch.load(workspace.folder / "two.ckpt", weights_only=True)
    module = names["module"]
    assert isinstance(module, PersonalizationModule)
    assert module.trained_steps == 2
    assert_same(dict(module.state_dict()), dict(stored["state_dict"]))

    _, whole, data = names["build"]()
    names["trainer"](4).fit(whole, datamodule=data)
    _, resumed, data = names["build"]()
    trainer: L.Trainer = names["trainer"](4)
    trainer.fit(resumed, datamodule=data, ckpt_path=workspace.folder / "two.ckpt")
    assert trainer.global_step == 4
    assert_same(dict(whole.state_dict()), dict(resumed.state_dict()))


def test_it_is_drawn_with_where_a_config_is_given(
    example: tuple[Workspace, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    workspace, _ = example
    out, path = workspace.folder / "out", workspace.folder / "two.ckpt"
    command = ["sample", str(path), "a [V] dog", "-n", "1", "--out", str(out)]
    assert main(command) == 2
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert "holds no config" in line
    assert "--config FILE" in line
    settings = workspace.settings()
    settings["model"]["tuning"]["init_args"]["rank"] = 4
    settings["model"]["conditioning"]["init_args"].pop("experts")
    workspace.config.write_text(yaml.safe_dump(settings))
    assert main([*command, "--config", str(workspace.config)]) == 0
    assert len(list((out / "images").iterdir())) == 1


def test_weights_alone_are_not_trained_on(example: tuple[Workspace, dict[str, Any]]) -> None:
    workspace, names = example
    _, module, data = names["build"]()
    trainer = names["trainer"](1)
    trainer.fit(module, datamodule=data)
    path = workspace.folder / "alone.ckpt"
    trainer.save_checkpoint(path, weights_only=True)
    _, module, data = names["build"]()
    with pytest.raises(UserError, match="weights alone"):
        names["trainer"](2).fit(module, datamodule=data, ckpt_path=path)
    parts, _, _ = names["build"]()
    loaded = PersonalizationModule.load_from_checkpoint(path, **parts, class_noun="dog")
    assert loaded.trained_steps == 1
