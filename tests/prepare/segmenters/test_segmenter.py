import numpy as np

from idgen.masks import Mask
from idgen.prepare import Photo
from idgen.prepare.segmenters.prompts import prompts_of
from idgen.prepare.segmenters.segmenter import DrawnPicture, of_drawings
from tests.prepare.pictures import picture, red


def test_a_segmenter_sees_a_drawing_as_a_photo() -> None:
    seen: list[Photo] = []

    def segment(photo: Photo) -> Mask:
        seen.append(photo)
        return red(photo.pixels())

    drawing = picture(1)
    assert np.array_equal(of_drawings(segment)(drawing), red(drawing))
    [photo] = seen
    assert photo.size() == red(drawing).shape
    assert prompts_of(photo) is None


def test_drawings_are_known_by_their_content() -> None:
    drawing = picture(1)
    digests = [DrawnPicture.of(p).digest for p in (drawing, drawing.copy(), picture(2))]
    assert digests[0] == digests[1] != digests[2]
    # The same bytes in another shape are another picture.
    assert DrawnPicture.of(drawing.reshape(56, 40, 3)).digest != digests[0]
