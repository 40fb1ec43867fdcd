"""The error that the user can mend."""

from idgen.errors import UserError


def test_it_is_one_line() -> None:
    assert str(UserError("\n no such\r\n\n  folder;\n give another one\n")) == (
        "no such folder; give another one"
    )


def test_a_name_keeps_its_spaces() -> None:
    assert str(UserError("'a  b.jpg' is empty")) == "'a  b.jpg' is empty"
