import numpy as np

from idgen.masks import cut_out
from tests.prepare.pictures import picture, red


def test_a_cut_out_shows_the_subject_alone() -> None:
    pixels = picture(1)
    shown = cut_out(pixels, red(pixels)).permute(1, 2, 0).numpy()
    rows, columns = np.nonzero(red(pixels))
    side = max(np.ptp(rows), np.ptp(columns)) + 1
    assert shown.shape[0] == shown.shape[1] == round(1.2 * side)
    assert int(red(shown).sum()) == len(rows)
    assert (shown[~red(shown)] == 127).all()
    assert cut_out(pixels, np.zeros((40, 56), bool)).shape == (3, 32, 32)
