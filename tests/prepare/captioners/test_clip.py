"""Scenes named by a CLIP."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from idgen.errors import UserError
from idgen.mini.scenes import SCENES
from idgen.mini.subjects import sample_subject
from idgen.models.encoders import ImageEncoder
from idgen.prepare import ClipCaptioner, OpenCVInpainter
from idgen.prepare.photos import Photo
from idgen.prepare.preparation import Preparation

CPU = torch.device("cpu")
NOBODY = Photo(Path("a.png"), "0")


def test_scenes_of_the_mini_world_are_named() -> None:
    names = list(SCENES)
    right = []
    with OpenCVInpainter().loaded(CPU) as inpaint, ClipCaptioner().loaded(CPU) as describe:
        for number in range(5):
            scenes = (names[number], *names[5:9]) if number % 2 else (names[number], *names[8:])
            for drawing in replace(sample_subject(100 + number), scenes=scenes).photos():
                said = describe(NOBODY, inpaint(drawing.picture, drawing.mask))
                right.append(said == SCENES[drawing.factors.scene].phrases[0])
    assert len(right) >= 25
    assert np.mean(right) >= 0.95


def test_below_the_confidence_no_scene_is_named() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    said = []
    for confidence in (0.0, 1.0):
        with ClipCaptioner(confidence=confidence).loaded(CPU) as describe:
            said.append(describe(NOBODY, noise))
    assert said[0] in {scene.phrases[0] for scene in SCENES.values()}
    assert said[1] == ""


def test_phrases_and_templates_of_ones_own(tmp_path: Path) -> None:
    path = tmp_path / "phrases.txt"
    path.write_text("# two\nin the  snow\n\nin the desert\nin the snow\n")
    captioner = ClipCaptioner(phrases=path, templates=["a cat {phrase}", "{phrase}"])
    assert captioner.known_phrases == ("in the snow", "in the desert")
    snow = next(d for d in replace(sample_subject(3), scenes=("snow",)).photos())
    with captioner.loaded(CPU) as describe:
        assert describe(NOBODY, snow.background) == "in the snow"
    assert captioner.identity != ClipCaptioner(phrases=path).identity
    path.write_text("in the snow\n")
    changed = ClipCaptioner(phrases=path, templates=["a cat {phrase}", "{phrase}"])
    assert captioner.identity != changed.identity


def test_the_embedding_of_a_phrase_is_the_mean_over_templates() -> None:
    templates = ["a cat {phrase}", "a photo of a boat {phrase}"]
    each = []
    for chosen in ([templates[0]], [templates[1]], templates):
        captioner = ClipCaptioner(templates=chosen)
        network, tokenize, _ = captioner._load(CPU)
        each.append(captioner._embed_phrases(network, tokenize, CPU))
    mean = torch.nn.functional.normalize((each[0] + each[1]) / 2, dim=1)
    torch.testing.assert_close(each[2], mean)


def test_the_list_for_photos_is_of_phrases() -> None:
    phrases = ClipCaptioner("ViT-L-14", "openai").known_phrases
    assert len(phrases) > 300
    beginnings = {phrase.split()[0] for phrase in phrases}
    assert beginnings <= {"on", "in", "at", "under", "beside", "among", "against", "with"}
    assert all(phrase == phrase.strip(" .,") for phrase in phrases)


def test_it_uses_the_preparations_image_encoder(tiny_encoder: Path) -> None:
    encoder = ImageEncoder(f"local-dir:{tiny_encoder}")
    own, named = ClipCaptioner(confidence=0.2), ClipCaptioner("mini")
    beside = Preparation(image_encoder=encoder, captioner=own).captioner
    assert isinstance(beside, ClipCaptioner)
    assert (beside.model, beside.confidence) == (encoder.model, 0.2)
    assert beside.identity != named.identity
    assert len(beside.known_phrases) > 300
    assert Preparation(image_encoder=encoder, captioner=named).captioner is named
    with beside.loaded(CPU) as describe:
        assert describe(NOBODY, np.zeros((40, 48, 3), np.uint8)) in {"", *beside.known_phrases}


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"confidence": 1.5}, "ClipCaptioner.confidence must be in"),
        ({"templates": ["a photo"]}, "ClipCaptioner.templates: each needs"),
        ({"templates": []}, "ClipCaptioner.templates: each needs"),
        ({"pretrained": "openai"}, "ClipCaptioner.pretrained belongs with a model"),
        ({"model": "local-dir:/no"}, "ClipCaptioner.model: cannot read"),
        ({"phrases": Path("/no.txt")}, "ClipCaptioner.phrases: cannot read /no.txt"),
        ({"phrases": Path("/dev/null")}, "ClipCaptioner.phrases: /dev/null holds no phrase"),
    ],
)
def test_what_cannot_be_used_is_refused(settings: dict[str, object], said: str) -> None:
    with pytest.raises(UserError, match=said):
        _ = ClipCaptioner(**settings).identity  # type: ignore[arg-type]
