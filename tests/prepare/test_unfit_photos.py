"""Photos of which nothing can be made: all are named, or left out where that is allowed."""

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from idgen.backbones.latents import Autoencoder
from idgen.cli import main
from idgen.errors import UserError
from idgen.masks import Mask
from idgen.prepare import MaskFiles, Photo, Preparation, lone_photo_note
from idgen.prepare.index import ALWAYS
from idgen.prepare.segmenters.segmenter import Segment
from tests.commands.test_prepare import options
from tests.prepare.parts import (
    CPU,
    CentreSegmenter,
    CountingInpainter,
    PoolingEncoder,
    TinyBackbone,
    contents,
    save_photo,
    save_photos,
)
from tests.prepare.pictures import one_line
from tests.workspace import Workspace

FILLS = "photo '01.png': the subject with its margin fills the whole picture"


class MarginSegmenter(CentreSegmenter):
    """Leaves one column of some photos, and of others nothing or all; a box in the rest."""

    def __init__(self, wide: Sequence[str] = (), empty: Sequence[str] = ()) -> None:
        super().__init__()
        self.wide, self.empty = wide, empty

    @contextmanager
    def loaded(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Segment]:
        self.beside = [photo.name for photo in photos]
        with super().loaded(device, photos) as box:

            def segment(photo: Photo) -> Mask:
                mask = box(photo)
                if photo.name in self.wide:
                    mask[:], mask[:, 0] = True, False
                if photo.name in self.empty:
                    mask[:] = False
                return mask

            yield segment


def preparation(
    skip_bad: bool = True, dilation: float = 0.06, wide: str = "01.png", empty: str = ""
) -> Preparation:
    segmenter = MarginSegmenter(wide.split(), empty.split())
    return Preparation(segmenter, CountingInpainter(dilation), PoolingEncoder(), skip_bad=skip_bad)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return save_photos(tmp_path / "photos", (0, 1, 2, 3))


def run(parts: Preparation, photos: Path, output: Path) -> tuple[list[str], list[str]]:
    """The photos that were prepared, and what was said meanwhile."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        subject = parts.run(photos, output, TinyBackbone(), CPU, False)
    said = [str(warning.message) for warning in caught]
    assert all("\n" not in line for line in said)
    return [photo.name for photo in subject.photos], said


def test_all_are_named_with_reason_and_mend(photos: Path, output: Path) -> None:
    parts = preparation(skip_bad=False, wide="01.png 03.png")
    with pytest.raises(UserError) as refused:
        run(parts, photos, output)
    text = one_line(refused.value)
    for name in ("01.png", "03.png"):
        assert text.count(f"photo '{name}': the subject with its margin fills") == 1
    assert "lower the inpainter's dilation" in text
    assert not (output / "index.json").exists()


def test_one_that_is_left_out_is_named_once(photos: Path, output: Path) -> None:
    names, said = run(preparation(), photos, output)
    assert names == ["00.png", "02.png", "03.png"]
    (line,) = said
    assert line.startswith(f"{photos}: left out '01.png': the subject with its margin")
    assert all(len(list((output / kind).iterdir())) == 3 for kind in ALWAYS)
    before = contents(output)
    again, backbone = preparation(), TinyBackbone()
    with pytest.warns(UserWarning, match="left out '01"):
        assert again.is_fresh(photos, output, backbone)
    assert run(again, photos, output) == (names, [])
    assert isinstance(again.segmenter, MarginSegmenter)
    assert again.segmenter.seen == []
    assert contents(output) == before


def test_what_is_known_is_refused_before_any_work(photos: Path, output: Path) -> None:
    run(preparation(), photos, output)
    save_photo(photos, "04.png", 4)
    before, strict = contents(output), preparation(skip_bad=False)
    with pytest.raises(UserError, match=FILLS):
        run(strict, photos, output)
    assert isinstance(strict.segmenter, MarginSegmenter)
    assert strict.segmenter.seen == []
    assert contents(output) == before


def test_an_interrupted_run_ends_as_an_undisturbed_one(
    photos: Path, output: Path, tmp_path: Path
) -> None:
    with pytest.raises(UserError):
        run(preparation(skip_bad=False), photos, output)
    assert len(list((output / "masks").iterdir())) == 4
    run(preparation(), photos, output)
    run(preparation(), photos, tmp_path / "fresh")
    assert contents(output) == contents(tmp_path / "fresh")


def test_with_another_setting_it_is_tried_again(photos: Path, output: Path, tmp_path: Path) -> None:
    run(preparation(), photos, output)
    assert run(preparation(dilation=0.0), photos, output) == (
        ["00.png", "01.png", "02.png", "03.png"],
        [],
    )
    run(preparation(dilation=0.0), photos, tmp_path / "fresh")
    assert contents(output) == contents(tmp_path / "fresh")


def test_a_mask_is_looked_for_again_beside_other_photos(photos: Path, output: Path) -> None:
    names, (line,) = run(preparation(wide="", empty="02.png"), photos, output)
    assert names == ["00.png", "01.png", "03.png"]
    assert "left out '02.png': the segmenter takes nothing for the subject" in line
    save_photo(photos, "04.png", 4)
    more = preparation(wide="", empty="")
    assert run(more, photos, output) == ([f"0{number}.png" for number in range(5)], [])
    assert isinstance(more.segmenter, MarginSegmenter)
    assert more.segmenter.seen == ["02.png", "04.png"]


def test_one_that_is_left_out_still_counts_for_the_others_masks(photos: Path, output: Path) -> None:
    run(preparation(), photos, output)
    save_photo(photos, "04.png", 4)
    more = preparation()
    assert run(more, photos, output)[0] == ["00.png", "02.png", "03.png", "04.png"]
    assert isinstance(more.segmenter, MarginSegmenter)
    assert more.segmenter.seen == ["04.png"]
    assert more.segmenter.beside == [f"0{number}.png" for number in range(5)]


def test_one_is_left(photos: Path, output: Path) -> None:
    names, lines = run(preparation(wide="00.png 01.png 03.png"), photos, output)
    assert names == ["02.png"]
    assert lines[-1] == lone_photo_note(photos)
    assert all(
        f"'0{number}.png': the subject" in line
        for number, line in zip((0, 1, 3), lines[:-1], strict=True)
    )


def test_none_is_left(photos: Path, output: Path) -> None:
    with pytest.raises(UserError) as refused:
        run(preparation(wide="00.png 01.png 02.png 03.png"), photos, output)
    text = one_line(refused.value)
    assert text.startswith(f"no photo in {photos} can be used; ")
    assert all(f"'0{number}.png': the subject" in text for number in range(4))


class Overflowing(TinyBackbone):
    """Its autoencoder gives no number for one photo, as half precision may."""

    @contextmanager
    def autoencoder(self, device: torch.device) -> Iterator[Autoencoder]:
        with super().autoencoder(device) as inner:
            encode = inner.encode

            def overflow(pixels: Tensor) -> tuple[Tensor, Tensor]:
                mean, log_variance = encode(pixels)
                ground = pixels[:, 0, 0, 0].mean()
                return mean / (ground - (70 / 127.5 - 1)).abs().gt(0.01), log_variance

            inner.encode = overflow  # type: ignore[method-assign]
            yield inner


def test_values_that_are_not_finite(photos: Path, output: Path) -> None:
    parts = preparation(wide="")
    with pytest.warns(UserWarning, match=r"left out '01\.png'.*not finite; set the backbone's"):
        subject = parts.run(photos, output, Overflowing(), CPU, False)
    assert [photo.name for photo in subject.photos] == ["00.png", "02.png", "03.png"]
    assert isinstance(parts.image_encoder, PoolingEncoder)
    assert parts.image_encoder.count == 12


def test_the_rest_of_the_subjects_goes_on(photos: Path, tmp_path: Path) -> None:
    other = save_photos(tmp_path / "other", (5, 6))
    pairs = [(photos, tmp_path / "out" / "a"), (other, tmp_path / "out" / "b")]
    strict = preparation(skip_bad=False).run_all(pairs, TinyBackbone(), CPU, False)
    assert [outcome.error is None for outcome in strict] == [False, True]
    with pytest.warns(UserWarning, match="left out '01"):
        allowed = preparation().run_all(pairs, TinyBackbone(), CPU, False)
    assert [(o.photos, o.made, o.error) for o in allowed] == [(3, 3, None), (2, 0, None)]


def test_training_goes_on_without_it(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    """Photos, masks and backgrounds that scores take are those of training."""
    wide = np.full((40, 48), 255, np.uint8)
    wide[:, 0] = 0
    Image.fromarray(wide).save(workspace.folder / "masks" / "1.png")
    assert workspace.fit() == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "photo '1.png': the subject with its margin fills the whole picture" in line
    with pytest.warns(UserWarning, match="left out '1"):
        assert workspace.fit("--data.preparation.skip_bad=true") == 0
    assert main(["test", f"--ckpt_path={workspace.last}"]) == 0


def test_the_command_says_it_once(workspace: Workspace, tmp_path: Path) -> None:
    photos = save_photos(tmp_path / "dog")
    arguments = ["prepare", str(photos), *options(workspace, tmp_path / "out"), "--skip-bad"]
    masks = tmp_path / "own"
    masks.mkdir()
    for name in ("00.png", "01.png", "02.png"):
        mask = np.zeros((40, 48), np.uint8)
        mask[:, slice(1, None) if name == "01.png" else slice(10, 30)] = 255
        Image.fromarray(mask).save(masks / name)
    by_hand = [
        f"--preparation.segmenter={MaskFiles.__module__}.MaskFiles",
        f"--preparation.segmenter.init_args.folder={masks}",
    ]
    with warnings.catch_warnings(record=True) as caught:
        assert main([*arguments, *by_hand]) == 0
    assert len([1 for warning in caught if "left out '01.png'" in str(warning.message)]) == 1
