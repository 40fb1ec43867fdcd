"""`idgen sample`: one prompt, drawn with a checkpoint; `predict` with the options people type."""

import argparse
from collections.abc import Sequence
from typing import Any, NoReturn

import yaml

from idgen.errors import UserError


class _Parser(argparse.ArgumentParser):
    def print_help(self, file: Any = None) -> None:
        # argparse would pass over a full disk.
        print(self.format_help(), end="", file=file)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message}; see idgen sample --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="idgen sample",
        description="Draws a prompt with what a checkpoint has learnt.",
        epilog='example: idgen sample last.ckpt "a [V] car on the beach" -n 4 --out drawings',
        allow_abbrev=False,
    )
    parser.add_argument("checkpoint", metavar="CKPT", help="a checkpoint of idgen fit")
    parser.add_argument("prompt", metavar="PROMPT", nargs="+", help="with [V] for the subject")
    parser.add_argument("-n", "--number", type=int, default=4, help="images a prompt (4)")
    parser.add_argument("--out", required=True, metavar="DIR", help="a new or empty folder")
    parser.add_argument("--reference", metavar="PHOTO", help="keep this photo's scene and pose")
    parser.add_argument(
        "--reference-weight", type=float, help="how much of it, 1 as in training (1)"
    )
    parser.add_argument("--seed", type=int, default=0, help="another seed, other images (0)")
    parser.add_argument("--steps", type=int, help="denoising steps, instead of the config's")
    parser.add_argument(
        "--config",
        action="append",
        default=[],
        metavar="FILE",
        help="of the run, over the checkpoint's own; for one that holds none, as saved from Python",
    )
    parser.add_argument("--guidance", type=float, help="guidance scale, instead of the config's")
    return parser


def run_sample(options: Sequence[str]) -> int:
    """Draws, and returns the exit code.

    Raises:
        UserError: For anything the user can mend.
    """
    given = _parser().parse_args(list(options))
    if given.number < 1:
        raise UserError(f"-n must be 1 or more, not {given.number}")
    if given.reference_weight is not None and given.reference is None:
        raise UserError("--reference-weight says how much of a photo is kept: give --reference too")
    if not given.out.strip():
        raise UserError("--out is blank; name a folder")
    settings = {
        "data.predict_prompts": yaml.safe_dump(given.prompt, default_flow_style=True, width=9999),
        "data.predict_images": given.number,
        "data.drawing_seed": given.seed,
        "drawings.output": given.out,
        "trainer.devices": 1,
        "trainer.strategy": "auto",
        "trainer.accelerator": "auto",
    }
    if given.reference is not None:
        settings["data.reference"] = given.reference
        weight = given.reference_weight
        settings["data.reference_weight"] = 1.0 if weight is None else weight
    if given.steps is not None:
        settings["model.sampler.init_args.steps"] = given.steps
    if given.guidance is not None:
        settings["model.sampler.init_args.guidance"] = given.guidance

    from idgen.commands.train import run_trainer

    flags = [f"--{key}={_spoken(value)}" for key, value in settings.items()]
    try:
        configs = [f"--config={path}" for path in given.config]
        checkpoint = f"--ckpt_path={_spoken(given.checkpoint)}"
        return run_trainer("predict", [checkpoint, *configs, *flags])
    except UserError as error:
        raise UserError(_in_own_words(str(error))) from error


def _spoken(value: object) -> str:
    """A value as YAML has it: NaN is not the word nan, and a file may be called null."""
    if isinstance(value, float):
        return yaml.safe_dump(value).splitlines()[0]
    text = str(value).strip()
    return f"./{text}" if text.lower() in ("", "~", "null") else text


# Keys of predict that have an option here.
_OPTIONS = {
    "--data.predict_prompts": "PROMPT",
    "--data.predict_images": "-n",
    "--data.drawing_seed": "--seed",
    "--data.reference_weight": "--reference-weight",
    "--data.reference": "--reference",
    "--model.sampler.init_args.steps": "--steps",
    "--model.sampler.init_args.guidance": "--guidance",
    "--ckpt_path": "CKPT",
}


def _in_own_words(text: str) -> str:
    """An error with the option that was typed in place of the key at its head."""
    key = next((key for key in _OPTIONS if text.startswith(key)), None)
    return text if key is None else f"{_OPTIONS[key]}{text.removeprefix(key)}"
