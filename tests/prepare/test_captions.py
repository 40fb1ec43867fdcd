"""Captions of a prepared subject: kept, checked, and shown on the contact sheet."""

import json
from pathlib import Path

import pytest

from idgen.errors import UserError
from idgen.prepare.captioners.captioner import with_scene
from idgen.prepare.preparation import Preparation
from idgen.prepare.subject import PreparedSubject
from tests.prepare.parts import CPU, ColourCaptioner, TinyBackbone, contents, preparation


def prepare(photos: Path, output: Path, word: str | None = "on") -> PreparedSubject:
    return preparation(word=word).run(photos, output, TinyBackbone(), CPU, False)


def asked(parts: Preparation) -> list[str]:
    assert isinstance(parts.captioner, ColourCaptioner)
    return parts.captioner.seen


def test_a_phrase_is_one_line_of_the_background(photos: Path, output: Path) -> None:
    subject = prepare(photos, output)
    for photo in subject.photos:
        red, green, blue = subject.background(photo)[0, 0]
        assert subject.caption(photo) == f"on red {red} green {green} blue {blue}"
        file = json.loads(subject.path(photo, "captions").read_text())
        assert file == {
            "idgen-key": photo.files["captions"].key,
            "caption": subject.caption(photo),
        }


def test_without_a_captioner_there_is_none(photos: Path, output: Path) -> None:
    subject = prepare(photos, output, word=None)
    assert [subject.caption(photo) for photo in subject.photos] == [None] * 3
    assert not (output / "captions").exists()


def test_only_missing_captions_are_made(photos: Path, output: Path) -> None:
    subject = prepare(photos, output)
    subject.path(subject.photos[1], "captions").unlink()
    parts, backbone = preparation(), TinyBackbone()
    assert parts.plan(photos, output, backbone) == ["caption of '01.png'"]
    parts.run(photos, output, backbone, CPU, False)
    assert asked(parts) == ["01.png"]
    assert backbone.loads == 0


def test_damage_is_made_anew_and_edits_are_refused(photos: Path, output: Path) -> None:
    subject = prepare(photos, output)
    whole, photo = contents(output), subject.photos[0]
    path = subject.path(photo, "captions")
    path.write_text("{")
    with pytest.raises(UserError, match="is not what was prepared for its photo"):
        subject.caption(photo)
    prepare(photos, output)
    assert contents(output) == whole
    path.write_text(path.read_text().replace("on red", "in front of red"))
    with pytest.raises(UserError, match=r"was changed by hand .*NAME\.txt beside"):
        prepare(photos, output)


def test_another_photos_caption_is_refused(photos: Path, output: Path) -> None:
    subject = prepare(photos, output)
    first, second = (subject.path(photo, "captions") for photo in subject.photos[:2])
    first.write_bytes(second.read_bytes())
    with pytest.raises(UserError, match="is not what was prepared for its photo"):
        subject.caption(subject.photos[0])


def test_a_changed_text_file_renews_the_sheet_alone(photos: Path, output: Path) -> None:
    prepare(photos, output)
    before = contents(output)
    (photos / "01.txt").write_text("a dog on a sofa")
    parts, backbone = preparation(), TinyBackbone()
    assert parts.plan(photos, output, backbone) == ["contact_sheet.html"]
    parts.run(photos, output, backbone, CPU, False)
    after = contents(output)
    assert {name for name in before if before[name] != after[name]} == {"contact_sheet.html"}
    assert b"a dog on a sofa" in after["contact_sheet.html"]
    assert b"from 01.txt" in after["contact_sheet.html"]
    assert (asked(parts), backbone.loads) == ([], 0)


def test_a_scene_continues_the_prompt() -> None:
    assert with_scene("a photo of a [V] dog.", "on a rug") == "a photo of a [V] dog on a rug"
    assert with_scene("a photo of a [V] dog.", "") == "a photo of a [V] dog."
