"""Text files are UTF-8, whatever wrote them and wherever they are read."""

from pathlib import Path

import pytest

from idgen.data.prompts import read_suite, suite_identity
from idgen.errors import UserError
from idgen.prepare import Photo
from idgen.prepare.segmenters.class_noun import NOUN_FILE, ClassNouns, read_noun_table
from idgen.prepare.segmenters.prompts import PROMPTS, prompts_of
from idgen.texts import read_text
from tests.workspace import Workspace, run_idgen

MARK = b"\xef\xbb\xbf"


def test_a_byte_order_mark_and_line_ends_are_not_text(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes(MARK + "café\r\nthé\rlait\n".encode())
    assert read_text(path) == "café\nthé\nlait\n"


def test_another_encoding_is_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "text.txt"
    path.write_bytes("one\ntwo cafés".encode("latin-1"))
    with pytest.raises(UserError, match=r"prompts: .*text\.txt is not UTF-8 \(line 2, byte 11\)"):
        read_text(path, "prompts")
    with pytest.raises(UserError, match=r"cannot read .*; give a file"):
        read_text(tmp_path, mend="give a file")


def test_every_file_of_the_users_may_have_a_mark(tmp_path: Path) -> None:
    suite = tmp_path / "prompts.txt"
    suite.write_bytes(MARK + "a [V] {class_noun} in a café\n".encode())
    assert read_suite(str(suite), live=False, class_noun="dog") == ["a [V] dog in a café"]
    plain = tmp_path / "plain.txt"
    plain.write_bytes(suite.read_bytes().removeprefix(MARK))
    assert suite_identity(str(suite)) == suite_identity(str(plain))

    table = tmp_path / "nouns.txt"
    table.write_bytes(MARK + "café,thé\n".encode())
    assert read_noun_table(table) == {"café": "thé"}
    photo = Photo(tmp_path / "café.jpg", "0" * 64)
    (tmp_path / NOUN_FILE).write_bytes(MARK + "théière".encode())
    assert ClassNouns().of(photo) == "théière"
    (tmp_path / PROMPTS).write_bytes(MARK + "café.jpg: {points: [[1, 2]]}".encode())
    prompts = prompts_of(photo)
    assert prompts is not None
    assert prompts.points == ((1.0, 2.0),)


def test_no_machines_encoding_counts(workspace: Workspace) -> None:
    suite = workspace.folder / "prompts.txt"
    suite.write_bytes(MARK + "a [V] {class_noun} in a café\n".encode())
    noted = "# café\n".encode() + workspace.config.read_bytes()
    workspace.config.write_bytes(MARK + noted)
    # The last is refused once configs and prompts were read.
    done = run_idgen(
        "fit",
        f"--config={workspace.config}",
        f"--data.validation_prompts={suite}",
        "--trainer.gradient_clip_algorithm=none",
        LC_ALL="C",
        PYTHONUTF8="0",
        PYTHONCOERCECLOCALE="0",
    )
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "`gradient_clip_algorithm` none is invalid" in line
