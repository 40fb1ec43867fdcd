"""A reference photo from elsewhere is never taken for one of the trained subject's."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from idgen.errors import UserError
from idgen.prepare import BoxDetector, GrabCutSegmenter, MaskFiles, Photo, SamSegmenter, read_photo
from idgen.prepare.segmenters.class_noun import NOUN_FILE
from idgen.prepare.segmenters.prompts import PROMPTS
from idgen.prepare.segmenters.segmenter import Segmenter, check_reference
from tests.prepare.parts import save_photo, save_photos
from tests.prepare.pictures import one_line


@pytest.fixture
def subject(tmp_path: Path) -> Path:
    return save_photos(tmp_path / "dog")


@pytest.fixture
def foreign(tmp_path: Path) -> Photo:
    return read_photo(save_photo(tmp_path / "beach", "00.png", 7))


def refused(photo: Photo, subject: Path, segmenter: Segmenter) -> str:
    with pytest.raises(UserError) as error:
        check_reference(photo, subject, segmenter)
    text = one_line(error.value)
    assert str(photo.path) in text
    return text


def save_mask(path: Path, photo: Photo) -> Path:
    """A white box on black, of the photo's size."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(photo.size(), np.uint8)
    mask[10:20, 10:20] = 255
    Image.fromarray(mask).save(path)
    return path


def test_a_mask_that_fits_by_its_name_alone(tmp_path: Path, subject: Path, foreign: Photo) -> None:
    masks = tmp_path / "masks"
    segmenter = MaskFiles(masks, GrabCutSegmenter())
    save_mask(masks / "00.png", foreign)
    check_reference(read_photo(subject / "00.png"), subject, segmenter)
    text = refused(foreign, subject, segmenter)
    assert str(masks / "beach" / "00.png") in text
    save_mask(masks / "beach" / "00.png", foreign)
    check_reference(foreign, subject, segmenter)
    other_name = read_photo(save_photo(tmp_path / "beach", "x.png", 8))
    check_reference(other_name, subject, segmenter)


def test_a_folder_that_is_called_as_the_subject(tmp_path: Path, subject: Path) -> None:
    photo = read_photo(save_photo(tmp_path / "more" / "dog", "00.png", 7))
    segmenter = MaskFiles(tmp_path / "masks")
    save_mask(tmp_path / "masks" / "dog" / "00.png", photo)
    check_reference(read_photo(subject / "00.png"), subject, segmenter)
    assert refused(photo, subject, segmenter).endswith("give it another name")


def test_the_subjects_folder_by_another_path(tmp_path: Path, subject: Path) -> None:
    (tmp_path / "link").symlink_to(subject)
    photo = read_photo(tmp_path / "link" / "00.png")
    save_mask(tmp_path / "masks" / "00.png", photo)
    check_reference(photo, subject, MaskFiles(tmp_path / "masks"))


def sam(class_noun: str | None = None, table: Path | None = None) -> SamSegmenter:
    return SamSegmenter(detector=BoxDetector("none"), class_noun=class_noun, class_nouns=table)


def test_the_subjects_noun_is_not_the_references(
    tmp_path: Path, subject: Path, foreign: Photo
) -> None:
    check_reference(read_photo(subject / "00.png"), subject, sam("dog"))
    (tmp_path / "masks").mkdir()
    for segmenter in (sam("dog"), MaskFiles(tmp_path / "masks", sam("dog"))):
        text = refused(foreign, subject, segmenter)
        assert "whose class noun is 'dog'" in text
        assert NOUN_FILE in text


def test_a_reference_with_a_noun_or_prompts_of_its_own(
    tmp_path: Path, subject: Path, foreign: Photo
) -> None:
    (tmp_path / "classes.txt").write_text("beach,ball\ndog,dog\n")
    check_reference(foreign, subject, sam(table=tmp_path / "classes.txt"))
    with pytest.raises(UserError, match="no class noun for the photos in"):
        check_reference(foreign, subject, sam())
    prompts = foreign.path.parent / PROMPTS
    prompts.write_text("00.png: {points: [[20, 20]]}")
    check_reference(foreign, subject, sam("dog"))
    prompts.unlink()
    (foreign.path.parent / NOUN_FILE).write_text("ball")
    check_reference(foreign, subject, sam("dog"))


def test_without_a_noun_nothing_is_asked(subject: Path, foreign: Photo) -> None:
    for segmenter in (SamSegmenter(), GrabCutSegmenter()):
        check_reference(foreign, subject, segmenter)
