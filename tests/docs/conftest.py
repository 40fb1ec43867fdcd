"""What the tests of the documentation share."""

import shutil
from pathlib import Path

import pytest
import yaml
from PIL import Image

from idgen.cli import main
from idgen.mini.subjects import sample_subject, write_subject
from tests.docs.tiny_run import changed, tiny, tiny_pair
from tests.workspace import TinyModels

LAST = Path("runs") / "base" / "checkpoints" / "last.ckpt"


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, tiny_models: TinyModels) -> Path:
    """A folder with what the pages take for granted: photos, trained runs, prompts."""
    folder = tmp_path_factory.mktemp("docs") / "template"
    for noun, photos in (("dog", "my_dog"), ("teapot", "my_mug"), ("robot", "robot")):
        write_subject(sample_subject(100, noun), folder / "photos" / photos)
        # Photos of one's own, of which nothing is known.
        (folder / "photos" / photos / "mini_subject.json").unlink()
    (folder / "prompts.txt").write_text("a [V] robot in the snow\n")
    for name, settings in (("tiny", tiny(tiny_models)), ("tiny_two", tiny_pair(tiny_models))):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    home = folder.parent / "home" / "Pictures" / "rex"
    home.mkdir(parents=True)
    for photo in sorted((folder / "photos" / "my_dog").glob("*.png")):
        Image.open(photo).save(home / photo.with_suffix(".jpg").name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(changed(["fit", "--config", "configs/base.yaml"], folder, 0)) == 0
    trained = folder / "runs" / "fit-0"
    for name in ("base", "lora"):
        shutil.copytree(trained, folder / "runs" / name)
    shutil.copy(folder / LAST, folder / "last.ckpt")
    return folder
