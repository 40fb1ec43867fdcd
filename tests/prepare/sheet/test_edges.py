import numpy as np
import torch

from idgen.mini.world import draw, sample_factors
from idgen.prepare.sheet.edges import share_on_edges
from idgen.prepare.sheet.review import look_of, set_warnings


def test_masks_on_the_wrong_picture_lie_beside_its_edges() -> None:
    drawings = [draw(sample_factors(number, held_out_identity=True)) for number in range(40)]
    own = [share_on_edges(drawing.picture, drawing.mask) for drawing in drawings]
    wrong = [
        share_on_edges(drawing.picture, other.mask)
        for drawing, other in zip(drawings, drawings[7:] + drawings[:7], strict=True)
    ]
    assert min(own) > 0.7
    assert sum(share < 0.7 for share in wrong) >= 0.85 * len(wrong)
    looks = [look_of(drawings[0].picture, drawing.mask) for drawing in (drawings[0], drawings[7])]
    right, beside = set_warnings(["a.png", "b.png"], looks, torch.ones(2, 4))
    assert not any("edges" in text for text in right)
    assert sum("of the mask's outline lies on the photo's edges" in text for text in beside) == 1


def test_it_is_the_share_of_the_outline() -> None:
    """A square, half of whose outline is an edge, at several sizes and lightnesses."""
    rng = np.random.default_rng(0)
    for side, ground in ((128, 60), (600, 200)):
        noise = rng.normal(0, 1, (side, side, 1))
        photo = (ground + noise).repeat(3, axis=2).astype(np.uint8)
        third = side // 3
        mask = np.zeros((side, side), bool)
        mask[third : 2 * third, third : 2 * third] = True
        assert share_on_edges(photo, mask) < 0.7
        photo[mask] = (120, 20, 20)
        assert share_on_edges(photo, mask) == 1
        # Half as wide as the thing: two and a half of its four sides are the thing's.
        half = mask.copy()
        half[:, third + third // 2 :] = False
        assert 0.6 < share_on_edges(photo, half) < 0.9
        assert share_on_edges(photo, np.ones((side, side), bool)) == 1
