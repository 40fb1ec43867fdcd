from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from idgen.backbones import StableDiffusionBackbone
from idgen.backbones.text import SubjectWords
from idgen.data.class_images import ClassImages
from idgen.data.shard import drawing_requests
from idgen.errors import UserError
from idgen.models.tuning import LoraTuning
from idgen.sampling import Drawings, Sampler, drawing_noise

CPU = torch.device("cpu")


def settings(**changed: object) -> ClassImages:
    values = {"count": 3, "batch_size": 2, "sampler": Sampler(steps=2)}
    return ClassImages(**values | changed)  # type: ignore[arg-type]


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.name[0] != "."}


def test_a_picture_and_its_latents_each(backbone: StableDiffusionBackbone, tmp_path: Path) -> None:
    images = settings().of("dog", backbone, tmp_path / "prepared" / "mine")
    assert images.folder.parent == tmp_path / "prepared" / "class_images"
    assert images.prompt == "a photo of a dog"
    assert not images.is_complete()
    images.draw(CPU, progress=False)
    assert images.is_complete()
    pictures = sorted(images.folder.glob("*.png"))
    assert len(pictures) == 3
    latents = images.load()
    assert latents.latent_mean.shape == (3, *backbone.latent_shape)
    pixels = [torch.from_numpy(np.array(Image.open(path))).permute(2, 0, 1) for path in pictures]
    with backbone.autoencoder(CPU) as autoencoder, torch.no_grad():
        mean, log_variance = autoencoder.encode(torch.stack(pixels).float() / 127.5 - 1)
    torch.testing.assert_close(latents.latent_mean, mean, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(latents.latent_log_variance, log_variance, rtol=1e-4, atol=1e-5)


def test_they_may_have_another_size(backbone: StableDiffusionBackbone, tmp_path: Path) -> None:
    wide = settings(sampler=Sampler(steps=1, size=(24, 16))).of("dog", backbone, tmp_path / "x")
    wide.draw(CPU, progress=False)
    assert wide.load().latent_mean.shape == (3, 4, 8, 12)


def test_the_frozen_backbone_draws_whatever_was_tuned_in_it(
    backbone: StableDiffusionBackbone, tmp_path: Path
) -> None:
    frozen = settings().of("dog", backbone, tmp_path / "a" / "x")
    frozen.draw(CPU, progress=False)
    backbone.attach(LoraTuning(), SubjectWords("sks", "dog"))
    for parameter in backbone.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter)
    tuned = settings().of("dog", backbone, tmp_path / "b" / "x")
    tuned.draw(CPU, progress=False)
    assert files(frozen.folder) == files(tuned.folder)


def test_what_is_there_is_kept_and_what_is_missing_is_the_same_again(
    backbone: StableDiffusionBackbone, tmp_path: Path
) -> None:
    images = settings().of("dog", backbone, tmp_path / "x")
    images.draw(CPU, progress=False)
    whole = files(images.folder)
    times = {path.name: path.stat().st_mtime_ns for path in images.folder.iterdir()}
    # As if killed while it drew the second batch.
    (images.folder / "0002.safetensors").unlink()
    images.draw(CPU, progress=False)
    assert files(images.folder) == whole
    assert (images.folder / "0000.png").stat().st_mtime_ns == times["0000.png"]
    more = settings(count=5).of("dog", backbone, tmp_path / "x")
    assert more.folder == images.folder
    more.draw(CPU, progress=False)
    assert len(more.load().latent_mean) == 5
    assert whole["0001.png"] == files(more.folder)["0001.png"]


def test_what_makes_them_decides_their_folder(
    backbone: StableDiffusionBackbone, tiny_v_pipeline: Path, tmp_path: Path
) -> None:
    other = StableDiffusionBackbone(str(tiny_v_pipeline))
    folders = [
        settings().of("dog", backbone, tmp_path).folder,
        settings().of("cat", backbone, tmp_path).folder,
        settings().of("dog", other, tmp_path).folder,
        settings(seed=1).of("dog", backbone, tmp_path).folder,
        settings(prompt="a {class_noun}").of("dog", backbone, tmp_path).folder,
        settings(sampler=Sampler(steps=3)).of("dog", backbone, tmp_path).folder,
        settings(folder=str(tmp_path / "own")).of("dog", backbone, tmp_path).folder,
    ]
    assert len(set(folders)) == len(folders)
    assert folders[-1].name == folders[0].name


def test_a_damaged_file_is_named(backbone: StableDiffusionBackbone, tmp_path: Path) -> None:
    images = settings().of("dog", backbone, tmp_path / "x")
    images.draw(CPU, progress=False)
    (images.folder / "0001.safetensors").write_bytes(b"short")
    with pytest.raises(UserError, match=r"0001\.safetensors"):
        images.load()


def test_no_class_image_starts_from_a_scored_drawings_noise(
    backbone: StableDiffusionBackbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn = []
    draw = Sampler.draw

    def spied(self: Sampler, *arguments: Any) -> Drawings:
        drawn.extend(arguments[2])
        return draw(self, *arguments)

    monkeypatch.setattr(Sampler, "draw", spied)
    settings().of("dog", backbone, tmp_path / "x").draw(CPU, progress=False)
    scored = drawing_requests([("a photo of a sks dog", "a photo of a dog")], 3, 0)
    shape = backbone.latent_shape
    assert [request.number for request in drawn] == [0, 1, 2]
    for mine, other in zip(drawn, scored, strict=True):
        assert not torch.equal(drawing_noise(mine, shape), drawing_noise(other, shape))


@pytest.mark.parametrize("prompt", ["a [V] dog", "a photo of a sks, dog", "  "])
def test_a_prompt_that_does_not_name_the_class_alone_is_refused(
    backbone: StableDiffusionBackbone, tmp_path: Path, prompt: str
) -> None:
    settings().of("dog", backbone, tmp_path / "x").check("sks")
    with pytest.raises(UserError, match=r"data\.prior\.prompt"):
        settings(prompt=prompt).of("dog", backbone, tmp_path / "x").check("sks")


def test_too_few_are_refused() -> None:
    with pytest.raises(ValueError, match="count"):
        ClassImages(count=0)
