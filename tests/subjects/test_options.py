"""What of `idgen fit` is about several subjects is taken out of its command line."""

import pytest

from idgen.errors import UserError
from idgen.subjects.options import SubjectOptions, take_options


def test_other_options_are_left_in_their_order() -> None:
    given = ["--config", "a.yaml", "--jobs=2", "--data.batch_size", "4", "--test", "false"]
    found, rest = take_options([*given, "--trainer.max_steps=-1"])
    assert found == SubjectOptions(jobs=2, test=False, given=("--jobs", "--test"))
    assert rest == ["--config", "a.yaml", "--data.batch_size", "4", "--trainer.max_steps=-1"]
    assert take_options(rest) == (SubjectOptions(), rest)


@pytest.mark.parametrize("option", ["--jobs=0", "--jobs=some", "--engine=slurm", "--test=maybe"])
def test_other_values_are_refused_with_the_option(option: str) -> None:
    with pytest.raises(UserError, match=option.split("=")[0]):
        take_options([option])
