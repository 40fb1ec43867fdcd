"""Each photo's own prompt, from its file to a batch."""

import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch

from idgen.backbones import StableDiffusionBackbone
from idgen.data.captions import (
    Captions,
    CaptionUse,
    TrainingPrompts,
    composite_name,
    scene_likeness,
    with_subject,
)
from idgen.data.cast import Prompt
from idgen.data.datamodule import SubjectDataModule
from idgen.data.subject import Subject
from idgen.errors import UserError
from idgen.prepare.photos import find_photos
from idgen.prepare.subject import PreparedSubject
from tests.prepare.parts import CPU, ColourCaptioner, preparation, save_photo, save_photos

SOFA = "a dog on the sofa"


@pytest.mark.parametrize(
    ("caption", "expected"),
    [
        ("a dog on a sofa", "a [V] dog on a sofa"),
        ("A Dog on a sofa", "A [V] Dog on a sofa"),
        ("an old dog, two dogs", "an old [V] dog, two dogs"),
        ("on a sofa", "a [V] dog, on a sofa"),
        ("a dogged hotdog", "a [V] dog, a dogged hotdog"),
        ("the dog and a dog", "the [V] dog and a dog"),
        ("a photo of my [v] on a sofa", "a photo of my [V] on a sofa"),
        ("a [V] {class_noun} at night", "a [V] dog at night"),
    ],
)
def test_the_subject_is_put_in_where_it_is_missing(caption: str, expected: str) -> None:
    assert with_subject(caption, "dog") == expected


def test_an_article_fits_the_token() -> None:
    assert with_subject("an apple on a tree", "apple") == "a [V] apple on a tree"
    assert with_subject("a stuffed animal", "stuffed animal") == "a [V] stuffed animal"


def test_likeness_is_the_mean_cosine_of_each_two() -> None:
    vectors = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    pairs = [
        torch.nn.functional.cosine_similarity(vectors[a], vectors[b], dim=0)
        for a in range(4)
        for b in range(a)
    ]
    assert scene_likeness(vectors) == pytest.approx(float(torch.stack(pairs).mean()), abs=1e-6)
    assert scene_likeness(vectors[:1].expand(3, -1)) == pytest.approx(1)
    assert scene_likeness(vectors[:1]) == 1


USUAL, OWN = Prompt("a sks dog", "a dog"), Prompt("a sks dog on a rug", "a dog on a rug")


def test_dropout_follows_from_seed_and_place_alone() -> None:
    prompts = TrainingPrompts(USUAL, {"1": OWN}, dropout=0.3, seed=5)
    whole = [prompts.of("1", place) for place in range(4000)]
    assert 0.27 < Counter(whole)[USUAL] / len(whole) < 0.33
    assert prompts.of("1", 100) == whole[100]
    other = TrainingPrompts(USUAL, {"1": OWN}, dropout=0.3, seed=6)
    assert [other.of("1", place) for place in range(4000)] != whole
    assert {TrainingPrompts(USUAL, {"1": OWN}).of("1", place) for place in range(100)} == {OWN}
    assert prompts.of("2", 0) == USUAL


def test_a_composite_names_its_scene_where_photos_have_captions() -> None:
    subject, drawn = Subject("photos", "dog"), ["a dog in the snow", "a dog on a rug"]
    prompts = TrainingPrompts(USUAL, {"1": OWN}).with_composites(drawn, subject)
    assert prompts.of(composite_name(0), 0) == Prompt("a sks dog in the snow", "a dog in the snow")
    assert prompts.of("1", 0) == OWN
    without = TrainingPrompts(USUAL, {}).with_composites(drawn, subject)
    assert without.of(composite_name(1), 0) == USUAL


@pytest.mark.parametrize("settings", [{"dropout": 1.0}, {"dropout": -0.1}, {"shared_scene": 2.0}])
def test_numbers_out_of_range_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=rf"data\.captions\.{next(iter(settings))}"):
        Captions(**settings)  # type: ignore[arg-type]


@pytest.fixture
def made(photos: Path, output: Path, backbone: StableDiffusionBackbone) -> "Made":
    return Made(photos, output, backbone)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return save_photos(tmp_path / "photos")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "out"


class Made:
    """Data modules of one folder of photos, which is prepared anew for each."""

    def __init__(self, photos: Path, output: Path, backbone: StableDiffusionBackbone) -> None:
        self.photos = photos
        self.output = output
        self.backbone = backbone

    def data(
        self, captions: Captions | None, word: str | None = "in", **settings: Any
    ) -> SubjectDataModule:
        subject = Subject(str(self.photos), "dog", prepared=str(self.output))
        data = SubjectDataModule(
            subject, self.backbone, preparation(word=word), captions=captions, **settings
        )
        data.check_captions()
        data.preparation.run(self.photos, self.output, self.backbone, CPU, progress=False)
        data.setup("fit")
        return data

    def prompts(self, captions: Captions | None, word: str | None = "in") -> dict[str, Prompt]:
        """By the number of each photo's picture."""
        data = self.data(captions, word)
        digests = {photo.digest: photo.name for photo in find_photos(self.photos)}
        assert data._rows is not None
        found: dict[str, Prompt] = {}
        for index, digest in enumerate(data._rows.views.photo_digests):
            batch = data._collate([index], 0)
            prompt = Prompt(*batch.prompts, *batch.class_prompts)
            assert found.setdefault(digests[digest], prompt) == prompt
        return found


def test_captioners_phrases_go_on_the_training_prompt(made: Made) -> None:
    prompts = made.prompts(Captions())
    subject = PreparedSubject(made.output)
    backgrounds = {photo.name: subject.background(photo)[0, 0] for photo in subject.photos}
    for number in range(3):
        spoken, plain = prompts[f"{number:02d}.png"]
        red, green, blue = backgrounds[f"{number:02d}.png"]
        assert spoken == f"a photo of a sks dog in red {red} green {green} blue {blue}"
        assert plain == spoken.replace("sks ", "")
    assert len(set(prompts.values())) == 3


def test_a_text_file_wins(made: Made) -> None:
    (made.photos / "01.txt").write_text(SOFA)
    prompts = made.prompts(Captions())
    assert prompts["01.png"] == ("a sks dog on the sofa", SOFA)
    assert prompts["00.png"].spoken.startswith("a photo of a sks dog in red")
    without = made.prompts(Captions(files=False))
    assert without["01.png"].spoken.startswith("a photo of a sks dog in red")
    assert made.prompts(Captions(), word=None)["00.png"].spoken == "a photo of a sks dog"


def test_without_captions_all_have_the_training_prompt(made: Made) -> None:
    (made.photos / "01.txt").write_bytes(b"\xff")
    for captions in (None, Captions(use=CaptionUse.never)):
        assert set(made.prompts(captions).values()) == {
            Prompt("a photo of a sks dog", "a photo of a dog")
        }


def test_captions_follow_their_photos(made: Made) -> None:
    for number in range(3):
        (made.photos / f"{number:02d}.txt").write_text(f"a dog at {number}")
    made.prompts(Captions())
    for suffix in (".png", ".txt"):
        (made.photos / f"00{suffix}").unlink()
        (made.photos / f"02{suffix}").rename(made.photos / f"aa{suffix}")
    save_photo(made.photos, "00.png", 7)
    prompts = made.prompts(Captions())
    assert prompts["01.png"].plain == "a dog at 1"
    assert prompts["aa.png"].plain == "a dog at 2"
    assert prompts["00.png"].spoken.startswith("a photo of a sks dog in red")


def test_a_changed_text_file_makes_nothing_anew(made: Made) -> None:
    (made.photos / "01.txt").write_text(SOFA)
    made.prompts(Captions())
    (made.photos / "01.txt").write_text("a dog in snow")
    data = made.data(Captions())
    assert isinstance(data.preparation.captioner, ColourCaptioner)
    assert data.preparation.captioner.seen == []
    assert isinstance(data._prompts, TrainingPrompts)
    assert "a sks dog in snow" in {prompt.spoken for prompt in data._prompts.of_photos.values()}


def test_auto_depends_on_whether_photos_share_a_scene(made: Made) -> None:
    data = made.data(Captions())
    assert data._rows is not None
    plain = data._rows.views.background_embedding[:: len(data._rows.views.photo_digests) // 3]
    assert torch.equal(data._rows.views.plain_backgrounds(), plain)
    likeness = scene_likeness(plain)
    above = Captions(use=CaptionUse.auto, shared_scene=likeness + 1e-4)
    below = Captions(use=CaptionUse.auto, shared_scene=likeness - 1e-4)
    assert set(made.prompts(above).values()) == {Prompt("a photo of a sks dog", "a photo of a dog")}
    assert len(set(made.prompts(below).values())) == 3
    told, used = made.data(above)._prompts, made.data(below)._prompts
    assert isinstance(told, TrainingPrompts)
    assert isinstance(used, TrainingPrompts)
    assert "not used, the photos' scenes differ" in told.note
    assert used.note == "captions: 3 by the captioner"


def test_a_batch_says_which_rows_lack_their_caption(made: Made) -> None:
    data = made.data(Captions(dropout=0.5), batch_size=3, seed=1)
    stream = iter(data.train_dataloader())
    rows = [prompt for _ in range(20) for prompt in next(stream).prompts]
    assert 15 < sum(prompt == "a photo of a sks dog" for prompt in rows) < 45
    again = data.train_dataloader()
    again.load_state_dict({"position": 7})  # type: ignore[attr-defined]
    resumed = iter(again)
    assert rows[21:30] == [prompt for _ in range(3) for prompt in next(resumed).prompts]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is empty"),
        ("a dog " * 40, "tokens, the text encoder"),
        ("a sks dog on the beach", "names the token 'sks': write [V] in its place"),
        ("a x[V]x", "[V] has to stand as a word of its own"),
    ],
)
def test_files_that_cannot_be_used_are_named_before_work(
    content: str, said: str, made: Made
) -> None:
    (made.photos / "01.txt").write_text(content)
    with pytest.raises(UserError, match=rf"caption .*01\.txt.*{re.escape(said)}"):
        made.data(Captions())
    assert not made.output.exists()


def test_captions_without_any_are_refused(made: Made) -> None:
    with pytest.raises(UserError, match=r"no photo in .* has a caption"):
        made.data(Captions(), word=None)
    shutil.copy(__file__, made.photos / "notes.txt")
    with pytest.raises(UserError, match=r"no photo in .* has a caption"):
        made.data(Captions(), word=None)


def test_a_phrase_that_is_too_long_names_its_photo(made: Made) -> None:
    with pytest.raises(UserError, match=r"caption of photo '00\.png': prompt .* tokens"):
        made.data(Captions(), word="in a very very long and never ending place")
