"""Networks that answer points and boxes with masks: segment-anything and its successors."""

from abc import ABC, abstractmethod
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from idgen import opencv as cv2
from idgen.masks import Picture, reduced_size

Answer: TypeAlias = tuple[Tensor, Tensor]
"""Mask logits `P C h w`, of the network's own size, and predicted IoU `P C`: C candidates for each
of P prompts. Above 0 is the subject."""


class PromptableNetwork(ABC):
    """A loaded network, and the picture that it was shown last."""

    side: int
    """Pixels on the longer side that it sees at most."""
    device: torch.device

    def show(self, picture: Picture) -> Picture:
        """Shows it a picture `H W 3`, reduced to what it sees; returns that."""
        height, width = reduced_size(picture.shape[0], picture.shape[1], self.side)
        # Candidates in a phone's megapixels would fill the memory.
        small = np.asarray(cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA))
        self.size = (height, width)
        self._show(small)
        return small

    @abstractmethod
    def _show(self, small: Picture) -> None:
        """Embeds the picture."""

    @abstractmethod
    def points(self, points: NDArray[np.float64]) -> Answer:
        """Three candidates for each of P points (x, y) `P 2`, in pixels of what `show` returned."""

    @abstractmethod
    def box(self, box: NDArray[np.float64]) -> Answer:
        """Three candidates for one box (left, top, right, bottom), `1 C h w`."""

    @abstractmethod
    def together(
        self,
        points: NDArray[np.float64],
        labels: NDArray[np.int64],
        box: NDArray[np.float64] | None,
    ) -> Answer:
        """What points `N 2` (on it: 1, off it: 0) and a box say together.

        One point alone may mean a part or the whole, and gets three candidates; all else one.
        """

    @abstractmethod
    def sized(self, logits: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Logits `K h w` at a height and width, `K H W`; by default those of what was shown."""


class MetaNetwork(PromptableNetwork):
    """Meta's own segment-anything, by its package."""

    def __init__(self, model: Any) -> None:
        """Takes a `segment_anything.modeling.Sam` that is where it is to run."""
        from segment_anything import SamPredictor

        self._predictor = SamPredictor(model)
        self._threshold = model.mask_threshold
        self.side = model.image_encoder.img_size
        self.device = self._predictor.device

    def _show(self, small: Picture) -> None:
        self._predictor.set_image(small)

    def points(self, points: NDArray[np.float64]) -> Answer:
        """See `PromptableNetwork.points`."""
        given = torch.as_tensor(points, dtype=torch.float, device=self.device)
        moved = self._predictor.transform.apply_coords_torch(given, self.size)
        labels = torch.ones(len(moved), 1, dtype=torch.int, device=self.device)
        _, quality, low = self._predictor.predict_torch(moved[:, None], labels, return_logits=True)
        return low - self._threshold, quality

    def box(self, box: NDArray[np.float64]) -> Answer:
        """See `PromptableNetwork.box`."""
        given = torch.as_tensor(box, dtype=torch.float, device=self.device).view(1, 4)
        boxes = self._predictor.transform.apply_boxes_torch(given, self.size)
        _, quality, low = self._predictor.predict_torch(None, None, boxes=boxes, return_logits=True)
        return low - self._threshold, quality

    def together(
        self,
        points: NDArray[np.float64],
        labels: NDArray[np.int64],
        box: NDArray[np.float64] | None,
    ) -> Answer:
        """See `PromptableNetwork.together`."""
        _, quality, low = self._predictor.predict(
            points if len(points) else None,
            labels if len(points) else None,
            box=box,
            multimask_output=len(points) == 1 and box is None,
        )
        return torch.from_numpy(low)[None] - self._threshold, torch.from_numpy(quality)[None]

    def sized(self, logits: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """See `PromptableNetwork.sized`."""
        from segment_anything.utils.transforms import ResizeLongestSide

        size = size or self.size
        shown = ResizeLongestSide.get_preprocess_shape(*size, self.side)
        fitted: Tensor = self._predictor.model.postprocess_masks(
            logits[:, None].to(self.device), shown, size
        )
        return fitted[:, 0]


class TransformersNetwork(PromptableNetwork):
    """SAM, SAM 2 or EdgeTAM, as transformers has them.

    SAM sees a picture in the left top of a square, the others see it stretched to one.
    """

    def __init__(self, model: Any, image_processor: Any) -> None:
        """Takes a model that is where it is to run, and its image processor."""
        self._model = model
        self._processor = image_processor
        edge = getattr(image_processor.size, "longest_edge", None)
        size = image_processor.size
        self._stretched = edge is None
        self.side = int(edge or max(size.height, size.width))
        self.device = model.device
        self._embeddings: Any = None

    def _show(self, small: Picture) -> None:
        inputs = self._processor(images=small, return_tensors="pt")
        self._embeddings = self._model.get_image_embeddings(inputs["pixel_values"].to(self.device))

    def _moved(self, places: NDArray[np.float64]) -> Tensor:
        """Places (x, y) `N 2` in what was shown, in what the network sees."""
        height, width = self.size
        across, down = self._seen(height, width)[::-1]
        scale = np.array([across / width, down / height])
        return torch.as_tensor(places.reshape(-1, 2) * scale, dtype=torch.float, device=self.device)

    def _seen(self, height: int, width: int) -> tuple[int, int]:
        """Which part of the square a picture fills."""
        if self._stretched:
            return self.side, self.side
        scale = self.side / max(height, width)
        return int(height * scale + 0.5), int(width * scale + 0.5)

    def _ask(self, several: bool, **prompts: Tensor) -> Answer:
        given = self._embeddings
        given = list(given) if isinstance(given, list | tuple) else given
        outputs = self._model(image_embeddings=given, multimask_output=several, **prompts)
        return outputs.pred_masks[0].float(), outputs.iou_scores[0].float()

    def points(self, points: NDArray[np.float64]) -> Answer:
        """See `PromptableNetwork.points`."""
        moved = self._moved(points)[None, :, None]
        labels = torch.ones(moved.shape[:3], dtype=torch.int, device=self.device)
        return self._ask(True, input_points=moved, input_labels=labels)

    def box(self, box: NDArray[np.float64]) -> Answer:
        """See `PromptableNetwork.box`."""
        return self._ask(True, input_boxes=self._moved(box).view(1, 1, 4))

    def together(
        self,
        points: NDArray[np.float64],
        labels: NDArray[np.int64],
        box: NDArray[np.float64] | None,
    ) -> Answer:
        """See `PromptableNetwork.together`."""
        prompts: dict[str, Tensor] = {}
        if len(points):
            prompts["input_points"] = self._moved(points)[None, None]
            prompts["input_labels"] = torch.as_tensor(
                labels, dtype=torch.int, device=self.device
            ).view(1, 1, -1)
        if box is not None:
            prompts["input_boxes"] = self._moved(box).view(1, 1, 4)
        return self._ask(len(points) == 1 and box is None, **prompts)

    def sized(self, logits: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """See `PromptableNetwork.sized`."""
        size = size or self.size
        maps = logits[None].to(self.device)
        if not self._stretched:
            square = (self.side, self.side)
            maps = interpolate(maps, size=square, mode="bilinear", align_corners=False)
            down, across = self._seen(*size)
            maps = maps[..., :down, :across]
        return interpolate(maps, size=size, mode="bilinear", align_corners=False)[0]
