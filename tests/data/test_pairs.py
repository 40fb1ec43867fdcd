from collections import Counter
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from idgen.backbones import StableDiffusionBackbone
from idgen.data.cast import Cast
from idgen.data.pairs import PairFolder, PairMask, Pairs
from idgen.data.subject import Subject
from idgen.errors import UserError
from idgen.prepare import Photo, Preparation, find_photos
from idgen.prepare.subject import stacked
from tests.prepare.parts import CentreSegmenter, CountingInpainter, PoolingEncoder, save_photos
from tests.tiny import save_pipeline

CPU = torch.device("cpu")
CAST = Cast(
    Subject("one", "dog", token="sks", prepared="p1"),
    Subject("other", "photo", token="b", prepared="p2"),
)
Made = Callable[..., PairFolder]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The folder of pairs of two prepared subjects by its settings."""
    root = tmp_path_factory.mktemp("pairs")
    backbone = StableDiffusionBackbone(str(save_pipeline(root / "pipeline", side=32)))
    parts = Preparation(CentreSegmenter(), CountingInpainter(), PoolingEncoder(width=6))
    photos: dict[str, Photo] = {}
    prepared = []
    for name in ("one", "other"):
        folder = save_photos(root / name)
        if name == "other":
            for path in folder.glob("*.png"):  # other photos than the first's
                turned = np.ascontiguousarray(np.asarray(Image.open(path))[::-1])
                Image.fromarray(turned).save(path)
        parts.run(folder, root / "prepared" / name, backbone, CPU, False)
        found = find_photos(folder)
        photos |= {photo.digest: photo for photo in found}
        prepared.append(parts.open(found, root / "prepared" / name))

    def of(**settings: object) -> PairFolder:
        given = Pairs(**{"count": 8} | settings)  # type: ignore[arg-type]
        return PairFolder(given, prepared, lambda d: photos[d].pixels(), parts, backbone)

    return of


def test_each_is_a_view_with_features_of_its_own(made: Made) -> None:
    folder = made()
    folder.make(CPU)
    views = folder.load_views()
    pictures = [Image.open(path) for path in sorted(folder.folder.glob("*.png"))]
    pixels = torch.stack([torch.from_numpy(np.array(p)).permute(2, 0, 1) for p in pictures])
    with PoolingEncoder(width=6).loaded(CPU) as encode:
        torch.testing.assert_close(views.photo_embedding, encode(pixels / 127.5 - 1))
    mask = stacked(views.subject_mask)
    assert torch.equal(mask, torch.ones_like(mask))
    assert len(views.photo_digests) == 8


def test_the_union_is_of_two_that_stand_apart(made: Made) -> None:
    folder = made(edge=0.0)
    for number in range(8):
        pasted, empty = folder._paste(number)
        unlike = (pasted.picture != empty).any(axis=2)
        assert not unlike[pasted.alpha == 0].any()
        middle = pasted.alpha.shape[1] // 2
        left, right = pasted.alpha[:, :middle], pasted.alpha[:, middle:]
        assert min(left.sum(), right.sum()) > 0.02 * pasted.alpha.size
        # Each is whole: nothing of it touches the middle or the edges.
        for half in (left, right):
            assert not half[:, 0].any() or half[:, 0].max() < 1
            assert half[0].max() == half[-1].max() == 0
    folder.make(CPU)
    union = made(edge=0.0, mask=PairMask.union).load_views().subject_mask
    for number, mask in enumerate(union):
        alpha, (height, width) = folder._paste(number)[0].alpha, mask.shape[1:]
        share = cv2.resize(alpha, (width, height), interpolation=cv2.INTER_AREA)
        np.testing.assert_allclose(mask[0].numpy(), share, atol=1e-5)


def test_who_is_named_first_stands_on_the_left(made: Made) -> None:
    folder = made(count=24, edge=0.0)
    prompts = folder.prompts(CAST, captions=False)
    firsts: Counter[bool] = Counter()
    for number, prompt in enumerate(prompts):
        words = prompt.usual.spoken.split()
        first_on_left = words.index("sks") < words.index("b")
        chosen = folder._choice(number)
        empty = folder._background(*chosen.background)
        alone = folder._put(0, chosen, empty).alpha
        middle = alone.shape[1] // 2
        assert bool(alone[:, :middle].any()) is first_on_left
        assert bool(alone[:, middle:].any()) is not first_on_left
        firsts[first_on_left] += 1
        assert prompt.captioned == prompt.usual
        nouns = ("dog", "photo") if first_on_left else ("photo", "dog")
        assert prompt.usual.plain == f"a photo of a {nouns[0]} and a {nouns[1]}"
    assert min(firsts.values()) >= 6


def test_all_photos_have_their_turn_and_more_leave_the_first_as_they_are(made: Made) -> None:
    few, many = made(count=6), made(count=24)
    assert few.folder == many.folder
    chosen = [many._choice(number) for number in range(24)]
    assert len({c.photos[0].digest for c in chosen}) == 3
    assert len({c.photos[1].digest for c in chosen}) == 3
    assert {c.background[0] for c in chosen} == {0, 1}
    for number in range(6):
        assert np.array_equal(few._paste(number)[0].picture, many._paste(number)[0].picture)


def test_what_makes_them_decides_their_folder(made: Made) -> None:
    changed: list[dict[str, object]] = [{}, {"seed": 1}, {"size": (0.3, 0.31)}, {"edge": 0.1}]
    folders = [made(**settings).folder for settings in changed]
    assert len(set(folders)) == len(folders)
    for same in ({"share": 0.1}, {"mask": PairMask.union}, {"prompt": "[V1], [V2]"}):
        assert made(**same).folder == folders[0]


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"share": -0.1}, "share"),
        ({"share": 1.1}, "share"),
        ({"count": 0}, "count"),
        ({"size": (0.4, 0.3)}, "size"),
        ({"size": (0.4, 0.6)}, "size"),
        ({"edge": 0.5}, "edge"),
    ],
)
def test_settings_out_of_range_are_refused(changed: dict[str, object], named: str) -> None:
    with pytest.raises(ValueError, match=rf"data\.pairs: .*{named}"):
        Pairs(**changed)  # type: ignore[arg-type]


def test_the_prompt_names_both(tiny_pipeline: Path) -> None:
    backbone = StableDiffusionBackbone(str(tiny_pipeline))
    Pairs(prompt="[V1] {class_noun1} on [V2] {class_noun2}").check(CAST, backbone)
    for prompt, said in (
        ("a [V1] {class_noun1}", r"lacks \[V2\]"),
        ("a [V2]", r"lacks \[V1\]"),
        ("two", "names neither"),
    ):
        with pytest.raises(UserError, match=rf"pairs\.prompt.*{said}"):
            Pairs(prompt=prompt).check(CAST, backbone)
