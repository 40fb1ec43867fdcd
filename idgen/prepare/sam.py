"""Masks by segment-anything (Kirillov et al., 2023, arXiv 2304.02643), prompted automatically."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from idgen.errors import UserError
from idgen.fingerprint import fingerprint_fields, fingerprint_path
from idgen.prepare.photos import Photo
from idgen.prepare.segmenter import Mask, Segmenter

Architecture: TypeAlias = Literal["vit_b", "vit_l", "vit_h"]

_VERSION = 1
_KEY = "segmenter checkpoint"
_ARCHITECTURE_OF_WIDTH: dict[int, Architecture] = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
_GRID = (0.3, 0.5, 0.7)
_BOX = (0.1, 0.1, 0.9, 0.9)
_SCORING_SIDE = 256
_SMALLEST_REGION = 0.01


class SamSegmenter(Segmenter):
    """Any segment-anything checkpoint, or the mini one, with prompts in the middle of the photo.

    The prompts are nine points, the centre and a grid of eight around it, and a box around the
    middle 80 %; each gives three candidate masks. `score_candidates` says which is taken. Islands
    and holes under 1 % of the mask's area are removed.
    """

    def __init__(self, checkpoint: str = "mini", architecture: Architecture | None = None) -> None:
        """Notes the checkpoint; the weights are loaded by `loaded`.

        Args:
            checkpoint: `mini` (ships with idgen), or the path of a `.pth` or `.safetensors` file.
            architecture: Its image encoder; None to read it off the weights.
        """
        self.checkpoint = checkpoint
        self.architecture = architecture

    @property
    def _path(self) -> Path:
        if self.checkpoint == "mini":
            from idgen.mini.assets import mini_path

            return mini_path("sam")
        path = Path(self.checkpoint).expanduser()
        if not path.is_file() or path.suffix not in (".pth", ".safetensors"):
            what = "is no .pth or .safetensors file" if path.exists() else "does not exist"
            raise UserError(
                f"{_KEY}: {self.checkpoint!r} {what}; give a segment-anything checkpoint such as "
                "sam_vit_b_01ec64.pth, or 'mini'"
            )
        return path

    @cached_property
    def identity(self) -> str:
        """Hash of the weights and of how they are prompted.

        Raises:
            UserError: If there is no such checkpoint.
        """
        weights = fingerprint_path(self._path)
        return fingerprint_fields(segmenter="sam", version=_VERSION, weights=weights)

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Callable[[Photo], Mask]]:
        """Loads the model, and frees it when the context ends.

        Args:
            device: Where it runs.

        Yields:
            Photo to mask, `H W`.

        Raises:
            UserError: If the weights cannot be loaded.
        """
        from segment_anything import SamPredictor

        predictor = SamPredictor(self._load().eval().requires_grad_(False).to(device))

        def segment(photo: Photo) -> Mask:
            return _segment(predictor, photo.pixels())

        yield segment

    def _load(self) -> Any:
        if self.checkpoint == "mini":
            from idgen.mini.sam import load_mini_sam

            return load_mini_sam(self._path)
        from segment_anything import sam_model_registry

        try:
            state = _read_state(self._path)
            width = state["image_encoder.patch_embed.proj.weight"].shape[0]
            model = sam_model_registry[self.architecture or _ARCHITECTURE_OF_WIDTH[width]]()
            model.load_state_dict(state)
        except Exception as error:  # damaged files and other models fail in many ways
            reason = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
            raise UserError(
                f"{_KEY}: {self.checkpoint!r} is no segment-anything checkpoint "
                f"({reason[:120]}); fetch it again, or check 'architecture'"
            ) from error
        return model


def _read_state(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        state: dict[str, Tensor] = load_file(path)
        return state
    loaded: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return loaded


@torch.inference_mode()
def _segment(predictor: Any, image: NDArray[np.uint8]) -> Mask:
    """The subject's mask, `H W`, of a picture `H W 3`."""
    import cv2

    height, width = image.shape[:2]
    scale = min(1.0, predictor.model.image_encoder.img_size / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    # The model sees no more than this; candidates in a phone's megapixels would fill the memory.
    predictor.set_image(cv2.resize(image, size, interpolation=cv2.INTER_AREA))
    logits, quality = _candidates(predictor, *size)
    best = int(score_candidates(_reduced(logits) > 0, quality).argmax())
    chosen = logits.flatten(0, 1)[best].float().cpu().numpy()
    mask = cv2.resize(chosen, (width, height), interpolation=cv2.INTER_LINEAR) > 0
    return _tidy(mask)


def _candidates(predictor: Any, width: int, height: int) -> tuple[Tensor, Tensor]:
    """Mask logits `P C h w` and predicted IoU `P C` of P prompts with C candidates each."""
    extent = torch.tensor([width, height], dtype=torch.float, device=predictor.device)
    grid = torch.tensor([(x, y) for y in _GRID for x in _GRID], device=predictor.device)
    points = predictor.transform.apply_coords_torch(grid * extent, (height, width))
    labels = torch.ones(len(points), 1, dtype=torch.int, device=predictor.device)
    box = torch.tensor(_BOX, device=predictor.device).view(1, 2, 2) * extent
    boxes = predictor.transform.apply_boxes_torch(box.view(1, 4), (height, width))
    by_point = predictor.predict_torch(points[:, None], labels, return_logits=True)
    by_box = predictor.predict_torch(None, None, boxes=boxes, return_logits=True)
    logits = torch.cat([by_point[0], by_box[0]]) - predictor.model.mask_threshold
    return logits, torch.cat([by_point[1], by_box[1]])


def _reduced(logits: Tensor) -> Tensor:
    scale = _SCORING_SIDE / max(logits.shape[-2:])
    if scale >= 1:
        return logits
    size = [max(1, round(side * scale)) for side in logits.shape[-2:]]
    return interpolate(logits, size=size, mode="bilinear", align_corners=False)


def score_candidates(masks: Tensor, predicted_iou: Tensor) -> Tensor:
    """How likely each candidate is the subject of the photo.

    ``score = size * (predicted IoU + agreement + centredness + 1 - border)`` where

    - agreement: over all prompts, the mean IoU with the prompt's most similar candidate: the
      subject is what different prompts find again;
    - centredness: `exp(-2 d^2)`, d the distance of the mask's centre of mass from the photo's
      centre, where 1 is half the photo's height or width;
    - border: the part of the photo's border that it covers: grounds do, subjects do not;
    - size: 1 from 4 % to 70 % of the photo, falling in a line to 0 at 0 % and at 95 %.

    Args:
        masks: `P C h w`, boolean: C candidates for each of P prompts.
        predicted_iou: The model's own estimate of their quality, `P C`.

    Returns:
        `P*C`, prompts first.
    """
    prompts, candidates, height, width = masks.shape
    flat = masks.flatten(0, 1).flatten(1).float()
    area = flat.sum(1)
    intersection = flat @ flat.T
    union = (area[:, None] + area[None] - intersection).clamp(min=1)
    agreement = (intersection / union).view(-1, prompts, candidates).amax(2).mean(1)
    y = torch.linspace(-1, 1, height, device=flat.device).repeat_interleave(width)
    x = torch.linspace(-1, 1, width, device=flat.device).repeat(height)
    centre = torch.stack([flat @ y, flat @ x]) / area.clamp(min=1)
    centredness = torch.exp(-2 * centre.square().sum(0))
    one = masks.flatten(0, 1).float()
    sides = (one[:, 0], one[:, -1], one[:, :, 0], one[:, :, -1])
    border = torch.cat(sides, dim=1).mean(1)
    share = area / (height * width)
    size = (share / 0.04).clamp(max=1) * ((0.95 - share) / 0.25).clamp(0, 1)
    return size * (predicted_iou.flatten() + agreement + centredness + 1 - border)


def _tidy(mask: Mask) -> Mask:
    """Removes islands and fills holes that are small beside the mask."""
    from segment_anything.utils.amg import remove_small_regions

    threshold = _SMALLEST_REGION * float(mask.sum())
    for mode in ("holes", "islands"):
        mask, _ = remove_small_regions(mask, threshold, mode)
    return np.asarray(mask, dtype=np.bool_)
