import random
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from idgen.backbones import StableDiffusionBackbone
from idgen.data.composites import CompositeFolder, Composites, paste
from idgen.data.scene_images import SceneFolder, SceneImages
from idgen.errors import UserError
from idgen.masks import Mask, Picture
from idgen.prepare import Preparation, find_photos
from idgen.prepare.subject import stacked
from idgen.sampling import Sampler
from tests.prepare.parts import CentreSegmenter, CountingInpainter, PoolingEncoder, save_photos
from tests.tiny import save_pipeline

CPU = torch.device("cpu")
SIDE = 64
Made = Callable[..., CompositeFolder]


def photo(left: int = 20, top: int = 24) -> tuple[Picture, Mask]:
    """A red box of 16 x 24 pixels on blue, and its mask."""
    mask = np.zeros((SIDE, SIDE), np.bool_)
    mask[top : top + 24, left : left + 16] = True
    return np.where(mask[..., None], (200, 0, 0), (0, 0, 255)).astype(np.uint8), mask


GREEN = np.full((SIDE, SIDE, 3), (0, 120, 0), np.uint8)


def test_the_same_size_and_place_change_the_ground_alone() -> None:
    picture, mask = photo()
    made = paste(picture, mask, GREEN, random.Random(0), (1.0, 1.0), 0.0, 0.0, flip=False)
    assert np.array_equal(made.picture, np.where(mask[..., None], picture, GREEN))
    np.testing.assert_allclose(made.alpha, mask, atol=1e-6)


@pytest.mark.parametrize("seed", range(8))
def test_nothing_of_the_photos_ground_comes_along(seed: int) -> None:
    picture, mask = photo()
    made = paste(picture, mask, GREEN, random.Random(seed))
    assert made.picture[..., 2].max() == 0  # of the blue ground
    assert made.alpha.max() > 0.99
    assert (made.picture[made.alpha == 0] == (0, 120, 0)).all()
    red = made.alpha[..., None] * (200, 0, 0) + (1 - made.alpha[..., None]) * GREEN
    np.testing.assert_allclose(made.picture, red, atol=1)


@pytest.mark.parametrize("scale", [0.5, 0.75, 1.25])
def test_the_scale_is_of_the_subject(scale: float) -> None:
    picture, mask = photo()
    made = paste(picture, mask, GREEN, random.Random(0), (scale, scale), 0.1, 0.0)
    assert made.alpha.sum() == pytest.approx(scale**2 * mask.sum(), rel=0.02)


def test_the_edge_fades_inwards() -> None:
    picture, mask = photo()
    hard = paste(picture, mask, GREEN, random.Random(0), (1.0, 1.0), 0.0, 0.0, flip=False).alpha
    soft = paste(picture, mask, GREEN, random.Random(0), (1.0, 1.0), 0.0, 0.03, flip=False).alpha
    assert (soft <= hard + 1e-6).all()
    assert (soft[~mask] == 0).all()
    middle = soft[36, 20:36]  # from edge to edge
    assert 0 < middle[0] < middle[1] < middle[4]
    assert middle[8] == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("seed", range(8))
def test_the_whole_subject_stays_inside(seed: int) -> None:
    picture, mask = photo(left=1, top=2)
    made = paste(picture, mask, GREEN, random.Random(seed), (1.5, 4.0), 1.0, 0.0)
    size = min(4.0, SIDE / 24)
    assert mask.sum() * 1.5**2 * 0.97 <= made.alpha.sum() <= mask.sum() * size**2 * 1.03
    rows, columns = (np.flatnonzero((made.alpha > 0.5).any(axis=axis)) for axis in (1, 0))
    ratio = (rows[-1] + 1 - rows[0]) / (columns[-1] + 1 - columns[0])
    assert ratio == pytest.approx(1.5, rel=0.1)


def test_left_and_right_may_change_places() -> None:
    picture, mask = photo(left=4)
    seen = [
        paste(picture, mask, GREEN, random.Random(n), (1.0, 1.0), 0.0, 0.0).alpha for n in range(9)
    ]
    plain = [np.allclose(alpha, mask, atol=1e-5) for alpha in seen]
    mirrored = [np.allclose(alpha, mask[:, ::-1], atol=1e-5) for alpha in seen]
    assert any(plain)
    assert any(mirrored)
    assert all(p != m for p, m in zip(plain, mirrored, strict=True))


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> SceneFolder:
    """Four scene images, prepared; not to be changed."""
    root = tmp_path_factory.mktemp("composites")
    backbone = StableDiffusionBackbone(str(save_pipeline(root / "pipeline", side=32)))
    parts = Preparation(CentreSegmenter(), CountingInpainter(), PoolingEncoder(width=6))
    parts.run(save_photos(root / "photos"), root / "prepared" / "mine", backbone, CPU, False)
    settings = SceneImages(["a {class_noun} in snow"], per_prompt=4, sampler=Sampler(steps=2))
    scenes = settings.of("dog", backbone, root / "prepared" / "mine", parts)
    scenes.make(CPU, progress=False)
    return scenes


@pytest.fixture
def made(scenes: SceneFolder, tmp_path: Path) -> Made:
    """The folder of composites by their settings."""
    root = scenes.folder.parents[2]
    photos = {photo.digest: photo for photo in find_photos(root / "photos")}
    subject = scenes.preparation.open(list(photos.values()), root / "prepared" / "mine")

    def of(**settings: object) -> CompositeFolder:
        given = Composites(**{"count": 4, "folder": str(tmp_path)} | settings)  # type: ignore[arg-type]
        return given.of(subject, lambda digest: photos[digest].pixels(), scenes)

    return of


def files(folder: CompositeFolder) -> dict[str, bytes]:
    found = (path for path in folder.folder.iterdir() if path.name[0] != ".")
    return {path.name: path.read_bytes() for path in found}


def test_each_is_a_view_with_features_of_its_own(made: Made, scenes: SceneFolder) -> None:
    folder = made()
    assert not folder.is_complete()
    folder.make(CPU)
    assert folder.is_complete()
    views, prompts = folder.load()
    assert prompts == ["a dog in snow"] * 4
    pictures = [Image.open(path) for path in sorted(folder.folder.glob("*.png"))]
    pixels = torch.stack([torch.from_numpy(np.array(p)).permute(2, 0, 1) for p in pictures])
    encoder, backbone = PoolingEncoder(width=6), scenes.backbone
    with encoder.loaded(CPU) as encode:
        torch.testing.assert_close(views.photo_embedding, encode(pixels / 127.5 - 1))
        empty = torch.stack(
            [torch.from_numpy(b.picture).permute(2, 0, 1) for b in scenes.backgrounds()]
        )
        grounds = encode(empty / 127.5 - 1)
    for row in views.background_embedding:  # of its background, as it is without the subject
        assert (grounds - row).abs().amax(dim=1).min() < 1e-5
    with backbone.autoencoder(CPU) as autoencoder, torch.no_grad():
        mean, log_variance = autoencoder.encode(pixels / 127.5 - 1)
    torch.testing.assert_close(stacked(views.latent_mean), mean, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        stacked(views.latent_log_variance), log_variance, rtol=1e-4, atol=1e-4
    )
    assert stacked(views.subject_mask).shape == (4, 1, *backbone.latent_shape[1:])
    # All photos have their turn.
    assert len(set(views.photo_digests)) == 3


def test_masks_say_where_the_subject_is(made: Made, scenes: SceneFolder) -> None:
    folder = made(edge=0.0)
    folder.make(CPU)
    grounds = np.stack([b.picture for b in scenes.backgrounds()]).astype(int)
    for number, mask in enumerate(folder.load().views.subject_mask):
        picture = np.array(Image.open(folder.folder / f"{number:04d}.png")).astype(int)
        unlike = abs(picture - grounds).max(axis=3) > 0
        pasted = unlike[unlike.mean(axis=(1, 2)).argmin()].astype(np.float32)
        height, width = mask.shape[1:]
        share = cv2.resize(pasted, (width, height), interpolation=cv2.INTER_AREA)
        assert 0 < share.mean() < 0.6
        # A place that it takes in part may be of the ground's own colour, rounded.
        assert (share[mask[0].numpy() == 0] == 0).all()
        assert (mask[0].numpy() <= share + 0.1).all()


def test_what_is_there_is_kept_and_what_is_missing_is_the_same_again(made: Made) -> None:
    folder = made()
    folder.make(CPU)
    whole, kept = files(folder), folder.folder / "0000.png"
    time = kept.stat().st_mtime_ns
    (folder.folder / "0002.safetensors").unlink()
    assert not folder.is_complete()
    folder.make(CPU)
    assert files(folder) == whole
    assert kept.stat().st_mtime_ns == time
    more = made(count=5)
    assert more.folder == folder.folder
    more.make(CPU)
    assert len(more.load().prompts) == 5
    assert {name: files(more)[name] for name in whole} == whole


def test_what_makes_them_decides_their_folder(made: Made) -> None:
    changed: list[dict[str, object]] = [
        {},
        {"seed": 1},
        {"scale": (0.5, 0.6)},
        {"shift": 0.3},
        {"edge": 0.1},
    ]
    folders = [made(**settings).folder for settings in changed]
    assert len(set(folders)) == len(folders)
    assert made(share=0.1).folder == folders[0]


def test_a_damaged_file_is_named(made: Made) -> None:
    folder = made()
    folder.make(CPU)
    (folder.folder / "0001.safetensors").write_bytes(b"short")
    with pytest.raises(UserError, match=r"0001\.safetensors"):
        folder.load()


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"share": 0.0}, "share"),
        ({"share": 1.1}, "share"),
        ({"count": 0}, "count"),
        ({"scale": (1.0, 0.5)}, "scale"),
        ({"scale": (0.0, 0.5)}, "scale"),
        ({"shift": -0.1}, "shift"),
        ({"edge": 0.5}, "edge"),
    ],
)
def test_settings_out_of_range_are_refused(changed: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=rf"data\.composites: .*{named}"):
        Composites(**changed)  # type: ignore[arg-type]
