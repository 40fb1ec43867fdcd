"""`idgen export`: a checkpoint as files that other tools load."""

import argparse
import re
import shlex
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from idgen.commands.terminating import terminating
from idgen.errors import UserError

if TYPE_CHECKING:
    from idgen.export.evidence import Evidence, Sample
    from idgen.export.exported_run import ExportedRun

FORMATS = ("diffusers", "kohya", "merged", "embeddings", "fusion")
DTYPES = ("float32", "float16", "bfloat16")


class _Parser(argparse.ArgumentParser):
    def print_help(self, file: Any = None) -> None:
        # argparse would pass over a full disk.
        print(self.format_help(), end="", file=file)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see idgen export --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="idgen export",
        description="Writes what a checkpoint has learnt as files of other tools, with a model "
        "card. The files are loaded again and drawn from without idgen before they are kept.",
        epilog="example: idgen export last.ckpt --format kohya --output my_dog",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("checkpoint", metavar="CKPT", help="a checkpoint of idgen fit, or its run's folder")
    add("--format", required=True, choices=FORMATS, help="what loads it; see docs/export.md")
    add("--output", required=True, metavar="DIR", help="a new or empty folder")
    add("--dtype", default="float32", choices=DTYPES, help="of the weights (float32)")
    add(
        "--prompt",
        action="append",
        default=[],
        help="with [V]; may come up several times: for --format embeddings, and the first is "
        "compared (the config's predict_prompts)",
    )
    add("--reference", metavar="PHOTO", help="keep this photo's scene (--format embeddings)")
    add("--reference-weight", type=float, help="how much of it, 1 as in training (1)")
    add("--seed", type=int, help="of the drawing that is compared (the config's)")
    add("--samples", type=int, default=4, metavar="N", help="drawings in the model card (4)")
    add("--base", metavar="MODEL", help="where the base model is now, if it has moved")
    add("--base-model", metavar="USER/NAME", help="what the hub calls a base that is a folder")
    add("--no-verify", action="store_true", help="do not load the files again to compare")
    add("--push", metavar="USER/NAME", help="upload to the hub; the token is taken from HF_TOKEN")
    add("--private", action="store_true", help="with --push: for your eyes alone")
    add(
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="of the run, over the checkpoint's own; for one that holds none, as saved from Python",
    )
    return parser


def run_export(options: Sequence[str]) -> int:
    """Exports, and returns the exit code.

    Raises:
        UserError: For anything the user can mend.
    """
    given = _parser().parse_args(list(options))
    _check(given)

    from idgen.runs.quiet import quieten

    quieten()
    try:
        with terminating():
            return _export(given)
    except UserError as error:
        raise UserError(_in_own_words(str(error))) from error


def _check(given: argparse.Namespace) -> None:
    """Refuses options that do not go together, before anything heavy is imported."""
    if not given.output.strip():
        raise UserError("--output is blank; name a folder")
    if given.samples < 0:
        raise UserError(f"--samples must be 0 or more, not {given.samples}")
    if given.private and given.push is None:
        raise UserError("--private is for --push USER/NAME: give that too, or leave it out")
    if given.reference_weight is not None and given.reference is None:
        raise UserError("--reference-weight says how much of a photo is kept: give --reference too")


def _export(given: argparse.Namespace) -> int:
    import torch

    from idgen.devices import best_device
    from idgen.export.base_model import BaseModel, check_hub_id
    from idgen.export.card import Card
    from idgen.export.exporting import check_folder, export
    from idgen.export.formats import FORMATS as MADE
    from idgen.export.hub import HubRepository
    from idgen.export.loading import Wanted, load_run, open_checked
    from idgen.export.verification import StandaloneDrawer
    from idgen.loaded.model import Reference

    folder, form = Path(given.output).expanduser(), MADE[given.format]
    check_folder(folder)
    if given.base_model is not None:
        check_hub_id(given.base_model, "--base-model")
    repository = None
    if given.push is not None:
        from huggingface_hub import HfApi

        repository = HubRepository(given.push, given.private, HfApi())
        repository.check()
    weight = 1.0 if given.reference_weight is None else given.reference_weight
    wanted = Wanted(
        given.checkpoint,
        tuple(given.config),
        tuple(given.prompt),
        given.seed,
        given.base,
        None if given.reference is None else Reference(given.reference, weight),
    )
    model = open_checked(wanted, form)
    run = load_run(model, wanted, best_device())
    evidence, samples = _shown(run, model.stored.path, given.samples)
    card = Card(
        form,
        BaseModel.of(run.backbone, given.base_model),
        _command(given),
        model.stored.config,
        evidence,
        samples,
        given.push,
    )
    with nullcontext() if given.no_verify else StandaloneDrawer() as drawer:
        dtype = getattr(torch, given.dtype)
        exported = export(run, form, folder, dtype, card, drawer)
    if exported.difference is None:
        print("not compared: --no-verify")
    else:
        print(f"drawn again without idgen: at most {exported.difference} of 255 grey levels apart")
    print(f"exported to {folder}: read {folder / 'README.md'}")
    if repository is not None:
        print(f"uploaded to {repository.push(folder, f'{given.format} export by idgen')}")
    return 0


def _shown(
    run: "ExportedRun", checkpoint: Path, most: int
) -> "tuple[Evidence | None, tuple[Sample, ...]]":
    """Scores of the run, and drawings: those of its test, else new ones."""
    from idgen.export.evidence import Sample, evidence_of

    folder = checkpoint.absolute().parent
    folder = folder.parent if folder.name == "checkpoints" else folder
    evidence = evidence_of(folder, run.step, most)
    if evidence is not None and evidence.samples:
        return evidence, evidence.samples
    drawn = tuple(Sample(*run.sample(number)) for number in range(min(most, len(run.prompts))))
    return evidence, drawn


def _command(given: argparse.Namespace) -> str:
    """The command, for others: files and folders of this machine by their names alone."""
    words = ["idgen", "export", Path(given.checkpoint).name, "--format", given.format]
    words += ["--output", Path(given.output).name]
    words += [] if given.dtype == "float32" else ["--dtype", given.dtype]
    words += [word for config in given.config for word in ("--config", Path(config).name)]
    words += [word for prompt in given.prompt for word in ("--prompt", prompt)]
    if given.reference is not None:
        words += ["--reference", Path(given.reference).name]
    if given.reference_weight is not None:
        words += ["--reference-weight", str(given.reference_weight)]
    words += [] if given.seed is None else ["--seed", str(given.seed)]
    words += ["--no-verify"] if given.no_verify else []
    return shlex.join(words)


_OPTIONS = {
    "--data.predict_prompts": "--prompt",
    "--data.drawing_seed": "--seed",
    "--data.reference_weight": "--reference-weight",
    "--data.reference": "--reference",
    "--data: photo": "--reference: photo",
    "--data: prompt": "--prompt",
    "--ckpt_path": "CKPT",
}
_BASE = "--model.backbone.init_args.source"


# Of a model in one file, whose configuration has no option here.
_CONFIG = re.compile(r"set source\.(file|config) to .*")


def _in_own_words(text: str) -> str:
    """An error with the option that was typed in place of the key at its head."""
    if text.startswith(_BASE):
        said = text.removeprefix(_BASE)
        if _CONFIG.search(said):
            return f"--base{_CONFIG.sub('give the pipeline folder that idgen made of it', said)}"
        return f"--base{said}; say with --base where the base model is now"
    key = next((key for key in _OPTIONS if text.startswith(key)), None)
    return text if key is None else f"{_OPTIONS[key]}{text.removeprefix(key)}"
