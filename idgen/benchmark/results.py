"""What cells left: scores, failures, and whether they may stand in one table."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from idgen.benchmark.cell import difference, read_json
from idgen.benchmark.plan import PlannedCell
from idgen.benchmark.verify import check_numbers
from idgen.errors import UserError
from idgen.evaluation.protocol import Protocol
from idgen.mini.regimes import PLAIN_LABEL

# What of a metrics.json two cells share.
_SHOWN = ("backbone", "protocol", "backbone_identity", "sampler", "idgen_version")


@dataclass(frozen=True)
class CellResult:
    """A cell's result.

    Attributes:
        method: Name of the method.
        subject: Name of the subject.
        seed: The seed.
        status: Whether it was finished, failed, or is still to be run.
        metrics: The content of its metrics.json; empty if it is not finished.
        reason: Why it failed.
        exit_code: Of the command that failed.
        folder: Where its drawings are.
        regime: How its subject's photos came about; `plain` for photos that are what they are.
    """

    method: str
    subject: str
    seed: int
    status: Literal["done", "failed", "missing"]
    metrics: dict[str, Any]
    reason: str
    exit_code: int
    folder: Path
    regime: str = PLAIN_LABEL

    @property
    def name(self) -> str:
        """What failures call it."""
        return f"{self.method} / {self.subject} / seed {self.seed}"


def read_result(planned: PlannedCell) -> CellResult:
    """Reads what a cell left, or what is written down of it; a UserError if files are damaged."""
    folder, regime = planned.test_folder, planned.subject.regime.label

    def result(
        status: Literal["done", "failed", "missing"],
        metrics: dict[str, Any],
        reason: str = "",
        code: int = 0,
    ) -> CellResult:
        place = (planned.method, planned.subject.name, planned.seed)
        return CellResult(*place, status, metrics, reason, code, folder, regime)

    if planned.is_done():
        metrics = planned.recorded or read_json(folder / "metrics.json") or {}
        try:
            check_numbers(metrics)
        except UserError as error:
            raise UserError(
                f"{planned.cell.name}: {error}; delete {folder.parent} to run it anew"
            ) from error
        return result("done", metrics)
    failed, of = planned.cell.failure(), ""
    if failed is None:
        failed, of = planned.preparation.failure(), "preparation: "
    if failed is None:
        return result("missing", {})
    code = failed.get("exit_code")
    code = code if isinstance(code, int) else 1
    return result("failed", {}, f"{of}{failed.get('reason', '')}", code)


def check_comparable(results: Sequence[CellResult]) -> dict[str, Any]:
    """Refuses scores of several protocols.

    Returns:
        What the finished ones share, of the first of them; empty if none is finished.

    Raises:
        UserError: If two differ in their protocols, the drawings' seed left out, or in their
            backbones. What finds the photos' masks may differ from regime to regime.
    """
    finished = [result for result in results if result.status == "done"]
    if not finished:
        return {}
    first = finished[0]
    protocol = _protocol(first)
    for result in finished[1:]:
        of_regime = () if result.regime == first.regime else ("photo_segmenter",)
        fields = protocol.differences(_protocol(result), but=("drawing_seed", *of_regime))
        differing = difference(
            {"protocol": {f.field: f.ours for f in fields}, **_backbone(first)},
            {"protocol": {f.field: f.theirs for f in fields}, **_backbone(result)},
        )
        if differing is not None:
            raise UserError(
                f"scores of two protocols: {differing} ({first.name} there, {result.name} here); "
                f"delete {result.folder.parent} to run it anew, or name a new folder with --output"
            )
    return {key: first.metrics[key] for key in _SHOWN if key in first.metrics}


def _protocol(result: CellResult) -> Protocol:
    try:
        return Protocol.from_json(result.metrics.get("protocol"))
    except UserError as error:
        raise UserError(f"{result.name}: {error}") from error


def _backbone(result: CellResult) -> dict[str, Any]:
    return {"backbone_identity": result.metrics.get("backbone_identity")}


def read_images(folder: Path) -> dict[str, Path]:
    """Reads the list of a cell's drawings.

    Args:
        folder: What `idgen test` wrote.

    Returns:
        The first drawing of each prompt (without the token) in the suite's order; empty if there
        are none.

    Raises:
        UserError: If the list is damaged.
    """
    path = folder / "images.csv"
    if not path.exists():
        return {}
    found: dict[str, Path] = {}
    try:
        with path.open(newline="", encoding="utf-8") as file:
            for row in csv.DictReader(file):
                found.setdefault(row["plain_prompt"], folder / row["file"])
    except (OSError, KeyError, TypeError, ValueError, csv.Error) as error:
        raise UserError(f"cannot read {path} ({error}); delete {folder} to draw anew") from error
    return found
