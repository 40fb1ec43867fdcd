"""Every row of a batch has the mask, features, words and number of the very thing that it shows.

Photos with a text file, photos that a captioner named, composites, scene images and class images
stand in one batch; what each is paired with is looked up in the files on the disk.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor

from idgen.backbones import StableDiffusionBackbone
from idgen.data.batch import SubjectBatch
from idgen.data.captions import Captions
from idgen.data.class_images import ClassImages
from idgen.data.composites import Composites
from idgen.data.datamodule import SubjectDataModule
from idgen.data.scene_images import SceneImages
from idgen.data.subject import Subject
from idgen.prepare import Preparation
from idgen.prepare.index import FEATURES, PreparedPhoto
from idgen.prepare.photos import find_photos
from idgen.prepare.subject import PreparedSubject
from idgen.sampling import Sampler
from tests.prepare.parts import (
    CentreSegmenter,
    ColourCaptioner,
    CountingInpainter,
    PoolingEncoder,
    save_photos,
)
from tests.tiny import save_pipeline

USUAL = "a photo of a dog"
SCENES = {"snow": "a dog in snow", "beach": "a dog on the beach"}
BATCHES = range(12)


class Shown(NamedTuple):
    """What a row can show, read from the disk.

    Attributes:
        tensors: The file of its view.
        prompt: Its own, without the token.
        photo: The photo that it shows, by digest.
        composite: Whether it is one.
    """

    tensors: Mapping[str, Tensor]
    prompt: str
    photo: str
    composite: bool = False


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three photos, of which one has a text file, and a backbone."""
    root = tmp_path_factory.mktemp("pairing")
    save_pipeline(root / "pipeline", side=32)
    for path in sorted(save_photos(root / "photos").glob("*.png")):
        picture = np.array(Image.open(path))
        picture[14:20, 18:22] = 0  # no photo is its own mirror image
        Image.fromarray(picture).save(path)
    (root / "photos" / "01.txt").write_text("a dog on the sofa")
    return root


class OneOf(SubjectDataModule):
    """Of several processes, without a trainer."""

    place = (0, 1)

    def _process(self) -> tuple[int, int]:
        return self.place


def data(root: Path, other_background: float = 0.0, rank: int = 0, world: int = 1) -> OneOf:
    parts = Preparation(
        CentreSegmenter(), CountingInpainter(), PoolingEncoder(), captioner=ColourCaptioner("in")
    )
    sampler = Sampler(steps=2)
    found = OneOf(
        Subject(str(root / "photos"), "dog", prepared=str(root / "prepared" / "mine")),
        StableDiffusionBackbone(str(root / "pipeline")),
        parts,
        batch_size=6 // world,
        prior=ClassImages(count=4, sampler=sampler),
        captions=Captions(dropout=0.2),
        other_background=other_background,
        scenes=SceneImages(list(SCENES.values()), per_prompt=2, sampler=sampler),
        composites=Composites(share=0.4, count=5),
        seed=3,
    )
    found.place = (rank, world)
    found.prepare_data()
    found.setup("fit")
    return found


@pytest.fixture(scope="module")
def whole(root: Path) -> list[SubjectBatch]:
    """The batches of a process of its own."""
    stream = iter(data(root).train_dataloader())
    return [next(stream) for _ in BATCHES]


@pytest.fixture(scope="module")
def scene_views(root: Path, whole: list[SubjectBatch]) -> list[tuple[str, Mapping[str, Tensor]]]:
    """The scene images: what each was drawn for, and its plain view."""
    [folder] = (root / "prepared" / "scene_images").glob("*/prepared-*")
    return [
        (list(SCENES.values())[int(photo.name[:3])], view)
        for photo, view in _views(PreparedSubject(folder))
    ]


@pytest.fixture(scope="module")
def on_disk(root: Path, scene_views: list[tuple[str, Mapping[str, Tensor]]]) -> list[Shown]:
    """All that rows can show."""
    subject, shown = PreparedSubject(root / "prepared" / "mine"), []
    for photo, view in _views(subject):
        named = "a dog on the sofa", f"{USUAL} {subject.caption(photo)}"
        shown.append(Shown(view, named[photo.name != "01.png"], photo.digest))
    for path in sorted((root / "prepared" / "composites").rglob("*.safetensors")):
        tensors = load_file(path)
        ground = tensors["background_embedding"]
        [scene] = {
            scene
            for scene, view in scene_views
            if torch.allclose(view["background_embedding"], ground, atol=1e-5)
        }
        shown.append(Shown(tensors, scene, _pasted(path, root), composite=True))
    assert len(shown) == 3 * len(subject.views) + 5
    return shown


def _views(subject: PreparedSubject) -> Iterator[tuple[PreparedPhoto, Mapping[str, Tensor]]]:
    for photo in subject.photos:
        files = (load_file(subject.path(photo, kind)) for kind in FEATURES)
        tensors = {name: tensor for file in files for name, tensor in file.items()}
        for view in range(len(subject.views)):
            yield photo, {name: tensor[view] for name, tensor in tensors.items()}


def _pasted(path: Path, root: Path) -> str:
    """The photo whose subject stands in a composite, by digest: its rim has the photo's ground."""
    picture = np.array(Image.open(path.with_suffix(".png"))).astype(int)
    near = {
        photo.digest: (np.abs(picture - photo.pixels()[0, 0]).max(axis=2) < 4).sum()
        for photo in find_photos(root / "photos")
    }
    first, second = sorted(near, key=lambda digest: -near[digest])[:2]
    assert near[first] > 3 * near[second]
    return first


def _only(found: list[Shown]) -> Shown:
    assert len(found) == 1
    return found[0]


def _rows(batch: SubjectBatch) -> Iterator[tuple[int, Mapping[str, Tensor]]]:
    for row in range(len(batch.prompts)):
        yield (
            row,
            {
                "latent_mean": batch.latent_mean[row],
                "latent_log_variance": batch.latent_log_variance[row],
                "subject_mask": batch.subject_mask[row],
                "photo_embedding": batch.features.photo[row],
                "background_embedding": batch.features.background[row],
            },
        )


def test_rows_have_the_mask_features_words_and_number_of_what_they_show(
    whole: list[SubjectBatch], on_disk: list[Shown]
) -> None:
    order = sorted({shown.photo for shown in on_disk})
    said, kinds = Counter[bool](), Counter[bool]()
    for batch in whole:
        for row, tensors in _rows(batch):
            shown = _only([s for s in on_disk if _same(s.tensors, tensors, "latent_mean")])
            for name in tensors:
                assert _same(shown.tensors, tensors, name)
            assert batch.class_prompts[row] in (shown.prompt, USUAL)
            assert batch.prompts[row] == batch.class_prompts[row].replace("a dog", "a sks dog", 1)
            said[batch.class_prompts[row] == shown.prompt] += 1
            kinds[shown.composite] += 1
            assert batch.photos is not None
            assert order[int(batch.photos.numbers[row])] == shown.photo
            assert batch.photos.total == 3
    # Dropout is 0.2 and the share of composites 0.4, of 72 rows.
    assert 3 < said[False] < 27
    assert 15 < kinds[True] < 43


def test_scene_and_class_images_have_their_own(
    whole: list[SubjectBatch], scene_views: list[tuple[str, Mapping[str, Tensor]]], root: Path
) -> None:
    drawn = [load_file(path) for path in (root / "prepared/class_images").rglob("*.safetensors")]
    for batch in whole:
        scenes, prior = batch.scenes, batch.prior
        assert scenes is not None
        assert prior is not None
        assert set(scenes.prompts) == set(prior.prompts) == {USUAL}
        for row in range(len(scenes.prompts)):
            found = {
                "latent_mean": scenes.latent_mean[row],
                "latent_log_variance": scenes.latent_log_variance[row],
                "subject_mask": scenes.subject_mask[row],
                "photo_embedding": scenes.features.photo[row],
                "background_embedding": scenes.features.background[row],
            }
            [view] = [v for _, v in scene_views if _same(v, found, "latent_mean")]
            assert all(_same(view, found, name) for name in found)
        for mean, log_variance in zip(prior.latent_mean, prior.latent_log_variance, strict=True):
            [of] = [d for d in drawn if torch.equal(d["latent_mean"], mean)]
            assert torch.equal(of["latent_log_variance"], log_variance)


def test_another_photos_background_leaves_all_else_with_the_row(
    root: Path, whole: list[SubjectBatch], on_disk: list[Shown]
) -> None:
    stream, told = iter(data(root, other_background=0.5).train_dataloader()), Counter[bool]()
    for expected in whole:
        batch = next(stream)
        assert torch.equal(batch.latent_mean, expected.latent_mean)
        assert torch.equal(batch.subject_mask, expected.subject_mask)
        assert batch.prompts == expected.prompts
        for _, tensors in _rows(batch):
            shown = _only([s for s in on_disk if _same(s.tensors, tensors, "latent_mean")])
            own = _same(shown.tensors, tensors, "photo_embedding")
            told[own] += not shown.composite
            assert own == _same(shown.tensors, tensors, "background_embedding")
            if not own:
                named = ("photo_embedding", "background_embedding")
                other = [s for s in on_disk if all(_same(s.tensors, tensors, n) for n in named)]
                assert {s.photo for s in other} - {shown.photo}
                assert not any(s.composite for s in other)
    assert told[False] > 8
    assert told[True] > 8


def test_processes_share_one_batch_and_a_resumed_run_goes_on(
    root: Path, whole: list[SubjectBatch]
) -> None:
    two = [data(root, rank=rank, world=2).train_dataloader() for rank in range(2)]
    for loader in two:
        loader.load_state_dict({"position": 4})  # type: ignore[attr-defined]
    streams = [iter(loader) for loader in two]
    for expected in whole[4:9]:
        halves = [next(stream) for stream in streams]
        assert {half.position for half in halves} == {expected.position}
        assert sum((half.prompts for half in halves), ()) == expected.prompts
        whole_rows = [tensors for _, tensors in _rows(expected)]
        rows = [tensors for half in halves for _, tensors in _rows(half)]
        for one, other in zip(rows, whole_rows, strict=True):
            assert all(_same(one, other, name) for name in one)
        of_scenes = [half.scenes for half in halves if half.scenes is not None]
        assert expected.scenes is not None
        means = torch.cat([scenes.latent_mean for scenes in of_scenes])
        assert torch.equal(means, expected.scenes.latent_mean)


def _same(one: Mapping[str, Tensor], other: Mapping[str, Tensor], name: str) -> bool:
    return torch.equal(one[name], other[name])
