"""Photos are worked on by several threads at once where no network is needed."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from idgen.errors import UserError
from idgen.prepare import GrabCutSegmenter, OpenCVInpainter, Photo, stages
from idgen.prepare.segmenters.finding import Find, Finding
from tests.prepare.parts import CPU, TinyBackbone, contents, preparation
from tests.prepare.pictures import save_pictures


class TogetherSegmenter(GrabCutSegmenter):
    """Begins no photo before as many are being looked at as there are threads."""

    def __init__(self, threads: int) -> None:
        super().__init__(long_side=64)
        self.barrier = threading.Barrier(threads)

    @contextmanager
    def finding(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Find]:
        with super().finding(device, photos) as find:

            def together(photo: Photo) -> Finding:
                self.barrier.wait(timeout=60)
                return find(photo)

            yield together


def test_the_files_are_those_of_one_thread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = save_pictures(tmp_path / "photos", *range(8))
    found = {}
    for threads in (1, 4):
        monkeypatch.setattr(stages, "_FEWEST_READERS", threads)
        monkeypatch.setattr(stages, "_MOST_READERS", threads)
        parts = preparation()
        parts.segmenter, parts.inpainter = TogetherSegmenter(threads), OpenCVInpainter()
        parts.run(photos, tmp_path / str(threads), TinyBackbone(), CPU, False)
        found[threads] = contents(tmp_path / str(threads))
    assert found[1] == found[4]


class FailingSegmenter(GrabCutSegmenter):
    """Cannot do with one of the photos."""

    @contextmanager
    def finding(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Find]:
        def find(photo: Photo) -> Finding:
            if photo.name == "2.png":
                raise UserError("photo '2.png': no subject")
            return Finding(photo.pixels()[..., 0] > 128, "red")

        yield find


def test_a_photo_that_fails_stops_the_subject_and_keeps_what_is_done(tmp_path: Path) -> None:
    photos = save_pictures(tmp_path / "photos", *range(6))
    parts = preparation()
    parts.segmenter = FailingSegmenter(long_side=64)
    with pytest.raises(UserError, match=r"^photo '2\.png': no subject"):
        parts.run(photos, tmp_path / "out", TinyBackbone(), CPU, False)
    assert len(list((tmp_path / "out" / "masks").glob("*.png"))) == 2
    parts.segmenter = GrabCutSegmenter(long_side=64)
    assert len(parts.run(photos, tmp_path / "out", TinyBackbone(), CPU, False).photos) == 6
