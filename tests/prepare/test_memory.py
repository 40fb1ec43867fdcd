"""Pictures are decoded once, and no more of them are kept than there is room for."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from idgen.prepare import GrabCutSegmenter, Preparation
from idgen.prepare.memory import Memory
from idgen.prepare.photos import find_photos
from tests.prepare.parts import CPU, CountingInpainter, PoolingEncoder, TinyBackbone
from tests.prepare.pictures import picture

BYTES = 40 * 56 * 3


def test_what_was_used_last_is_kept() -> None:
    memory, read = Memory(most_bytes=2 * BYTES), Counter[str]()

    def get(key: str) -> None:
        def decode() -> np.ndarray:
            read[key] += 1
            return picture(ord(key))

        np.testing.assert_array_equal(memory.get(key, decode), picture(ord(key)))

    for key in "abaca":
        get(key)
    assert read == {"a": 1, "b": 1, "c": 1}
    get("b")
    assert read["b"] == 2


def test_what_is_too_large_is_read_each_time() -> None:
    memory = Memory(most_bytes=BYTES - 1)
    memory.put("a", picture(2))
    np.testing.assert_array_equal(memory.get("a", lambda: picture(3)), picture(3))


def test_a_photo_in_memory_is_nobodys_to_change(tmp_path: Path) -> None:
    Image.fromarray(picture(1)).save(tmp_path / "1.png")
    (found,) = find_photos(tmp_path)
    photo = type(found)(found.path, found.digest, memory=Memory())
    photo.pixels()[:] = 0
    np.testing.assert_array_equal(photo.pixels(), picture(1))
    assert photo == found


def test_a_run_decodes_each_photo_once_and_none_of_its_own_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside the check of each photo, which a JPEG passes at a fraction of its size."""
    photos = tmp_path / "photos"
    photos.mkdir()
    for number in range(3):
        pixels = picture(number, 480, 640)
        Image.fromarray(pixels).save(photos / f"{number}.jpg", quality=95)
    decoded: Counter[tuple[int, int]] = Counter()
    load = ImageFile.ImageFile.load

    def counting(image: ImageFile.ImageFile) -> object:
        if image.tile:
            decoded[image.size] += 1
        return load(image)

    monkeypatch.setattr(ImageFile.ImageFile, "load", counting)
    parts = Preparation(GrabCutSegmenter(), CountingInpainter(), PoolingEncoder(), views=2)
    parts.run(photos, tmp_path / "out", TinyBackbone(), CPU, False)
    assert decoded == {(640, 480): 3, (80, 60): 3}
