"""Makes a training run's folder of the models that ship, so that one part alone can be trained.

Run as ``python -m tools.train_mini.from_shipped --work DIR``: the autoencoder, the tokenizer, the
text encoder and E_I are put where the other steps look for what was trained before them. The
pictures are drawn by ``tools.train_mini.dataset``.
"""

import argparse
import json
import shutil
from pathlib import Path

from safetensors.torch import load_file

from idgen.errors import UserError
from idgen.files import atomic_write
from idgen.fingerprint import file_digest
from idgen.mini.assets import WEIGHTS
from tools.command import run
from tools.train_mini.checkpoint import save_atomically


def from_shipped(work: Path, weights: Path) -> None:
    """Fill a training run's folder.

    Args:
        work: The folder; what it holds already is not replaced.
        weights: Folder of the parts that ship.

    Raises:
        UserError: If an autoencoder is there already.
    """
    autoencoder = work / "vae_ema.pt"
    if autoencoder.exists():
        raise UserError(f"{autoencoder} is there already; give another --work")
    pipeline = weights / "pipeline"
    work.mkdir(parents=True, exist_ok=True)
    for name in ("text_encoder", "tokenizer"):
        shutil.copytree(pipeline / name, work / name)
    shutil.copytree(weights / "encoder", work / "encoder")
    (work / "text_encoder" / "FINAL").touch()
    stored = load_file(pipeline / "vae" / "diffusion_pytorch_model.safetensors")
    save_atomically({name: weight.float() for name, weight in stored.items()}, autoencoder)
    scale = json.loads((pipeline / "vae" / "config.json").read_text())["scaling_factor"]
    noted = {"scaling_factor": scale, "autoencoder": file_digest(autoencoder)}
    atomic_write(work / "vae_scale.json", json.dumps(noted).encode())


def main() -> None:
    """Read the command line and do it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder of the training run")
    parser.add_argument("--weights", type=Path, default=WEIGHTS, help="folder of the parts")
    args = parser.parse_args()
    from_shipped(args.work, args.weights)


if __name__ == "__main__":
    run(main)
