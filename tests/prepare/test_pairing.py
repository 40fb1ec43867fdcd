"""Nothing is ever paired with another photo, whatever is done to the folder in between."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from idgen.fingerprint import file_digest
from idgen.prepare.subject import PreparedSubject
from tests.prepare.parts import (
    CPU,
    TinyBackbone,
    contents,
    paint,
    preparation,
    save_photo,
)

NAMES = [f"{letter}.png" for letter in "abcdef"] + ["a.jpg", "mit leer.png", "大.png"]
Folder = dict[str, int]

folders = st.dictionaries(st.sampled_from(NAMES), st.integers(0, 9), min_size=2, max_size=5).filter(
    lambda folder: len(set(folder.values())) >= 2
)


def lay_out(folder: Path, photos: Folder) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    for name, number in photos.items():
        save_photo(folder, name, number)


def check_pairs(subject: PreparedSubject, folder: Path, photos: Folder) -> None:
    digests = {file_digest(folder / name): number for name, number in photos.items()}
    assert {photo.digest for photo in subject.photos} == digests.keys()
    for photo in subject.photos:
        number = digests[photo.digest]
        assert photos[photo.name] == number
        background = subject.background(photo)
        ground = paint(number)[0, 0]
        # OpenCV fills a plain ground to within a few levels; other photos are 30 away.
        assert np.abs(background.astype(int) - ground).mean() <= 5
        assert subject.mask(photo).shape == background.shape[:2]
        red, green, blue = background[0, 0]
        assert subject.caption(photo) == f"on red {red} green {green} blue {blue}"
    views = subject.load_views()
    for digest, embedding in zip(views.photo_digests, views.background_embedding, strict=True):
        ground = torch.from_numpy(paint(digests[digest])[0, 0].astype(np.float32))
        expected = (ground / 127.5 - 1).repeat_interleave(2)
        torch.testing.assert_close(embedding, expected, atol=0.05, rtol=0)


@pytest.mark.filterwarnings("ignore:.* is a copy of")  # edits make copies, which are left out
@settings(max_examples=8, deadline=None)
@given(st.lists(folders, min_size=2, max_size=3))
def test_edits_never_mix_photos(sequence: list[Folder]) -> None:
    with tempfile.TemporaryDirectory() as root:
        photos, output = Path(root) / "photos", Path(root) / "out"
        backbone = TinyBackbone()
        for folder in sequence:
            lay_out(photos, folder)
            subject = preparation(skip_bad=True).run(photos, output, backbone, CPU, False)
            check_pairs(subject, photos, folder)
            assert preparation(skip_bad=True).is_fresh(photos, output, backbone)
        preparation(skip_bad=True).run(photos, Path(root) / "fresh", backbone, CPU, False)
        assert contents(output) == contents(Path(root) / "fresh")
