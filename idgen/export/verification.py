"""Drawing from an export in a process that knows nothing of idgen, to compare."""

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor

from idgen.errors import UserError
from idgen.export.exported_run import ExportedRun
from idgen.export.format import Written

MOST_LEVELS = 1
_SCRIPT = Path(__file__).parent / "standalone" / "draw.py"


class StandaloneDrawer:
    """A process that runs `standalone/draw.py`; a context, which ends it."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        # Closed at the end of the context.
        self._said = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115

    def __enter__(self) -> "StandaloneDrawer":
        """Starts nothing yet: `draw` does."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ends the process, if there is one."""
        process, self._process = self._process, None
        self._said.close()
        if process is None:
            return
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()
        process.terminate()
        process.wait()

    def draw(self, job: dict[str, Any]) -> Tensor:
        """Draws a job of `standalone/draw.py`, `3 H W` uint8.

        Raises:
            UserError: If nothing could be drawn.
        """
        process = self._started()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            process.stdin.write(json.dumps(job) + "\n")
            process.stdin.flush()
            answered = _answer(process.stdout)
        except OSError:  # it has ended, and takes no job
            answered = {}
        if "file" not in answered:
            reason = str(answered.get("error") or self._last_line())[:300]
            raise UserError(
                f"--output: diffusers cannot draw from the written files ({reason}); nothing was "
                "exported; install the diffusers, peft and transformers that idgen asks for"
            )
        with Image.open(answered["file"]) as picture:
            return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1)

    def _last_line(self) -> str:
        """What a process that ended has said last."""
        self._said.seek(0)
        lines = [line.strip() for line in self._said if line.strip()]
        return lines[-1] if lines else "the process ended"

    def _started(self) -> "subprocess.Popen[str]":
        if self._process is None:
            # The script's own folder is the first on its path, where there is no idgen.
            self._process = subprocess.Popen(
                [sys.executable, str(_SCRIPT)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._said,
                text=True,
            )
        return self._process


def _answer(lines: Any) -> dict[str, Any]:
    """The next line that is an answer; libraries may print others."""
    for line in lines:
        try:
            found = json.loads(line)
        except ValueError:
            continue
        if isinstance(found, dict):
            return found
    return {}


def job_of(run: ExportedRun, written: Written, work: Path) -> dict[str, Any]:
    """The job that draws what `ExportedRun.draw` draws.

    Args:
        run: Loaded.
        written: By a format.
        work: An empty folder for noise and picture.
    """
    sampler, recipe, pipeline = run.sampler, run.recipe, run.backbone.pipeline
    noise = work / "noise.safetensors"
    save_file({"noise": run.noise()}, noise)
    file = pipeline.weight_files(run.backbone.denoiser_part)[0].name.removesuffix(".safetensors")
    variant = file.partition(".")[2].partition("-")[0] or None
    files = {
        kind: None if (path := getattr(written, kind)) is None else str(path)
        for kind in ("lora", "embedding", "embeds", "fusion")
    }
    return {
        "pipeline": run.pipeline,
        "left_out": run.left_out,
        "base": str(written.base or pipeline.folder),
        "variant": None if written.base else variant,
        **files,
        "prompt": run.spoken(run.prompts[0], written.word),
        "negative_prompt": sampler.negative_prompt,
        "guidance": run.backbone.diffusers_guidance(sampler.guidance),
        "steps": sampler.steps,
        "scheduler": recipe.scheduler,
        "settings": recipe.settings,
        "eta": recipe.eta,
        "max_sequence_length": run.backbone.max_sequence_length,
        "size": run.size,
        "noise": str(noise),
        "device": str(run.device),
        "output": str(work / "drawing.png"),
    }


def largest_difference(ours: Tensor, theirs: Tensor) -> int:
    """The largest difference of two pictures `3 H W` uint8, in grey levels.

    Raises:
        UserError: If they differ in size.
    """
    if ours.shape != theirs.shape:
        raise UserError(
            f"--output: diffusers draws pictures of {tuple(theirs.shape[1:])} from the written "
            f"files, idgen of {tuple(ours.shape[1:])}; nothing was exported"
        )
    return int((ours.cpu().int() - theirs.int()).abs().max())


def verify(
    run: ExportedRun, written: Written, ours: Tensor, drawer: StandaloneDrawer, work: Path
) -> int:
    """Compares idgen's drawing with that of the written files.

    Args:
        run: Loaded.
        written: By a format.
        ours: idgen's drawing, `3 H W` uint8.
        drawer: Draws from the files.
        work: An empty folder.

    Returns:
        The largest difference in grey levels.

    Raises:
        UserError: If it is more than rounding explains.
    """
    most = largest_difference(ours, drawer.draw(job_of(run, written, work)))
    if most > MOST_LEVELS:
        raise UserError(
            f"--output: what diffusers draws from the written files differs from idgen's own "
            f"drawing by up to {most} of 255 grey levels, where {MOST_LEVELS} is allowed; nothing "
            "was exported; try the versions of diffusers and peft that idgen asks for"
        )
    return most
