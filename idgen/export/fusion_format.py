"""`--format fusion`: the LoRA, the fusion's weights, and a Python file that applies them."""

import shutil
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from idgen.errors import UserError
from idgen.export.exported_run import ExportedRun, draws_by_prompt
from idgen.export.format import Written
from idgen.export.kohya_format import KohyaFormat
from idgen.export.standalone.idgen_fusion import FILE
from idgen.models.conditioning import DecoupledFusion
from idgen.module import PersonalizationModule

_PYTHON = Path(__file__).parent / "standalone" / "idgen_fusion.py"


class FusionFormat:
    """For methods that fuse at inference; see `standalone/idgen_fusion.py`."""

    name = "fusion"

    def check(self, module: PersonalizationModule, reference: bool) -> None:
        """Refuses methods that fuse nothing at inference, and a reference photo.

        Raises:
            UserError: If it is so.
        """
        if reference:
            raise UserError(
                "--reference: --format fusion cannot hold a photo's feature; take --format "
                "embeddings"
            )
        if draws_by_prompt(module):
            raise UserError(
                "CKPT: it draws by the prompt alone, without fusion at inference; take --format "
                "diffusers or kohya"
            )
        conditioning = module.conditioning
        if not isinstance(conditioning, DecoupledFusion) or conditioning.fusion is None:
            raise UserError(
                f"CKPT: --format fusion knows DecoupledFusion, not {type(conditioning).__name__}; "
                "take --format embeddings"
            )

    def write(self, run: ExportedRun, folder: Path, dtype: torch.dtype) -> Written:
        """Writes what was trained in the backbone, and the fusion."""
        # Under kohya's names, which ComfyUI and diffusers both know.
        written = KohyaFormat().write(run, folder, dtype)
        conditioning = run.module.conditioning
        assert isinstance(conditioning, DecoupledFusion)
        assert conditioning.fusion is not None
        weights = {
            name: weight.detach().cpu().to(dtype).contiguous()
            for name, weight in conditioning.fusion.state_dict().items()
        }
        said = {
            "routing": conditioning.routing.value,
        }
        save_file(weights, folder / FILE, said)
        shutil.copyfile(_PYTHON, folder / _PYTHON.name)
        return replace(written, fusion=folder)

    def own_drawing(self, run: ExportedRun, written: Written) -> Tensor:
        """The run's, its trained weights rounded as in the file."""
        return run.draw()
