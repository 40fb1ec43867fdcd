"""What `idgen export` wrote, drawn with by `idgen sample` beside its checkpoint."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idgen.cli import main
from idgen.loaded.export_note import ExportNote, note_of
from idgen.placeholders import named
from tests.commands.test_bad_input import Refusal, refusal  # noqa: F401
from tests.workspace import Workspace

FORMATS = ("diffusers", "kohya", "merged")
PROMPT = "a [V] {class_noun} on the beach"


@pytest.fixture(scope="module")
def exports(trained: Workspace, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("exports")
    for name in FORMATS:
        options = ["--format", name, "--output", str(folder / name), "--no-verify", "--samples=0"]
        assert main(["export", str(trained.run), *options]) == 0
    return folder


def pictures(folder: Path) -> list[np.ndarray]:
    return [np.asarray(Image.open(path)).astype(int) for path in sorted(folder.iterdir())]


def test_each_draws_what_the_checkpoint_draws(
    trained: Workspace, exports: Path, tmp_path: Path
) -> None:
    out, base = tmp_path / "out", str(trained.models.pipeline)
    models = [str(exports / "merged"), str(trained.run), str(exports / "diffusers")]
    [file] = [path for path in (exports / "kohya").iterdir() if path.suffix == ".safetensors"]
    models += [str(file), base]
    beside = [word for model in models[1:] for word in ("--beside", model)]
    command = ["sample", models[0], PROMPT, "-n", "2", *beside, "--backbone", base]
    assert main([*command, "--out", str(out)]) == 0
    ours = pictures(out / "images" / "run")
    for name in ("merged", "diffusers", "sks_dog"):
        for one, other in zip(ours, pictures(out / "images" / name), strict=True):
            assert np.abs(one - other).max() <= 1, name
    bare = pictures(out / "images" / "pipeline")
    assert all(np.abs(a - b).max() > 1 for a, b in zip(ours, bare, strict=True))

    [picture, _] = sorted((out / "images" / "merged").iterdir())
    assert main(["sample", "--like", str(picture), "--out", str(tmp_path / "again")]) == 0


def test_it_knows_its_word_and_how_the_run_draws(exports: Path) -> None:
    [file] = [path for path in (exports / "kohya").iterdir() if path.suffix == ".safetensors"]
    for path in (exports / "diffusers", exports / "merged", file):
        note = note_of(path)
        assert note is not None
        assert note.words == {"[V]": "sks"}
        assert (note.class_noun, note.base) == ("dog", None)
        assert note.sampler["steps"] == 2
        assert ExportNote.of_plain(note.as_plain()) == note
    (exports / "kohya" / "README.md").rename(exports / "kohya" / "card.md")
    assert note_of(file) is not None, "the file's own metadata has it too"
    assert ExportNote.of_plain({"word": "sks"}) is None


def test_two_subjects_have_a_word_each() -> None:
    note = ExportNote("0.2.0", "kohya", "sks", "robot", "mini", "zwx", {})
    said = named("a [V1] robot and a [V2] cat by a [V] robot", note.words)
    assert said == "a sks robot and a zwx cat by a sks robot"


def test_what_cannot_be_drawn_with_is_one_line(
    trained: Workspace,
    exports: Path,
    tmp_path: Path,
    refusal: Refusal,  # noqa: F811
) -> None:
    out = ("--out", str(tmp_path / "out"))
    base = ("--backbone", str(trained.models.pipeline))
    lora = str(exports / "diffusers")
    assert "does not say what it was trained on" in refusal("sample", lora, "a [V] dog", *out)
    assert "names [V2], and the model knows [V]" in refusal("sample", lora, "a [V2]", *out, *base)
    wrong = refusal("sample", lora, "a [V] dog", *out, "--backbone", "mini")
    assert "does not fit 'mini'" in wrong
    again = ("--format", "kohya", "--output", str(tmp_path / "out"))
    assert "is no checkpoint, but exported already" in refusal("export", lora, *again)
    card = exports / "diffusers" / "README.md"
    card.write_text(card.read_text().replace("    steps: 2", "    steps: 0"))
    assert "steps must be 1 or more" in refusal("sample", lora, "a [V] dog", *out, *base)
    card.write_text(card.read_text().replace("format: diffusers", "format: fusion"))
    assert "is an export --format fusion" in refusal("sample", lora, "a [V] dog", *out, *base)
    assert not (tmp_path / "out").exists()
