from pathlib import Path

import pytest

from idgen.data.subject import Subject
from idgen.errors import UserError
from idgen.prepare import find_photos, find_subjects
from idgen.prepare.kohya_folders import kohya_folder, kohya_root
from idgen.prepare.segmenters.class_noun import NOUN_FILE, ClassNouns
from tests.prepare.parts import TinyBackbone, preparation
from tests.prepare.pictures import save_pictures


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("10_sks dog", (10, "sks", "dog")),
        ("3_ohwx teddy bear", (3, "ohwx", "teddy bear")),
        ("1_dog", (1, None, "dog")),
        ("dog", None),
        ("0_sks dog", None),
        ("2024_summer dog", None),
        ("10_", None),
    ],
)
def test_a_name_says_repeats_token_and_noun(
    name: str, said: tuple[int, str | None, str] | None
) -> None:
    found = kohya_folder(Path("some") / name)
    assert (None if found is None else found[1:]) == said


def test_a_root_leads_to_its_subject(tmp_path: Path) -> None:
    inner = save_pictures(tmp_path / "root" / "10_sks dog", 0, 1)
    subject = Subject(str(tmp_path / "root"))
    assert subject.photos_folder == inner
    assert subject.class_noun == "dog"
    assert Subject(str(inner)).class_noun == "dog"
    # What the user says wins.
    assert Subject(str(inner), class_noun="corgi").class_noun == "corgi"
    assert find_subjects(tmp_path / "root") == [inner]


def test_a_root_of_several_is_refused_by_name(tmp_path: Path) -> None:
    for name in ("10_sks dog", "5_zwx cat"):
        save_pictures(tmp_path / name, 0)
    assert [one.noun for one in kohya_root(tmp_path)] == ["dog", "cat"]
    with pytest.raises(UserError, match=r"several subjects: .*10_sks dog.*5_zwx cat"):
        Subject(str(tmp_path))
    # Other folders beside one make it no root.
    save_pictures(tmp_path / "more", 0)
    assert kohya_root(tmp_path) == []


def test_the_noun_is_taken_over_and_said(tmp_path: Path) -> None:
    folder = save_pictures(tmp_path / "10_sks dog", 0)
    photo = find_photos(folder)[0]
    assert ClassNouns(noun="thing").of(photo) == "dog"
    with pytest.warns(UserWarning, match=r"noun 'dog', token 'sks', 10 repeats"):
        preparation().find(folder, TinyBackbone())
    (folder / NOUN_FILE).write_text("corgi\n")
    assert ClassNouns(noun="thing").of(photo) == "corgi"
