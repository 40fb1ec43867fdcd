"""`idgen sample`: prompts drawn by a checkpoint, an export or a backbone, or by several."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from idgen.commands.terminating import terminating
from idgen.errors import UserError
from idgen.importing import uncollected

SOLVERS = ("dpm", "dpm-sde", "ddim", "ddim-sde", "euler", "heun", "unipc")
_STOCHASTIC = "-sde"


class _Parser(argparse.ArgumentParser):
    def print_help(self, file: Any = None) -> None:
        # argparse would pass over a full disk.
        print(self.format_help(), end="", file=file)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see idgen sample --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="idgen sample",
        usage="idgen sample MODEL PROMPT [PROMPT ...] --out DIR [options]\n"
        "       idgen sample --like PICTURE.png --out DIR [options]",
        description="Draws prompts with what a checkpoint has learnt, an export, or a backbone.",
        epilog='example: idgen sample last.ckpt "a [V] car on the beach" -n 4 --out drawings',
        allow_abbrev=False,
    )
    parser.add_argument(
        "words",
        metavar="MODEL PROMPT",
        nargs="*",
        help="a checkpoint, the folder of a run or an export, or a backbone (mini, a pipeline "
        "folder, a hub id, a model in one file); then prompts, with [V] for the subject",
    )
    parser.add_argument("--prompts", metavar="FILE", help="more prompts, one a line; - for stdin")
    parser.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument("-n", "--number", type=int, help="images a prompt (4)")
    parser.add_argument(
        "--beside",
        action="append",
        default=[],
        metavar="MODEL",
        help="another model, in the next column of the grid; may be given several times",
    )
    parser.add_argument("--like", metavar="PICTURE", help="draws a picture of idgen sample again")
    _add_sampler(parser)
    _add_models(parser)
    return parser


def _add_sampler(parser: argparse.ArgumentParser) -> None:
    """How pictures are drawn; what is left out is as the first model's config says."""
    parser.add_argument("--seed", type=int, help="another seed, other images (0)")
    parser.add_argument("--steps", type=int, help="denoising steps")
    parser.add_argument("--guidance", type=float, help="guidance scale; 1 is none")
    parser.add_argument("--negative-prompt", metavar="TEXT", help="what to keep away from")
    parser.add_argument("--solver", choices=SOLVERS, help="how noise becomes a picture")
    parser.add_argument("--size", metavar="WxH", help="pixels, such as 640x512 or 512")


def _add_models(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reference", metavar="PHOTO", help="keep this photo's scene and pose")
    parser.add_argument(
        "--reference-weight", type=float, help="how much of it, 1 as in training (1)"
    )
    parser.add_argument(
        "--backbone",
        metavar="MODEL",
        help="where the backbone of checkpoints and exports is now; for a model in one file, a "
        "pipeline folder or hub id of its layout, for configuration and tokenizers",
    )
    parser.add_argument(
        "--token", help="what [V] becomes for an export (what its card says, else sks)"
    )
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="of the run, over the checkpoint's own; for one that holds none, as saved from Python",
    )
    parser.add_argument(
        "--no-record", action="store_true", help="the files do not say how they were drawn"
    )


def run_sample(options: Sequence[str]) -> int:
    """Draws, and returns the exit code: 1 if a picture of `--like` came out otherwise.

    Raises:
        UserError: For anything the user can mend.
    """
    given = _parser().parse_intermixed_args(list(options))
    _check(given)
    with uncollected():
        from idgen.loaded.again import draw_again
        from idgen.loaded.sampling_job import SamplingJob
        from idgen.runs.quiet import quieten

        quieten()
    job = SamplingJob(
        models=[*given.words[:1], *given.beside],
        prompts=[*given.words[1:], *_prompts(given.prompts)],
        number=given.number,
        seed=given.seed,
        changes=_changes(given),
        output=Path(given.out).expanduser(),
        configs=given.config,
        backbone=given.backbone,
        token=given.token,
        photo=given.reference,
        photo_weight=1.0 if given.reference_weight is None else given.reference_weight,
        recorded=not given.no_record,
    )
    try:
        with terminating():
            return job.run() if given.like is None else draw_again(Path(given.like), job)
    except UserError as error:
        raise UserError(_in_own_words(str(error))) from error


def _check(given: argparse.Namespace) -> None:
    """Refuses options that do not go together."""
    if given.number is not None and given.number < 1:
        raise UserError(f"-n must be 1 or more, not {given.number}")
    if given.reference_weight is not None and given.reference is None:
        raise UserError("--reference-weight says how much of a photo is kept: give --reference too")
    if not given.out.strip():
        raise UserError("--out is blank; name a folder")
    if given.backbone is not None and not given.backbone.strip():
        raise UserError("--backbone is blank; name a model, or leave it out")
    if given.like is not None:
        others = {
            "prompts": len(given.words) > 1 or given.prompts is not None,
            "-n": given.number is not None,
            "--beside": bool(given.beside),
        }
        if wrong := [name for name, there in others.items() if there]:
            raise UserError(f"--like draws one picture again; leave {wrong[0]} out")
    elif not given.words:
        raise UserError("MODEL is missing; see idgen sample --help")
    elif len(given.words) < 2 and given.prompts is None:
        raise UserError("PROMPT is missing; give prompts, or --prompts FILE")


def _prompts(source: str | None) -> list[str]:
    """The prompts of a file, one a line; blank lines and those that begin with # are left out.

    Raises:
        UserError: If it cannot be read, is not UTF-8, or holds none.
    """
    if source is None:
        return []
    from idgen.texts import decoded, read_text

    if source == "-":
        text = decoded(sys.stdin.buffer.read(), Path("stdin"), "--prompts")
    else:
        text = read_text(Path(source).expanduser(), "--prompts", "give a text file, one a line")
    lines = [line.strip() for line in text.splitlines()]
    prompts = [line for line in lines if line and not line.startswith("#")]
    if not prompts:
        raise UserError(f"--prompts: {source} holds no prompt; write one a line")
    return prompts


def _changes(given: argparse.Namespace) -> dict[str, Any]:
    """The sampler's settings that were given."""
    from idgen.processes import SolverKind

    found = {
        "steps": given.steps,
        "guidance": given.guidance,
        "negative_prompt": given.negative_prompt,
        "size": None if given.size is None else _size(given.size),
    }
    if given.solver is not None:
        found["solver"] = SolverKind(given.solver.removesuffix(_STOCHASTIC))
        found["stochastic"] = given.solver.endswith(_STOCHASTIC)
    return {name: value for name, value in found.items() if value is not None}


def _size(text: str) -> tuple[int, int]:
    """Width and height of `640x512`, or of `512` for both."""
    numbers = text.lower().split("x")
    if len(numbers) > 2 or not all(number.isdecimal() for number in numbers):
        raise UserError(f"--size: {text!r} is no size in pixels; give one such as 640x512 or 512")
    return int(numbers[0]), int(numbers[-1])


# What library code and the parser of configs call what has an option here.
_OPTIONS = {
    "--data.reference_weight": "--reference-weight",
    "--data.reference": "--reference",
    "--model.sampler.init_args.steps": "--steps",
    "--model.sampler.init_args.guidance": "--guidance",
    "--model.sampler.init_args.negative_prompt": "--negative-prompt",
    "--model.sampler.init_args.solver": "--solver",
    "--model.sampler.init_args.size": "--size",
    "--model.backbone.init_args.source": "--backbone",
    "StableDiffusionBackbone.source.config": "--backbone",
    "StableDiffusionBackbone.source": "--backbone",
    "StableDiffusion3Backbone.source": "--backbone",
    "SDXLBackbone.source": "--backbone",
    "FluxBackbone.source": "--backbone",
    "ZImageBackbone.source": "--backbone",
    "Sampler.steps": "--steps",
    "Sampler.negative_prompt": "--negative-prompt",
    "Sampler.solver": "--solver",
    "Sampler.size": "--size",
    "steps must": "--steps must",
    "guidance must": "--guidance must",
    "--data: photo": "--reference: photo",
    "--ckpt_path": "CKPT",
}


# Of a model in one file, whose configuration has no key of its own here.
_CONFIG = re.compile(r"set (source\.file to it and )?source\.config to")


def _in_own_words(text: str) -> str:
    """An error with the options that can be typed in place of keys of a config."""
    key = next((key for key in _OPTIONS if text.startswith(key)), None)
    said = text if key is None else f"{_OPTIONS[key]}{text.removeprefix(key)}"
    return _CONFIG.sub("give --backbone", said)
