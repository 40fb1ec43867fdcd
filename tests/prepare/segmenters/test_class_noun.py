from pathlib import Path

import pytest

from idgen.errors import UserError
from idgen.prepare import Photo
from idgen.prepare.segmenters.class_noun import NOUN_FILE, ClassNouns, read_noun_table

DREAMBENCH = """Classes

subject_name,class
backpack,backpack
bear_plushie,stuffed animal

Prompts

Object Prompts

prompt_list = [
'a {0} {1} in the jungle'.format(unique_token, class_token),
'a {0} {1} on top of a wooden floor'.format(unique_token, class_token),
]
"""


def test_dreambenchs_table(tmp_path: Path) -> None:
    path = tmp_path / "prompts_and_classes.txt"
    path.write_text(DREAMBENCH)
    assert read_noun_table(path) == {"backpack": "backpack", "bear_plushie": "stuffed animal"}


@pytest.mark.parametrize(
    ("content", "named"),
    [(b"", "0"), (b"\n \n", "0"), (b"dog\ncat\n", "2"), (b"\xff\xfe\x00", "not UTF-8")],
)
def test_a_file_that_says_no_noun(tmp_path: Path, content: bytes, named: str) -> None:
    (tmp_path / NOUN_FILE).write_bytes(content)
    photo = Photo(tmp_path / "00.jpg", "0" * 64)
    with pytest.raises(UserError, match=named) as caught:
        ClassNouns("dog").of(photo)
    assert NOUN_FILE in str(caught.value)


def test_a_table_of_none(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text(DREAMBENCH.partition("Prompts")[2])
    for path in (tmp_path / "classes.txt", tmp_path / "absent.txt", tmp_path):
        with pytest.raises(UserError, match=str(path)):
            read_noun_table(path)


def test_a_byte_order_mark_is_no_part_of_the_noun(tmp_path: Path) -> None:
    (tmp_path / NOUN_FILE).write_bytes(b"\xef\xbb\xbfdog\r\n")
    assert ClassNouns().of(Photo(tmp_path / "00.jpg", "0" * 64)) == "dog"
