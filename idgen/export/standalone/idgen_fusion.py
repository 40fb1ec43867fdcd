"""FFM, the fusion of an idgen export, without idgen: for diffusers and as a node of ComfyUI.

It takes the text encoder's states of a prompt to what the U-Net was trained with,
f_r = sum_k R(f)_k * Expert_k(f), R a softmax router over K experts (arXiv 2505.22360). The negative
prompt stays as it is.

diffusers::

    fusion = load_fusion("fusion.safetensors")
    embeds, negative = pipeline.encode_prompt(prompt, "cpu", 1, True, negative_prompt)
    pipeline(prompt_embeds=fusion(embeds), negative_prompt_embeds=negative)

ComfyUI: lay this file and `fusion.safetensors` in `custom_nodes/`, start ComfyUI anew, and put the
node "idgen fusion" between "CLIP Text Encode" of the positive prompt and "KSampler".

Needs torch and safetensors alone. Licence: Apache-2.0.
"""

from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

FILE = "fusion.safetensors"


class Fusion:
    """The fusion module of one subject.

    Attributes:
        by_picture: Whether all tokens of a prompt have the same gates, from the mean of its real
            tokens; each has gates of its own otherwise.
    """

    def __init__(self, weights: dict[str, Tensor], by_picture: bool) -> None:
        """Takes the weights.

        Args:
            weights: `router.*` and `experts.K.*`, as idgen names them.
            by_picture: What shares gates.
        """
        self._weights = weights
        self.by_picture = by_picture
        self.experts = len(weights["router.bias"])

    def __call__(self, states: Tensor, real_tokens: int | None = None) -> Tensor:
        """States of prompts, `B N D`, to what the U-Net takes, of the same shape and dtype.

        Args:
            states: The text encoder's last states after its final norm.
            real_tokens: How many of the N tokens are the prompt's, begin and end included; needed
                where a picture's tokens share gates.

        Raises:
            ValueError: If the width is another model's, or `real_tokens` is missing.
        """
        width = self._weights["router.weight"].shape[1]
        if states.shape[-1] != width:
            raise ValueError(f"the fusion takes states of width {width}, not {states.shape[-1]}")
        x = states.float()
        weights = {name: weight.to(x.device).float() for name, weight in self._weights.items()}
        gates = self._gates(x, weights, real_tokens)
        experts = [x + _residual(x, weights, f"experts.{k}.") for k in range(self.experts)]
        fused = (torch.stack(experts, dim=-1) * gates.unsqueeze(-2)).sum(dim=-1)
        return fused.to(states.dtype)

    def _gates(self, x: Tensor, weights: dict[str, Tensor], real_tokens: int | None) -> Tensor:
        if self.by_picture:
            if not real_tokens:
                raise ValueError("this fusion has one gate a picture: give real_tokens")
            x = x[:, :real_tokens].mean(dim=1, keepdim=True)
        return (x @ weights["router.weight"].T + weights["router.bias"]).softmax(dim=-1)


def _residual(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    """What an expert adds: W2 relu(W1 x), or B A x of low rank."""
    if f"{name}down.weight" in weights:
        return x @ weights[f"{name}down.weight"].T @ weights[f"{name}up.weight"].T
    hidden = x @ weights[f"{name}inner.weight"].T + weights[f"{name}inner.bias"]
    return torch.relu(hidden) @ weights[f"{name}outer.weight"].T + weights[f"{name}outer.bias"]


def load_fusion(path: str | Path) -> Fusion:
    """Reads `fusion.safetensors`."""
    with safe_open(str(path), framework="pt") as file:
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        routing = (file.metadata() or {}).get("routing")
    return Fusion(weights, by_picture=routing == "picture")


class IdgenFusion:
    """The node: CONDITIONING in, CONDITIONING out."""

    CATEGORY = "conditioning"
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "fuse"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, dict[str, Any]]:
        """What the node shows: the file, beside this one, and the prompt's real tokens."""
        tokens = {"default": 0, "min": 0, "max": 10000}
        return {
            "required": {"conditioning": ("CONDITIONING",), "file": ("STRING", {"default": FILE})},
            "optional": {"real_tokens": ("INT", tokens)},
        }

    def fuse(
        self, conditioning: list[Any], file: str = FILE, real_tokens: int = 0
    ) -> tuple[list[Any]]:
        """Each entry's states fused; what else an entry holds is handed on."""
        fusion = load_fusion(Path(__file__).parent / file)
        fused = [[fusion(states, real_tokens or None), dict(rest)] for states, rest in conditioning]
        return (fused,)


NODE_CLASS_MAPPINGS = {"IdgenFusion": IdgenFusion}
NODE_DISPLAY_NAME_MAPPINGS = {"IdgenFusion": "idgen fusion"}
