"""What files of weights hold is read without their weights."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from idgen.integrity import weight_names


def test_names_are_those_that_safetensors_wrote(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"a.weight": torch.ones(3, 2), "b": torch.zeros(5)}, path, {"made": "here"})
    assert sorted(weight_names(path)) == ["a.weight", "b"]
    save_file({}, path)
    assert weight_names(path) == []


def test_a_file_that_is_cut_short_or_of_another_kind_has_none(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"a": torch.ones(300)}, path)
    whole = path.read_bytes()
    for content in (whole[:-1], whole + b"x", whole[:20], whole[:4], b"", b"no weights at all"):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"cut short|Expecting|no safetensors|utf-8"):
            weight_names(path)
