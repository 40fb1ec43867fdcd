from pathlib import Path

import pytest
import torch

from idgen.backbones import StableDiffusionBackbone
from idgen.data.scene_images import SceneFolder, SceneImages, SceneRows, usual_scenes
from idgen.data.stream import EndlessOrder
from idgen.errors import UserError
from idgen.mini.wishes import asked_for
from idgen.prepare import AutoSegmenter, GrabCutSegmenter, MaskFiles, Preparation, SamSegmenter
from idgen.prepare.segmenters.own_masks import without_own
from idgen.prepare.subject import stacked
from idgen.sampling import Sampler
from tests.prepare.parts import CentreSegmenter, CountingInpainter, PoolingEncoder
from tests.tiny import save_pipeline

CPU = torch.device("cpu")
PROMPTS = ["a {class_noun} on the beach", "a {class_noun} in snow"]


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its pictures are as large as photos have to be."""
    return save_pipeline(tmp_path_factory.mktemp("scenes") / "pipeline", side=32)


def preparation() -> Preparation:
    inpainter, encoder = CountingInpainter(), PoolingEncoder(width=6)
    return Preparation(CentreSegmenter(), inpainter, encoder, views=3)


def settings(**changed: object) -> SceneImages:
    values = {"prompts": PROMPTS, "per_prompt": 2, "batch_size": 3, "sampler": Sampler(steps=2)}
    return SceneImages(**values | changed)  # type: ignore[arg-type]


def folder(pipeline: Path, parent: Path, parts: Preparation, **changed: object) -> SceneFolder:
    backbone = StableDiffusionBackbone(str(pipeline))
    return settings(**changed).of("dog", backbone, parent / "prepared" / "mine", parts)


def files(of: SceneFolder) -> dict[str, bytes]:
    found = (path for path in of.folder.rglob("*") if path.is_file() and path.name[0] != ".")
    return {str(path.relative_to(of.folder)): path.read_bytes() for path in found}


def test_pictures_are_drawn_prepared_and_kept(pipeline: Path, tmp_path: Path) -> None:
    parts = preparation()
    scenes = folder(pipeline, tmp_path, parts)
    assert scenes.folder.parent == tmp_path / "prepared" / "scene_images"
    assert scenes.prompt == "a photo of a dog"
    assert not scenes.is_ready()
    scenes.make(CPU, progress=False)
    assert scenes.is_ready()
    assert len(list(scenes.pictures.glob("*.png"))) == 4
    # The plain view and its mirror image; the photos' augmented views are not made of them.
    views = scenes.load()
    assert stacked(views.latent_mean).shape == (8, *scenes.backbone.latent_shape)
    assert views.background_embedding.shape == (8, 6)
    assert not torch.equal(views.background_embedding, views.photo_embedding)
    backgrounds = scenes.backgrounds()
    assert [b.prompt for b in backgrounds] == ["a dog on the beach"] * 2 + ["a dog in snow"] * 2
    assert len({b.key for b in backgrounds}) == 4
    whole, encoder = files(scenes), parts.image_encoder
    assert isinstance(encoder, PoolingEncoder)
    encoded = encoder.count
    # As if killed meanwhile: the missing picture is drawn again, the same, and nothing else made.
    (scenes.pictures / "001-0001.png").unlink()
    again = folder(pipeline, tmp_path, parts)
    assert not again.is_ready()
    again.make(CPU, progress=False)
    assert files(again) == whole
    assert encoder.count == encoded


def test_a_batch_brings_features_and_a_prompt_without_a_scene(
    pipeline: Path, tmp_path: Path
) -> None:
    scenes = folder(pipeline, tmp_path, preparation())
    scenes.make(CPU, progress=False)
    views, order = scenes.load(), EndlessOrder(8, 3, seed=0)
    batch = SceneRows(views, scenes.prompt, order).batch(5)
    chosen = order.indices(5)
    assert torch.equal(batch.latent_mean, stacked(views.latent_mean)[chosen])
    assert torch.equal(batch.subject_mask, stacked(views.subject_mask)[chosen])
    assert torch.equal(batch.features.background, views.background_embedding[chosen])
    assert torch.equal(batch.features.photo, views.photo_embedding[chosen])
    assert batch.prompts == ("a photo of a dog",) * 3


def test_what_makes_them_decides_their_folder(pipeline: Path, tmp_path: Path) -> None:
    parts = preparation()
    folders = [
        folder(pipeline, tmp_path, parts).folder,
        folder(pipeline, tmp_path, parts, prompts=PROMPTS[:1]).folder,
        folder(pipeline, tmp_path, parts, per_prompt=3).folder,
        folder(pipeline, tmp_path, parts, seed=1).folder,
        folder(pipeline, tmp_path, parts, sampler=Sampler(steps=3)).folder,
    ]
    assert len(set(folders)) == len(folders)
    # Other masks leave the pictures and what was prepared of them before.
    other = folder(pipeline, tmp_path, parts, segmenter=GrabCutSegmenter())
    assert other.folder == folders[0]
    assert other.prepared != folder(pipeline, tmp_path, parts).prepared


def test_masks_of_photos_are_no_masks_of_drawings(pipeline: Path, tmp_path: Path) -> None:
    backbone = StableDiffusionBackbone(str(pipeline))

    def segmenter(**given: object) -> object:
        photos = MaskFiles(tmp_path, **given)  # type: ignore[arg-type]
        parts = folder(pipeline, tmp_path, Preparation(photos)).preparation
        return without_own(parts.segmenter_for(backbone))

    assert isinstance(segmenter(others=SamSegmenter()), SamSegmenter)
    assert isinstance(segmenter(), AutoSegmenter)


@pytest.mark.parametrize("prompt", ["a [V] dog", "a sks dog in the snow", " "])
def test_a_prompt_that_names_the_subject_or_nothing_is_refused(
    pipeline: Path, tmp_path: Path, prompt: str
) -> None:
    folder(pipeline, tmp_path, preparation()).check("sks")
    with pytest.raises(UserError, match=r"data\.scenes\.prompts"):
        folder(pipeline, tmp_path, preparation(), prompts=[prompt]).check("sks")
    with pytest.raises(UserError, match=r"data\.scenes\.prompt "):
        folder(pipeline, tmp_path, preparation(), prompt=prompt).check("sks")
    with pytest.raises(UserError, match=r"data\.scenes\.sampler"):
        folder(pipeline, tmp_path, preparation(), sampler=Sampler(steps=5000)).check("sks")


def test_pictures_too_small_to_be_prepared_are_refused_before_they_are_drawn(
    backbone: StableDiffusionBackbone, tmp_path: Path
) -> None:
    scenes = settings().of("dog", backbone, tmp_path / "mine", preparation())
    with pytest.raises(UserError, match=r"data\.scenes: .* 16 pixels"):
        scenes.check("sks")


@pytest.mark.parametrize("changed", [{"per_prompt": 0}, {"batch_size": 0}, {"prompts": []}])
def test_too_few_are_refused(changed: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changed))):
        settings(**changed)


def test_by_default_each_scene_of_the_mini_world_has_a_prompt() -> None:
    scenes = [
        asked_for(prompt.format(class_noun="robot"), "robot").scene for prompt in usual_scenes()
    ]
    assert len(set(scenes)) == 12
    assert None not in scenes
