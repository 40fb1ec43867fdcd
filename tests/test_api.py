"""idgen.train and idgen.load: the example of docs/python.md with tiny models, and refusals."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import idgen
from idgen import api
from idgen.cli import command, main
from idgen.errors import UserError
from tests.workspace import TinyModels, Workspace, make_workspace

PAGE = Path(__file__).parents[1] / "docs" / "python.md"


@pytest.fixture(scope="module")
def example(
    tmp_path_factory: pytest.TempPathFactory, tiny_models: TinyModels
) -> tuple[Workspace, dict[str, Any], list[list[str]]]:
    """The folder that the example ran in, its names, and how the export was asked for."""
    section = PAGE.read_text(encoding="utf-8").split("## With Lightning's Trainer")[0]
    match = re.search(r"```python\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert match is not None
    workspace = make_workspace(tmp_path_factory.mktemp("api"), tiny_models)
    (workspace.folder / "photos").rename(workspace.folder / "my_dog")
    code = match[1].replace('"photos/my_dog"', '"my_dog"').replace("=200", "=2")
    code = code.replace('"configs/base.yaml"', repr(str(workspace.config)))
    assert code.count("steps=10") == 1
    names: dict[str, Any] = {}
    asked: list[list[str]] = []

    def stand_in(name: str) -> Any:
        return asked.append if name == "export" else command(name)

    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(workspace.folder)
        # What is written is the export's to test.
        patch.setattr(api, "command", stand_in)
        exec(code.replace("steps=10", "steps=2"), names)
    return workspace, names, asked


def test_it_trains_draws_scores_and_exports(
    example: tuple[Workspace, dict[str, Any], list[list[str]]], tmp_path: Path
) -> None:
    workspace, names, asked = example
    last = workspace.folder / "runs" / "my_dog" / "checkpoints" / "last.ckpt"
    dog = names["dog"]
    assert dog.checkpoint == last
    assert dog.step == 2
    assert [picture.size for picture in names["pictures"]] == [(16, 16)] * 2
    assert (workspace.folder / "snow.png").exists()
    assert len(list((workspace.folder / "drawings" / "images").iterdir())) == 2
    assert names["scores"]["images"] == 3
    assert asked == [[str(last), "--format=diffusers", "--output=exported"]]

    # What the command line draws, to the pixel.
    out = tmp_path / "out"
    words = ["a [V] dog in the snow", "-n", "2", "--seed", "1", "--out", str(out)]
    assert main(["sample", str(last), *words]) == 0
    drawn = [np.asarray(Image.open(path)) for path in sorted((out / "images").iterdir())]
    ours = [np.asarray(picture) for picture in names["pictures"]]
    assert all(np.array_equal(one, other) for one, other in zip(drawn, ours, strict=True))


def test_a_report_is_kept_where_a_folder_is_named(
    example: tuple[Workspace, dict[str, Any], list[list[str]]], tmp_path: Path
) -> None:
    _, names, _ = example
    prompts = ["a [V] dog"]
    metrics = names["dog"].score(tmp_path / "kept", data__test_images=1, data__test_prompts=prompts)
    assert metrics == json.loads((tmp_path / "kept" / "metrics.json").read_text())
    assert metrics["images"] == 1


def test_what_cannot_be_used_is_raised(
    example: tuple[Workspace, dict[str, Any], list[list[str]]], tmp_path: Path
) -> None:
    workspace, names, _ = example
    dog = names["dog"]
    with pytest.raises(UserError, match="does not name the subject"):
        dog.sample("a dog")
    with pytest.raises(UserError, match="n must be 1 or more"):
        dog.sample("a [V] dog", n=0)
    for wrong in ({"steps": 0}, {"stepps": 3}):
        with pytest.raises(UserError, match="step"):
            dog.sample("a [V] dog", **wrong)
    with pytest.raises(UserError, match=r"there is no file .*no\.ckpt"):
        idgen.load(tmp_path / "no.ckpt")
    with pytest.raises(UserError, match="a folder for each of several subjects"):
        idgen.train(_holding(workspace.folder / "my_dog", tmp_path / "all"), "dog")
    with pytest.raises(UserError, match="one device"):
        idgen.train(tmp_path, "dog", trainer__devices=2)
    config = workspace.config
    with pytest.raises(UserError, match="did you mean"):
        idgen.train(workspace.folder / "my_dog", "dog", config, tmp_path / "a", data__batch_sise=1)
    bare = idgen.load(workspace.models.pipeline)
    with pytest.raises(UserError, match="is no checkpoint"):
        bare.score()
    assert bare.sample("a [V] dog", steps=1)[0].size == (16, 16)


def _holding(photos: Path, parent: Path) -> Path:
    """A folder that holds one of photos."""
    shutil.copytree(photos, parent / photos.name)
    return parent


def test_a_reference_and_a_backbone_that_moved(
    example: tuple[Workspace, dict[str, Any], list[list[str]]], tmp_path: Path
) -> None:
    workspace, names, _ = example
    base = tmp_path / "moved"
    shutil.copytree(workspace.models.pipeline, base)
    photo = workspace.folder / "my_dog" / "0.png"
    last = names["dog"].checkpoint

    def drawn(weight: float) -> np.ndarray:
        model = idgen.load(last, backbone=str(base), reference=photo, reference_weight=weight)
        return np.asarray(model.sample("a [V] dog")[0])

    plain = np.asarray(names["dog"].sample("a [V] dog")[0])
    assert np.array_equal(drawn(0.0), plain)
    assert not np.array_equal(drawn(1.0), plain)


def test_the_package_imports_nothing_heavy_and_knows_its_names() -> None:
    assert idgen.train is api.train
    assert idgen.load is api.load
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = idgen.lode  # type: ignore[attr-defined]
