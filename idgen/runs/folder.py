"""A run's folder: what is where in it, who may write there, and how far its run has come."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

from idgen.callbacks.checkpoint import best_checkpoints, step_of
from idgen.errors import UserError
from idgen.files import atomic_write, check_writable
from idgen.locks import BusyError, locked

ROOT_KEY = "--trainer.default_root_dir"
_DEFAULT = "runs/default"
_LOCK = ".lock"


@dataclass(frozen=True)
class Progress:
    """What `run.json` says of the run in a folder.

    Attributes:
        begun_from: The checkpoint of another run that it went out from, None if it began anew.
        finished: Whether it came to its end.
    """

    begun_from: str | None = None
    finished: bool = False


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

    @property
    def last(self) -> Path:
        """The checkpoint that a run goes on from."""
        return self.checkpoints / "last.ckpt"

    @property
    def newest(self) -> Path | None:
        """`last.ckpt`; where a run was killed before its first, the latest of the best."""
        best = best_checkpoints(self.checkpoints)
        return self.last if self.last.exists() else max(best, key=step_of, default=None)

    @property
    def is_used(self) -> bool:
        """Whether a run has left anything here that another one would write over."""
        return any(self.checkpoints.glob("*.ckpt")) or (self.validation / "scores.csv").exists()

    def holds(self, path: Path) -> bool:
        """Whether a file is in the folder, or among its checkpoints."""
        parents = path.expanduser().absolute().parents
        return self.root in parents or self.checkpoints in parents

    def check_writable(self) -> None:
        """Refuses a folder that cannot be written.

        Raises:
            UserError: If it is one.
        """
        for folder in (self.root, self.validation):
            check_writable(folder, ROOT_KEY)
        check_writable(self.checkpoints, "--checkpoint.dirpath")

    def read_config(self) -> dict[str, Any] | None:
        """The config of the run here, None where there is none that can be read."""
        try:
            config = yaml.safe_load((self.root / "config.yaml").read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            return None
        return config if isinstance(config, dict) else None

    def read_progress(self) -> Progress:
        """How far the run here has come, as `write_progress` noted it."""
        try:
            noted = json.loads((self.root / "run.json").read_text(encoding="utf-8"))
            return Progress(noted["begun_from"], bool(noted["finished"]))
        except (OSError, ValueError, TypeError, KeyError):
            return Progress()

    def write_progress(self, progress: Progress) -> None:
        """Notes how far the run has come."""
        self.root.mkdir(parents=True, exist_ok=True)
        content = json.dumps(asdict(progress), indent=2) + "\n"
        atomic_write(self.root / "run.json", content.encode())

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps other runs out of the folder; a killed process gives it back.

        Raises:
            UserError: If another run is in it.
        """
        outside = [] if self.root in self.checkpoints.parents else [self.checkpoints]
        with ExitStack() as held:
            for folder in (self.root, *outside):
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                    held.enter_context(locked(folder / _LOCK, wait=False))
                except BusyError as error:
                    raise UserError(
                        f"another idgen fit is at work in {folder}; wait for its end, or choose "
                        f"another folder with {ROOT_KEY}"
                    ) from error
            yield
