"""Which masks a person should look at."""

import numpy as np

from idgen.prepare.segmenter import Mask

SMALL, LARGE = 0.02, 0.90
_PIECE = 0.10
"""A separate piece counts from this part of the largest piece's area on."""


def mask_warnings(mask: Mask) -> list[str]:
    """Names what looks wrong with a mask.

    Args:
        mask: `H W`, true on the subject.

    Returns:
        One short text for each of: under 2 % of the picture, over 90 % of it, several large
        pieces, touching all four borders. Empty if nothing looks wrong.
    """
    import cv2

    found = []
    share = float(mask.mean())
    if share < SMALL:
        found.append(f"covers only {100 * share:.1f} % of the picture")
    if share > LARGE:
        found.append(f"covers {100 * share:.0f} % of the picture")
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    pieces = int((areas >= _PIECE * areas.max()).sum()) if len(areas) else 0
    if pieces > 1:
        found.append(f"is in {pieces} pieces")
    if mask[0].any() and mask[-1].any() and mask[:, 0].any() and mask[:, -1].any():
        found.append("touches all four borders")
    return found
