"""What is made, what is kept, what is refused."""

import os
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from idgen.errors import UserError
from idgen.fingerprint import file_digest
from idgen.prepare.index import KINDS
from idgen.prepare.photos import Photo, find_photos, read_photo
from idgen.prepare.preparation import Preparation
from idgen.prepare.segmenters.mask_files import MaskFiles
from idgen.prepare.segmenters.segmenter import Segment
from idgen.prepare.store import is_whole_png
from idgen.prepare.subject import PreparedSubject, pick, stacked
from tests.prepare.parts import (
    CPU,
    CentreSegmenter,
    CountingInpainter,
    PoolingEncoder,
    TinyBackbone,
    contents,
    preparation,
    save_masks,
    save_photo,
    save_photos,
)


def made(before: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    """Kinds of files that differ."""
    changed = {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)}
    return {name.split("/")[0] for name in changed}


def test_layout_and_views(photos: Path, output: Path) -> None:
    subject = preparation().run(photos, output, TinyBackbone(), CPU, progress=False)
    for kind in KINDS:
        files = {subject.path(photo, kind): photo.files[kind].key for photo in subject.photos}
        assert files.keys() == set((output / kind).iterdir())
        assert all(
            key.startswith(path.stem) and len(path.stem) == 20 for path, key in files.items()
        )
    views = subject.load_views()
    mean, log_variance = stacked(views.latent_mean), stacked(views.latent_log_variance)
    assert mean.shape == log_variance.shape == (6, 4, 8, 8)
    assert views.photo_embedding.shape == views.background_embedding.shape == (6, 6)
    assert mean.dtype == views.photo_embedding.dtype == torch.float32
    digests = [file_digest(path) for path in sorted(photos.iterdir())]
    assert views.photo_digests == [digest for digest in digests for _ in range(2)]


def test_names_that_are_no_utf_8(tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"h\xfcnd")
    photos = save_photos(folder / "photos", (0, 1))
    os.rename(photos / "00.png", photos / os.fsdecode(b"\xfc.png"))
    subject = preparation().run(photos, folder / "out", TinyBackbone(), CPU, progress=False)
    assert len(subject.load_views().photo_digests) == 4
    assert preparation().is_fresh(photos, folder / "out", TinyBackbone())


def test_second_view_is_the_mirror_image(photos: Path, output: Path) -> None:
    views = preparation().run(photos, output, TinyBackbone(), CPU, False).load_views()
    left, right = (
        views.background_embedding[:, 0::2],
        views.background_embedding[:, 1::2],
    )
    torch.testing.assert_close(left[0::2], right[1::2])


def test_background_holds_no_subject(photos: Path, output: Path) -> None:
    subject = preparation().run(photos, output, TinyBackbone(), CPU, False)
    for photo in subject.photos:
        assert (subject.background(photo) < 250).all()
        assert subject.mask(photo)[20, 24]


def test_subject_masks_lie_on_the_subject_in_every_view(photos: Path, output: Path) -> None:
    subject = preparation().run(photos, output, TinyBackbone(), CPU, False)
    masks = stacked(subject.load_views().subject_mask)
    assert masks.shape == (6, 1, 8, 8)
    plain, mirrored = masks[0::2], masks[1::2]
    for photo, shares in zip(subject.photos, plain, strict=True):
        square = torch.from_numpy(subject.mask(photo)[:, 4:44]).float()
        torch.testing.assert_close(shares[0], square.view(8, 5, 8, 5).mean(dim=(1, 3)))
    assert torch.equal(mirrored, plain.flip(-1))


def test_two_runs_give_the_same_bytes(photos: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        preparation().run(photos, tmp_path / name, TinyBackbone(), CPU, False)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_nothing_is_loaded_when_fresh(photos: Path, output: Path) -> None:
    preparation().run(photos, output, TinyBackbone(), CPU, False)
    before, times = (
        contents(output),
        {p: p.stat().st_mtime_ns for p in output.rglob("*.*")},
    )
    again, backbone = preparation(), TinyBackbone()
    assert again.is_fresh(photos, output, backbone)
    again.run(photos, output, backbone, CPU, False)
    assert isinstance(again.segmenter, CentreSegmenter)
    assert isinstance(again.image_encoder, PoolingEncoder)
    assert (again.segmenter.seen, again.image_encoder.count, backbone.loads) == (
        [],
        0,
        0,
    )
    assert contents(output) == before
    assert times == {p: p.stat().st_mtime_ns for p in output.rglob("*.*")}


@pytest.mark.parametrize(
    ("changed", "backbone", "kinds", "masks", "backgrounds", "latents", "embeddings"),
    [
        (preparation(share=0.5), TinyBackbone(), set(KINDS), 3, 3, 6, 12),
        (
            preparation(dilation=0.2),
            TinyBackbone(),
            {"backgrounds", "captions", "embeddings"},
            *(0, 3, 0, 12),
        ),
        (preparation(word="by"), TinyBackbone(), {"captions"}, 0, 0, 0, 0),
        (preparation(word=None), TinyBackbone(), {"captions"}, 0, 0, 0, 0),
        (preparation(weight=2.0), TinyBackbone(), {"embeddings"}, 0, 0, 0, 12),
        (preparation(), TinyBackbone(seed=1), {"latents"}, 0, 0, 6, 0),
        (preparation(), TinyBackbone(resolution=24), {"latents", "embeddings"}, 0, 0, 6, 12),
        (preparation(), TinyBackbone(dtype=torch.bfloat16), {"embeddings"}, 0, 0, 0, 12),
    ],
    ids=[
        *("segmenter", "inpainter", "captioner", "no captioner"),
        *("encoder", "autoencoder", "resolution", "precision"),
    ],
)
def test_a_change_makes_anew_what_depends_on_it(
    changed: Preparation,
    backbone: TinyBackbone,
    kinds: set[str],
    masks: int,
    backgrounds: int,
    latents: int,
    embeddings: int,
    photos: Path,
    tmp_path: Path,
) -> None:
    output = tmp_path / "out"
    preparation().run(photos, output, TinyBackbone(), CPU, False)
    before = contents(output)
    assert not changed.is_fresh(photos, output, backbone)
    changed.run(photos, output, backbone, CPU, False)
    assert made(before, contents(output)) & set(KINDS) == kinds
    assert isinstance(changed.segmenter, CentreSegmenter)
    assert isinstance(changed.inpainter, CountingInpainter)
    assert isinstance(changed.image_encoder, PoolingEncoder)
    assert len(changed.segmenter.seen) == masks
    assert changed.inpainter.count == backgrounds
    assert backbone.encoded == latents
    assert changed.image_encoder.count == embeddings
    changed.run(photos, tmp_path / "fresh", backbone, CPU, False)
    assert contents(output) == contents(tmp_path / "fresh")


def test_one_more_photo_is_computed_alone(photos: Path, output: Path) -> None:
    preparation(views=3).run(photos, output, TinyBackbone(), CPU, False)
    save_photo(photos, "03.png", 3)
    more, backbone = preparation(views=3), TinyBackbone()
    assert more.plan(photos, output, backbone)[:1] == ["mask of '03.png'"]
    more.run(photos, output, backbone, CPU, False)
    assert isinstance(more.segmenter, CentreSegmenter)
    assert isinstance(more.inpainter, CountingInpainter)
    assert isinstance(more.image_encoder, PoolingEncoder)
    assert more.segmenter.seen == ["03.png"]
    assert more.inpainter.count == 1
    assert backbone.encoded == 5
    assert more.image_encoder.count == 10


def test_augmented_views_follow_the_plain_ones(photos: Path, output: Path, tmp_path: Path) -> None:
    plain = preparation().run(photos, output, TinyBackbone(), CPU, False).load_views()
    more, backbone = preparation(views=6), TinyBackbone()
    subject = more.run(photos, output, backbone, CPU, False)
    views = subject.load_views()
    assert subject.views == ["plain", "flip", *(f"augmented {n}" for n in range(1, 7))]
    assert stacked(views.latent_mean).shape == (24, 4, 8, 8)
    assert backbone.encoded == 24
    rows = [8 * photo + view for photo in range(3) for view in range(2)]
    assert torch.equal(pick(views.latent_mean, rows), stacked(plain.latent_mean))
    assert torch.equal(views.background_embedding[rows], plain.background_embedding)
    for photo in range(3):
        own = stacked(views.latent_mean)[8 * photo : 8 * photo + 8]
        # Two may coincide in so small and plain a picture.
        assert len({tensor.numpy().tobytes() for tensor in own}) >= 6
    preparation(views=6).run(photos, tmp_path / "fresh", TinyBackbone(), CPU, False)
    assert contents(output) == contents(tmp_path / "fresh")


def test_fewer_views_equal_those_of_a_fresh_run(photos: Path, output: Path, tmp_path: Path) -> None:
    for number in (6, 3, 0):
        preparation(views=number).run(photos, output, TinyBackbone(), CPU, False)
    preparation().run(photos, tmp_path / "fresh", TinyBackbone(), CPU, False)
    assert contents(output) == contents(tmp_path / "fresh")


def test_a_number_of_views_below_zero() -> None:
    with pytest.raises(UserError, match=r"preparation\.views"):
        preparation(views=-1)


def test_turning_flips_off_makes_the_views_of_its_batch_anew(
    photos: Path, output: Path, tmp_path: Path
) -> None:
    preparation(views=2).run(photos, output, TinyBackbone(), CPU, False)
    plain, backbone = preparation(), TinyBackbone()
    plain.flip = False
    views = plain.run(photos, output, backbone, CPU, False).load_views()
    assert len(views.latent_mean) == 3
    assert isinstance(plain.image_encoder, PoolingEncoder)
    assert (backbone.encoded, plain.image_encoder.count) == (3, 6)
    plain.run(photos, tmp_path / "fresh", TinyBackbone(), CPU, False)
    assert contents(output) == contents(tmp_path / "fresh")


def test_views_of_a_photo_are_encoded_together(photos: Path, output: Path) -> None:
    parts, backbone = preparation(views=6), TinyBackbone()
    parts.run(photos, output, backbone, CPU, False)
    assert isinstance(parts.image_encoder, PoolingEncoder)
    assert backbone.batches == [2, 4, 2] * 3
    assert parts.image_encoder.batches == [2, 4, 2] * 6


def test_photos_are_not_touched(photos: Path, output: Path) -> None:
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in photos.iterdir()}
    preparation().run(photos, output, TinyBackbone(), CPU, False)
    after = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in photos.iterdir()}
    assert before == after


def test_mask_files_count_by_content(photos: Path, output: Path, tmp_path: Path) -> None:
    subject = preparation().run(photos, output, TinyBackbone(), CPU, False)
    own = save_masks(subject, tmp_path / "own")
    by_hand = Preparation(MaskFiles(own), CountingInpainter(), PoolingEncoder())
    by_hand.run(photos, tmp_path / "two", TinyBackbone(), CPU, False)
    mask = subject.mask(subject.photos[0])
    mask[:10] = True
    Image.fromarray(mask).save(own / "00.png")
    plan = by_hand.plan(photos, tmp_path / "two", TinyBackbone())
    assert plan == [
        "mask of '00.png'",
        "background of '00.png'",
        "latents of '00.png'",
        "embeddings of '00.png'",
        "index.json",
        "contact_sheet.html",
    ]


def test_open_wants_exactly_these_photos(photos: Path, output: Path) -> None:
    parts = preparation()
    parts.run(photos, output, TinyBackbone(), CPU, False)
    found = find_photos(photos)
    assert len(parts.open(found, output).photos) == 3
    with pytest.raises(UserError, match=r"other photos: '02.png'"):
        parts.open(found[:2], output)
    extra = read_photo(save_photo(photos, "09.png", 9))
    with pytest.raises(UserError, match=r"lacks '09.png'"):
        parts.open([*found, extra], output)


def test_reference_equals_the_prepared_features(photos: Path, output: Path) -> None:
    parts = preparation()
    views = parts.run(photos, output, TinyBackbone(), CPU, False).load_views()
    f_p, f_i = parts.reference(find_photos(photos)[1], TinyBackbone(), CPU)
    assert f_p.shape == f_i.shape == (1, 6)
    torch.testing.assert_close(f_p[0], views.photo_embedding[2])
    torch.testing.assert_close(f_i[0], views.background_embedding[2])


class FindsNothing(CentreSegmenter):
    @contextmanager
    def loaded(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Segment]:
        yield lambda photo: np.zeros(photo.size(), dtype=bool)


def test_a_reference_without_a_subject_is_all_background(photos: Path) -> None:
    parts = preparation()
    parts.segmenter = FindsNothing()
    f_p, f_i = parts.reference(find_photos(photos)[1], TinyBackbone(), CPU)
    assert torch.equal(f_p, f_i)


def test_an_unprepared_folder_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="run idgen prepare"):
        PreparedSubject(tmp_path)


def test_large_photos_and_masks_are_read_without_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = save_photos(tmp_path / "dog")
    prepared = preparation().run(photos, tmp_path / "out", TinyBackbone(), CPU, False)
    height, width = find_photos(photos)[0].size()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", height * width * 2 // 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        MaskFiles(save_masks(prepared, tmp_path / "own")).check(find_photos(photos))
        assert prepared.mask(prepared.photos[0]).shape == (height, width)
        assert is_whole_png(prepared.path(prepared.photos[0], "backgrounds"))
