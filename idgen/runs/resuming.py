"""What `fit` does in a folder: begins, goes on from a checkpoint there, or is refused."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idgen.errors import UserError
from idgen.runs.folder import ROOT_KEY, RunFolder
from idgen.runs.stored import StoredRun, read_stored_run

# What decides no weight and no score: the same command on another machine, or in a moved folder,
# is the same run.
_OF_NO_MATTER = (
    "trainer.default_root_dir",
    "trainer.accelerator",
    "trainer.logger",
    "trainer.log_every_n_steps",
    "trainer.enable_progress_bar",
    "trainer.enable_model_summary",
    "trainer.profiler",
    "checkpoint.dirpath",
    "drawings",
    "compile",
)


@dataclass(frozen=True)
class Start:
    """How a run starts.

    Attributes:
        checkpoint: What it goes on from, None if it begins.
        stored: What that checkpoint says of itself.
        begun_from: The checkpoint of another run that this one went out from, if there is one.
        said: What the user is told about it, where there is anything to tell.
    """

    checkpoint: Path | None
    stored: StoredRun | None
    begun_from: str | None
    said: str | None = None


def settle(
    folder: RunFolder, given: Path | None, stored: StoredRun | None, config: Mapping[str, Any]
) -> Start:
    """Settles how a run starts, by what its folder holds. Nothing is written.

    The same command on an unfinished run goes on, or begins again where there is nothing to go on
    from. Another run's folder is refused, and so is that of a finished one.

    Args:
        folder: Where it is to run.
        given: The checkpoint that it was told to go on from.
        stored: What that one says of itself.
        config: The run's whole config as plain values.

    Raises:
        UserError: If the folder holds another run, or going on would lose one.
    """
    if given is not None and folder.holds(given):
        assert stored is not None
        _check_newest(folder, given, stored)
        return Start(given, stored, folder.read_progress().begun_from)
    begun_from = None if given is None else str(given.expanduser().absolute())
    if not folder.is_used:
        return Start(given, stored, begun_from)
    _check_same_run(folder, begun_from, config)
    newest = folder.newest
    if newest is None:
        said = f"{folder.root}: an earlier try left nothing to go on from; the run begins again"
        return Start(given, stored, begun_from, said)
    own = read_stored_run(str(newest))
    assert own is not None
    said = f"{folder.root} holds this run, unfinished; it goes on from step {own.step} of {newest}"
    return Start(newest, own, begun_from, said)


def _check_newest(folder: RunFolder, given: Path, stored: StoredRun) -> None:
    """Refuses to go back behind `last.ckpt`, which the run would write over."""
    if not folder.last.exists() or folder.last.samefile(given):
        return
    last = read_stored_run(str(folder.last))
    assert last is not None
    if last.step > stored.step:
        raise UserError(
            f"--ckpt_path: {given} is of step {stored.step}, and {folder.last} beside it, of step "
            f"{last.step}, would be lost; go on from that one, or choose a new folder with "
            f"{ROOT_KEY}"
        )


def _check_same_run(folder: RunFolder, begun_from: str | None, config: Mapping[str, Any]) -> None:
    """Refuses a folder that holds another run than this one, or this one at its end."""
    progress, held = folder.read_progress(), folder.read_config()
    where = folder.checkpoints if any(folder.checkpoints.glob("*.ckpt")) else folder.root
    choose = f"choose a new folder with {ROOT_KEY}"
    resume = f", or resume it with --ckpt_path {folder.last}" if folder.last.exists() else ""
    if held is None:
        raise UserError(f"{where} holds another run; {choose}{resume}")
    key = _first_difference(held, config)
    if key is not None:
        raise UserError(f"{where} holds another run, with another {key}; {choose}{resume}")
    if progress.begun_from != begun_from:
        raise UserError(
            f"{where} holds another run, begun from another checkpoint; {choose}{resume}"
        )
    if progress.finished:
        longer = f"{resume} and a larger --trainer.max_steps" if resume else ""
        raise UserError(f"{where} holds this run, which is finished; {choose}{longer}")


def _first_difference(one: Mapping[str, Any], other: Mapping[str, Any]) -> str | None:
    """The first key whose values differ, but for those of no matter."""
    first, second = dict(_leaves(one)), dict(_leaves(other))
    for key in [*first, *second]:
        free = any(key == name or key.startswith(f"{name}.") for name in _OF_NO_MATTER)
        # By their texts, as NaN is not equal to itself, and 1 and True are.
        if not free and repr(first.get(key)) != repr(second.get(key)):
            return key
    return None


def _leaves(value: Mapping[str, Any], key: str = "") -> Iterator[tuple[str, Any]]:
    for name, inner in value.items():
        inside = f"{key}.{name}" if key else str(name)
        if isinstance(inner, Mapping) and inner:
            yield from _leaves(inner, inside)
        else:
            yield inside, inner
