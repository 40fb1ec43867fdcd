import errno
import os
from pathlib import Path

import pytest
import torch

from idgen.callbacks.checkpoint import AtomicCheckpointIO
from idgen.errors import UserError


def test_a_full_disk_is_one_line_and_keeps_the_old_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    AtomicCheckpointIO().save_checkpoint({"step": 1}, path)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(UserError, match="No space left") as refusal:
        AtomicCheckpointIO().save_checkpoint({"step": 2}, path)
    assert "\n" not in str(refusal.value)
    assert "--ckpt_path" in str(refusal.value)
    assert torch.load(path, weights_only=True) == {"step": 1}
    assert [entry.name for entry in path.parent.iterdir()] == ["last.ckpt"]
