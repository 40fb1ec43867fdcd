"""Where names of models become folders: the embedded mini models, a folder, or a hub id."""

from collections.abc import Sequence
from pathlib import Path

from idgen.errors import UserError, first_line
from idgen.mini.assets import mini_path

MINI, MINI_FLOW = "mini", "mini-flow"
_PIPELINE = "pipeline"
_BACKBONES = {MINI: _PIPELINE, MINI_FLOW: "flow"}


def is_mini(name: str) -> bool:
    """Whether a name stands for an embedded model of the mini world."""
    return name == MINI


def is_mini_backbone(name: str) -> bool:
    """Whether a name stands for an embedded pipeline: the U-Net's, or the one with a flow."""
    return name in _BACKBONES


def local_folder(name: str, part: str | None = None) -> Path | None:
    """The folder that a name stands for on this machine; None for what looks like a hub id.

    `part` says which of the embedded models `mini` is. Raises a UserError if that is damaged.
    """
    if part == _PIPELINE and is_mini_backbone(name):
        return mini_path(_BACKBONES[name])
    if part is not None and is_mini(name):
        return mini_path(part)
    folder = Path(name).expanduser()
    return folder if folder.is_dir() else None


def model_folder(
    name: str,
    *,
    parameter: str,
    part: str | None = None,
    revision: str | None = None,
    patterns: Sequence[str] | None = None,
) -> Path:
    """Finds a model by name; a hub id is downloaded on first use.

    Args:
        name: `mini`, of pipelines `mini-flow` too, a folder that exists, or a hub id such as
            `owner/name`.
        parameter: The parameter that named it, for the error.
        part: Which of the embedded models `mini` is; None where there is none.
        revision: A hub commit, tag or branch; ignored for a folder.
        patterns: File patterns to fetch from the hub; None fetches all.

    Returns:
        The local folder.

    Raises:
        UserError: If it is neither a folder nor a hub id that can be reached.
    """
    folder = local_folder(name, part)
    if folder is not None:
        return folder
    if Path(name).expanduser().is_file():
        raise UserError(
            f"{parameter}: {name!r} is a file; give a model folder (diffusers makes one of a "
            "pipeline in one file: from_single_file, then save_pretrained)"
        )
    if name.startswith((".", "/", "~")) or name.count("/") != 1:
        embedded = _BACKBONES if part == _PIPELINE else (MINI,) if part is not None else ()
        mini = "".join(f"{one!r}, " for one in embedded)
        raise UserError(
            f"{parameter}: there is no folder {name!r}; give a model folder, {mini}or a hub id "
            "such as 'owner/name'"
        )
    from huggingface_hub import snapshot_download

    try:
        path = snapshot_download(
            name, revision=revision, allow_patterns=list(patterns) if patterns else None
        )
    except (OSError, ValueError) as error:
        raise _unreachable(name, parameter, revision, first_line(error, 120)) from error
    except Exception as error:  # the hub client's own network errors share no base class
        raise _unreachable(name, parameter, revision, type(error).__name__) from error
    return Path(path)


def _unreachable(name: str, parameter: str, revision: str | None, reason: str) -> UserError:
    at = f" at revision {revision!r}" if revision else ""
    return UserError(
        f"{parameter}: cannot fetch {name!r}{at} from the hub ({reason}); without a network, "
        "copy the model to this machine and give its folder"
    )
