"""A run's folder: what is where in it, and who may write there."""

from dataclasses import dataclass
from pathlib import Path

from idgen.errors import UserError
from idgen.files import check_writable

ROOT_KEY = "--trainer.default_root_dir"
_DEFAULT = "runs/default"


@dataclass(frozen=True)
class RunFolder:
    """Where a run leaves what it makes.

    Attributes:
        root: The folder.
        checkpoints: Where its checkpoints are, in the folder or elsewhere.
    """

    root: Path
    checkpoints: Path

    @classmethod
    def of(cls, root: str | None, checkpoints: str | Path | None) -> "RunFolder":
        """The folder that a config names.

        Args:
            root: `trainer.default_root_dir`, None for `runs/default`.
            checkpoints: `checkpoint.dirpath`, None for `checkpoints/` in the folder.
        """
        path = Path(root or _DEFAULT).expanduser().absolute()
        kept = path / "checkpoints" if checkpoints is None else Path(checkpoints).absolute()
        return cls(path, kept)

    @property
    def validation(self) -> Path:
        """What validation draws while it trains."""
        return self.root / "validation"

    def check(self, resumed_from: Path | None) -> None:
        """Refuses a folder that holds another run, or cannot be written.

        Args:
            resumed_from: The checkpoint that the run goes on from.

        Raises:
            UserError: If it is one.
        """
        resumed = () if resumed_from is None else resumed_from.absolute().parents
        has_checkpoints = any(self.checkpoints.glob("*.ckpt"))
        is_used = has_checkpoints or (self.validation / "scores.csv").exists()
        if is_used and self.root not in resumed and self.checkpoints not in resumed:
            last = self.checkpoints / "last.ckpt"
            resume = f", or resume it with --ckpt_path {last}" if last.exists() else ""
            raise UserError(
                f"{self.checkpoints if has_checkpoints else self.root} holds another run; choose a "
                f"new folder with {ROOT_KEY}{resume}"
            )
        for folder in (self.root, self.validation):
            check_writable(folder, ROOT_KEY)
        check_writable(self.checkpoints, "--checkpoint.dirpath")
