"""Draws from exported files with diffusers alone, so that an export is known to work elsewhere.

It reads jobs, one JSON object a line, from its input, and answers each with one line: `{"file":
PNG}` or `{"error": TEXT}`. It imports nothing of idgen, and refuses to draw if anything else did.

A job::

    pipeline    the class of the pipeline in diffusers
    base        a pipeline folder
    left_out    parts of it that are not loaded
    variant     of its weights' files, or null
    lora        a file for `load_lora_weights`, or null
    embedding   a file for `load_textual_inversion`, or null
    embeds      a safetensors file with `prompt_embeds` and, with guidance,
                `negative_prompt_embeds`, of which the first are drawn; or null
    fusion      the folder of `idgen_fusion.py` and `fusion.safetensors`, or null
    prompt, negative_prompt, guidance, steps
    scheduler   a class of diffusers, or null for the base's own
    settings    of it, over the configuration of the base's own
    eta         of DDIM
    max_sequence_length  how many tokens T5 takes, or null where there is none
    size        width and height in pixels
    noise       a safetensors file, `noise` `S C h w`: what is started from, then each step's
    device      such as `cpu`
    output      where the picture goes
"""

import functools
import importlib.util
import json
import sys
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor


def load_pipeline(job: dict[str, Any]) -> Any:
    """The base with what was exported, in float32."""
    import diffusers

    left_out = dict.fromkeys(job["left_out"])
    unused = {"safety_checker": None, "feature_extractor": None, "requires_safety_checker": False}
    pipeline = getattr(diffusers, job["pipeline"]).from_pretrained(
        job["base"],
        variant=job["variant"],
        torch_dtype=torch.float32,
        **left_out,
        **(unused if job["pipeline"] == "StableDiffusionPipeline" else {}),
    )
    if job["lora"] is not None:
        file = Path(job["lora"])
        pipeline.load_lora_weights(file.parent, weight_name=file.name)
    if job["embedding"] is not None:
        file = Path(job["embedding"])
        pipeline.load_textual_inversion(file.parent, weight_name=file.name)
    if job["scheduler"] is not None:
        kind = getattr(diffusers, job["scheduler"])
        pipeline.scheduler = kind.from_config(pipeline.scheduler.config, **job["settings"])
    pipeline.set_progress_bar_config(disable=True)
    return pipeline.to(job["device"])


def prompt_arguments(pipeline: Any, job: dict[str, Any]) -> dict[str, Any]:
    """What the pipeline is given of the prompt: its text, or states that are made already."""
    device = job["device"]
    if job["embeds"] is not None:
        states = load_file(job["embeds"], device=device)
        return {name: states[name][:1].float() for name in states}
    # What no negative prompt is, each family says itself.
    text = {"prompt": job["prompt"]}
    text |= {"negative_prompt": job["negative_prompt"]} if job["negative_prompt"] else {}
    if job["fusion"] is None:
        return text
    guided = job["guidance"] > 1
    states, negative = pipeline.encode_prompt(
        job["prompt"], device, 1, guided, job["negative_prompt"]
    )
    fusion = _fusion_module(Path(job["fusion"]))
    tokens = len(pipeline.tokenizer(job["prompt"]).input_ids)
    fused = fusion.load_fusion(Path(job["fusion"]) / fusion.FILE)(states, tokens)
    return {"prompt_embeds": fused, **({"negative_prompt_embeds": negative} if guided else {})}


def _fusion_module(folder: Path) -> Any:
    spec = importlib.util.spec_from_file_location("idgen_fusion", folder / "idgen_fusion.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def with_noise(pipeline: Any, noise: Tensor) -> None:
    """Makes the scheduler add the given noise at its steps, in order."""
    original, left = pipeline.scheduler.step, list(noise)

    # Pipelines look at its signature to see whether it takes eta.
    @functools.wraps(original)
    def step(model_output: Tensor, timestep: Any, sample: Tensor, **others: Any) -> Any:
        others.pop("generator", None)
        given = {"variance_noise": left.pop(0).unsqueeze(0)} if left else {}
        return original(model_output, timestep, sample, **given, **others)

    pipeline.scheduler.step = step


@torch.no_grad()
def draw(job: dict[str, Any]) -> None:
    """Draws one job's picture and saves it."""
    pipeline = load_pipeline(job)
    noise = load_file(job["noise"], device=job["device"])["noise"]
    given = prompt_arguments(pipeline, job)
    if job["max_sequence_length"] is not None:
        given["max_sequence_length"] = job["max_sequence_length"]
    with_noise(pipeline, noise[1:])
    start = noise[:1]
    width, height = job["size"]
    if hasattr(pipeline, "_pack_latents"):
        start = pipeline._pack_latents(start, *start.shape)
    drawn = pipeline(
        **given,
        num_inference_steps=job["steps"],
        guidance_scale=job["guidance"],
        latents=start,
        width=width,
        height=height,
        # Only pipelines that DDIM may solve take it.
        **({"eta": job["eta"]} if job["eta"] else {}),
    )
    drawn.images[0].save(job["output"])
    ours = sorted(name for name in sys.modules if name.split(".")[0] == "idgen")
    if ours:
        raise RuntimeError(f"{ours[0]} was imported, which a drawing without idgen must not do")


def main() -> None:
    """Draws until there are no more jobs."""
    for line in sys.stdin:
        try:
            job = json.loads(line)
            draw(job)
            answer = {"file": str(job["output"])}
        except Exception as error:  # whatever a library raises is the answer
            answer = {"error": f"{type(error).__name__}: {error}"[:2000]}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
