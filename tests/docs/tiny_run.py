"""The commands of the documentation with tiny models, so that each takes a second or two."""

from pathlib import Path
from typing import Any

from tests.workspace import TinyModels


def tiny(models: TinyModels) -> dict[str, Any]:
    """Laid over the configs of a command: models without meaning, and few drawings."""

    def part(path: str, **arguments: Any) -> dict[str, Any]:
        return {"class_path": path, "init_args": arguments}

    prompts = ["a [V] {class_noun} in the snow", "a photo of a [V] {class_noun}"]
    return {
        "trainer": {"max_steps": 2, "val_check_interval": 2, "accelerator": "cpu"},
        "model": {
            "backbone": {"init_args": {"source": str(models.pipeline)}},
            "sampler": {"init_args": {"steps": 2}},
        },
        "data": {
            # Of the mini world's own subjects `test` would know the truth, and take long.
            "subject": {"photos": "photos/robot", "class_noun": "robot"},
            "preparation": {
                "segmenter": part("idgen.prepare.GrabCutSegmenter"),
                "image_encoder": part(
                    "idgen.models.encoders.ImageEncoder", model=f"local-dir:{models.encoder}"
                ),
            },
            "validation_images": 1,
            "predict_images": 1,
            "test_images": 1,
            "batch_size": 2,
            "validation_prompts": prompts[:1],
            "predict_prompts": prompts[:1],
            "test_prompts": prompts,
        },
        "fidelity": {
            "clip": part("idgen.metrics.encoders.ClipScorer", model=f"local-dir:{models.clip}"),
            "dino": part("idgen.metrics.encoders.DinoScorer", model=str(models.dino)),
        },
    }


def tiny_pair(models: TinyModels) -> dict[str, Any]:
    """The same over configs of two subjects."""
    settings = tiny(models)
    prompts = ["a [V1] {class_noun1} and a [V2] {class_noun2}"]
    for name in ("validation_prompts", "predict_prompts", "test_prompts"):
        settings["data"][name] = prompts
    # The tiny tokenizer knows few words.
    mug = {"photos": "photos/my_mug", "class_noun": "teapot", "token": "beach"}
    settings["data"]["companion"] = mug
    settings["data"]["pairs"] = {"prompt": prompts[0]}
    return settings


def changed(words: list[str], folder: Path, number: int) -> list[str]:
    """A command with the tiny models, and outputs that do not meet another command's."""
    name, options = words[0], list(words[1:])
    configs = [at for at, word in enumerate(options) if word == "--config"]
    if name in ("fit", "doctor") and configs:
        two = "two_subjects.yaml" in options[configs[0] + 1]
        overlay = folder / ("tiny_two.yaml" if two else "tiny.yaml")
        options[configs[-1] + 2 : configs[-1] + 2] = ["--config", str(overlay)]
        if not two and not any(word.startswith("--trainer.default_root_dir") for word in options):
            options.append(f"--trainer.default_root_dir=runs/fit-{number}")
    if name == "fit" and "--trainer.max_steps" in options:
        options.append("--trainer.max_steps=3")
    if name == "doctor":
        options.append("--no-trial")
    if name in ("validate", "test", "predict"):
        options.append(f"--drawings.output=scored-{number}")
    if name == "export":
        # Both are the export's own tests to try.
        options += ["--samples", "0", "--no-verify"]
    return [name, *options]
