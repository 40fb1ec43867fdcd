"""Which photos are several subjects', as a parsed config has them."""

import shutil
from typing import Any

import pytest

from idgen.errors import UserError
from idgen.runs.freezing import ConfigReader
from idgen.runs.several import find_several
from tests.workspace import Workspace


@pytest.mark.parametrize("whole", [False, True], ids=["short", "with its class"])
def test_the_folder_of_masks_is_no_subject(workspace: Workspace, whole: bool) -> None:
    inside = workspace.photos / "masks"
    shutil.copytree(workspace.folder / "masks", inside)
    changed = workspace.settings()
    preparation: dict[str, Any] = changed["data"]["preparation"]
    if whole:
        named = {"class_path": "idgen.prepare.Preparation", "init_args": preparation}
        changed["data"]["preparation"] = named
    workspace.write(changed)
    reader = ConfigReader()
    parsed = reader.read([str(workspace.config)], {})
    parsed.ckpt_path = None
    # The masks are elsewhere: these pictures could be another subject's photos.
    with pytest.raises(UserError, match="beside folders of photos"):
        find_several(parsed)
    preparation["segmenter"]["init_args"]["folder"] = str(inside)
    workspace.write(changed)
    parsed = reader.read([str(workspace.config)], {})
    parsed.ckpt_path = None
    assert find_several(parsed) == []


def test_each_folder_is_one(workspace: Workspace) -> None:
    for name in ("rex", "animals/cat", "animals/dog"):
        shutil.copytree(workspace.photos, workspace.folder / "all" / name)
    reader, photos = ConfigReader(), str(workspace.folder / "all")
    parsed = reader.read([str(workspace.config)], {"data.subject.photos": photos})
    parsed.ckpt_path = None
    names = [path.name for path in find_several(parsed)]
    assert names == ["cat", "dog", "rex"]
