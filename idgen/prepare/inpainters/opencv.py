"""Inpainting by OpenCV, which carries the surroundings inwards."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

import numpy as np
import torch

from idgen import opencv as cv2
from idgen.errors import UserError
from idgen.fingerprint import fingerprint_fields
from idgen.masks import Mask, Picture
from idgen.prepare.inpainters.hole import Hole
from idgen.prepare.inpainters.inpainter import Inpaint, Inpainter, no_background

_LONG_SIDES = {"telea": 512, "navier-stokes": 512, "fsr": 192}
_SMALLEST_OF_FSR = 16
INSTALL_XPHOTO = (
    "pip uninstall opencv-python opencv-python-headless, then "
    "pip install --force-reinstall opencv-contrib-python-headless"
)


def has_fsr() -> bool:
    """Whether the OpenCV that is installed has frequency selective reconstruction."""
    return hasattr(getattr(cv2, "xphoto", None), "INPAINT_FSR_FAST")


class OpenCVInpainter(Inpainter):
    """Inpainting by OpenCV, without weights: it carries the surroundings inwards.

    Good on plain grounds, blurred on textured ones; frequency selective reconstruction carries
    textures and edges on too. Outside the widened mask every pixel stays as it is. A large
    picture is filled at a bounded size, and only what was filled is enlarged.
    """

    def __init__(
        self,
        method: Literal["telea", "navier-stokes", "fsr"] = "navier-stokes",
        radius: float = 3.0,
        dilation: float = 0.06,
        long_side: int | None = None,
        grow: float = 0.0,
        frames: bool = False,
    ) -> None:
        """Sets how, and how much, is painted over.

        Args:
            method: Bertalmio's Navier-Stokes (2001), or Telea's fast marching (2004), which
                drifts in large holes: on a plain ground by 9 levels in the mean; or `fsr`,
                frequency selective reconstruction (Seiler and Kaup, 2010; Genser et al., 2018),
                of OpenCV's contributed modules.
            radius: How far around a pixel is looked, in pixels of the bounded size; `fsr` uses
                none.
            dilation: How far the mask is widened first, as a fraction of the square root of its
                area, so that no rim of the subject is left to leak into f'_i.
            long_side: Pixels; a picture with a longer side is filled at this size; None for 512,
                and for 192 with `fsr`, whose time grows with the hole.
            grow: How much further it grows over what looks like the subject's rest or shadow; see
                `Hole`.
            frames: Whether bars of one colour around the photo are kept out; see `Hole`.

        Raises:
            UserError: If a value is out of its range, or OpenCV lacks the method.
        """
        long_side = _LONG_SIDES[method] if long_side is None else long_side
        if radius <= 0 or dilation < 0 or long_side < 64:
            raise UserError(
                "OpenCVInpainter: radius must be above 0, dilation 0 or more and long_side 64 or "
                f"more; they are {radius}, {dilation} and {long_side}"
            )
        if method == "fsr" and not has_fsr():
            raise UserError(
                "OpenCVInpainter.method: 'fsr' needs OpenCV's xphoto, which another package of "
                f"OpenCV has replaced: {INSTALL_XPHOTO}; or give navier-stokes"
            )
        self.method = method
        self.radius = radius
        self.dilation = dilation
        self.long_side = long_side
        self.hole = Hole(dilation, grow, frames)

    @property
    def identity(self) -> str:
        """Hash of the method and its settings."""
        # What was added later is left out unless it is used, so that earlier backgrounds stay.
        more = {} if self.hole == Hole(self.dilation) else {"hole": self.hole.identity}
        return fingerprint_fields(
            inpainter="opencv",
            version=1,
            method=self.method,
            radius=float(self.radius),
            dilation=float(self.dilation),
            long_side=self.long_side,
            **more,
        )

    @property
    def is_parallel(self) -> bool:
        """Yes: OpenCV lets other threads run."""
        return True

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Inpaint]:
        """Nothing to load; OpenCV runs on the CPU."""
        yield self._inpaint

    def _inpaint(self, image: Picture, mask: Mask) -> Picture:
        return self.hole.filled(image, mask, self._fill)

    def _fill(self, image: Picture, hole: Mask) -> Picture:
        height, width = hole.shape
        scale = min(1.0, self.long_side / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        small: Any = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        # Any share of the hole counts, or the subject's colours would mix into what is kept.
        small_hole = cv2.resize(hole.astype(np.float32), size, interpolation=cv2.INTER_AREA) > 0
        if small_hole.all():
            raise no_background()
        filled: Any = self._fill_small(small, small_hole)
        if scale < 1:
            filled = cv2.resize(filled, (width, height), interpolation=cv2.INTER_CUBIC)
        # OpenCV also touches pixels beside the hole.
        return np.where(hole[..., None], filled, image).astype(np.uint8)

    def _fill_small(self, image: Picture, hole: Mask) -> Picture:
        if self.method == "fsr":
            return _reconstructed(image, hole)
        flag = cv2.INPAINT_TELEA if self.method == "telea" else cv2.INPAINT_NS
        return np.asarray(cv2.inpaint(image, hole.astype(np.uint8), self.radius, flag))


def _reconstructed(image: Picture, hole: Mask) -> Picture:
    """Frequency selective reconstruction of a hole `H W` in a picture `H W 3`."""
    height, width = hole.shape
    below, right = (max(0, _SMALLEST_OF_FSR - side) for side in (height, width))
    # OpenCV takes blocks of so many pixels, and fails on smaller pictures.
    wide: Any = cv2.copyMakeBorder(image, 0, below, 0, right, cv2.BORDER_REPLICATE)
    known = cv2.copyMakeBorder(
        np.where(hole, 0, 255).astype(np.uint8), 0, below, 0, right, cv2.BORDER_REPLICATE
    )
    filled = np.zeros_like(wide)
    # OpenCV's type stubs have no contributed modules.
    xphoto: Any = getattr(cv2, "xphoto")  # noqa: B009
    xphoto.inpaint(wide, known, filled, xphoto.INPAINT_FSR_FAST)
    return np.asarray(filled[:height, :width])
