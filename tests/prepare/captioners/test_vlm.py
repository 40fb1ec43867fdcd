"""Scenes named by a vision-language model."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from idgen.errors import UserError
from idgen.models.vision_language import VisionLanguageModel
from idgen.prepare import VlmCaptioner
from idgen.prepare.captioners.vlm import as_phrase
from idgen.prepare.photos import Photo
from tests.prepare.captioners.tiny_llava import ANSWERS, INSTRUCTION, save_llava

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def llava(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_llava(tmp_path_factory.mktemp("llava"))


def asking(folder: Path, **settings: Any) -> VlmCaptioner:
    return VlmCaptioner(VisionLanguageModel(str(folder)), **settings)


def answers(captioner: VlmCaptioner) -> list[str]:
    said = []
    with captioner.loaded(CPU) as describe:
        for level in ANSWERS:
            background = np.full((1500, 900, 3), level, np.uint8)
            said.append(describe(Photo(Path("a.png"), "0"), background))
    return said


def test_it_answers_to_the_background(llava: Path) -> None:
    assert answers(asking(llava, instruction=INSTRUCTION)) == [*ANSWERS.values()]


def test_a_model_without_a_chat_template_continues_the_text(tmp_path: Path) -> None:
    folder = save_llava(tmp_path, chat=False)
    instruction = f"<image> {INSTRUCTION}"
    assert answers(asking(folder, instruction=instruction)) == [*ANSWERS.values()]
    with pytest.raises(UserError, match=r"VisionLanguageModel.model: .* cannot answer to pictures"):
        answers(asking(folder, instruction=INSTRUCTION))  # lacks the picture's place


def test_the_key_follows_weights_and_settings(llava: Path, tmp_path: Path) -> None:
    captioners = [
        asking(llava),
        asking(llava, instruction=INSTRUCTION),
        asking(llava, longest=5),
        VlmCaptioner(VisionLanguageModel(str(llava), dtype="bfloat16")),
        asking(save_llava(tmp_path, chat=False)),
    ]
    assert len({captioner.identity for captioner in captioners}) == len(captioners)
    assert asking(llava).identity == captioners[0].identity


def test_half_of_a_model_is_refused(tmp_path: Path) -> None:
    path = save_llava(tmp_path) / "model.safetensors"
    weights = load_file(path)
    weights.pop(next(key for key in weights if "projector" in key))
    save_file(weights, path, {"format": "pt"})
    with pytest.raises(UserError, match="holds no whole model: it lacks"):
        answers(asking(tmp_path))


@pytest.mark.parametrize("content", [None, "{}"])
def test_what_is_no_model_is_refused(content: str | None, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "config.json").write_text(content)
    with pytest.raises(UserError, match=r"Model.model: .*(is no model|cannot answer)"):
        answers(asking(tmp_path))


def test_no_words_are_refused() -> None:
    with pytest.raises(UserError, match=r"VlmCaptioner.longest must be 1 or more"):
        VlmCaptioner(VisionLanguageModel("owner/name"), longest=0)


@pytest.mark.parametrize(
    ("answer", "phrase"),
    [
        ("On a wooden table.", "on a wooden table"),
        ('\n"In the sun. It is a bright day."\nMore.', "in the sun"),
        ("**in front of a brick wall**", "in front of a brick wall"),
        ("The photo was taken in a kitchen", "in a kitchen"),
        ("This is taken at night", "at night"),
        ("Answer: on a lawn", "on a lawn"),
        ("A wooden table", "with a wooden table in the background"),
        ("NASA's launch pad", "with NASA's launch pad in the background"),
        ("in a large room, with many people who sit and", "in a large room"),
        ("in a large room with many people who sit around a table", "in a large room"),
        ("None.", ""),
        ("unknown", ""),
        (" \n ...", ""),
        ("on", ""),
        ("", ""),
    ],
)
def test_answers_become_phrases(answer: str, phrase: str) -> None:
    assert as_phrase(answer, longest=6) == phrase
