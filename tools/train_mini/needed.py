"""What one step of the training needs of another."""

from pathlib import Path

from idgen.errors import UserError


def made_by(step: str, work: Path, name: str) -> Path:
    """Return the path of what an earlier step made.

    Args:
        step: Arguments of ``python -m tools.train_mini.``, such as ``clip encoder``.
        work: Folder of the training run.
        name: Of the file or folder in it.

    Raises:
        UserError: If it is not there; the message names the step.
    """
    path = work / name
    if not path.exists():
        raise UserError(
            f"{path} is missing; make it with python -m tools.train_mini.{step} --work {work}"
        )
    return path
