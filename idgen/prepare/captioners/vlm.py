"""A captioner that asks a vision-language model of transformers."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Final, Literal

import torch
from PIL import Image

from idgen.devices import free
from idgen.errors import UserError, first_line
from idgen.fingerprint import fingerprint_fields, fingerprint_path
from idgen.masks import Picture
from idgen.prepare.captioners.captioner import Captioner, Describe
from idgen.prepare.photos import Photo
from idgen.sources import model_folder

INSTRUCTION: Final = (
    "This is a photo of a place. Where was it taken: in what place, on what surface, in what "
    "light? Answer with one phrase of at most eight words that begins with a preposition, "
    "such as: on a wooden table in the sun. Answer with the phrase alone."
)
_KEY = "VlmCaptioner.model"
_PATTERNS = ("*.json", "*.txt", "*.jinja", "*.model", "*.safetensors")
_VERSION = 1
_LONGEST_SIDE = 768
"""Pixels that a background is reduced to; a photo's full size would make thousands of tokens."""

_PREPOSITIONS = frozenset(
    {"above", "across", "against", "along", "amid", "among", "around", "at", "before", "behind",
     "below", "beneath", "beside", "between", "beyond", "by", "down", "during", "in", "inside",
     "into", "near", "next", "on", "onto", "out", "outside", "over", "past", "through",
     "toward", "towards", "under", "underneath", "up", "upon", "with", "within", "without"}
)  # fmt: skip
_LEADS = re.compile(
    r"^(answer|phrase|caption|location)\s*:\s*"
    r"|^(this|the|a|an)?\s*(photo|picture|image|scene)\s+(was|is|shows)?\s*(taken|set|shot)?\s*"
    r"|^(it|this)\s+(was|is)\s+(taken|set|shot)?\s*"
    r"|^taken\s+",
    re.IGNORECASE,
)
_NOTHING = frozenset({"none", "unknown", "n/a", "nothing", "nowhere"})
_LOOSE_ENDS = _PREPOSITIONS | {
    *("a", "an", "the", "some", "many", "few", "and", "or", "of", "to", "that", "which", "is")
}


class VlmCaptioner(Captioner):
    """LLaVA, Qwen-VL, SmolVLM or another image-text-to-text model, asked where a photo was taken.

    It sees the background only. Answers are the likeliest word by word, so they are the same each
    time. A model without a chat template, such as BLIP, continues the instruction as a text.
    """

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        instruction: str = INSTRUCTION,
        longest: int = 12,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
    ) -> None:
        """Names the model; the weights are loaded by `loaded`.

        Args:
            model: A folder that transformers saved, or a hub id such as
                `HuggingFaceTB/SmolVLM-256M-Instruct`.
            revision: For a hub id: its commit, tag or branch.
            instruction: What is asked of each background.
            longest: Words of a phrase that are kept.
            dtype: Of weights and computation.

        Raises:
            UserError: If `longest` is below 1.
        """
        if longest < 1:
            raise UserError(f"VlmCaptioner.longest must be 1 or more; it is {longest}")
        self.model = model
        self.revision = revision
        self.instruction = instruction
        self.longest = longest
        self.dtype = dtype

    @cached_property
    def folder(self) -> Path:
        """The model's folder, fetched from the hub if need be; a UserError without one."""
        folder = model_folder(
            self.model, parameter=_KEY, revision=self.revision, patterns=_PATTERNS
        )
        if not (folder / "config.json").is_file():
            raise UserError(f"{_KEY}: {folder} is no model's folder: config.json missing")
        return folder

    @cached_property
    def identity(self) -> str:
        """Hash of the weights, the instruction and how answers are cleaned."""
        return fingerprint_fields(
            captioner="vlm",
            version=_VERSION,
            weights=fingerprint_path(self.folder, _PATTERNS),
            instruction=self.instruction,
            longest=self.longest,
            dtype=self.dtype,
            side=_LONGEST_SIDE,
        )

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Describe]:
        """Loads the model, and frees it when the context ends.

        Args:
            device: Where it runs.

        Raises:
            UserError: If it cannot be loaded, or does not take an image and a text.
        """
        network, processor = self._load()
        network.eval().requires_grad_(False).to(device)

        def describe(photo: Photo, background: Picture) -> str:
            image = Image.fromarray(background)
            image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
            said = self._ask(network, processor, image, device)  # noqa: F821 (deleted on exit only)
            return as_phrase(said, self.longest)

        try:
            yield describe
        finally:
            del network  # also from `describe`, which the caller may still hold
            free(device)

    @torch.inference_mode()
    def _ask(self, network: Any, processor: Any, image: Image.Image, device: torch.device) -> str:
        try:
            inputs = self._inputs(processor, image).to(device, dtype=network.dtype)
            tokens = 4 * self.longest
            output = network.generate(**inputs, max_new_tokens=tokens, do_sample=False, num_beams=1)
        except (ValueError, TypeError, KeyError, IndexError, RuntimeError) as error:
            raise UserError(
                f"{_KEY}: {self.model!r} cannot answer to a picture and an instruction "
                f"({first_line(error)}); give an image-text-to-text model"
            ) from error
        asked = inputs["input_ids"]
        # Decoders repeat what they were asked, encoder-decoders do not.
        repeats = output.shape[1] >= asked.shape[1] and torch.equal(
            output[:, : asked.shape[1]], asked
        )
        answer = output[:, asked.shape[1] :] if repeats else output
        return str(processor.batch_decode(answer, skip_special_tokens=True)[0])

    def _inputs(self, processor: Any, image: Image.Image) -> Any:
        if not getattr(processor, "chat_template", None):
            return processor(images=image, text=self.instruction, return_tensors="pt")
        content = [{"type": "image", "image": image}, {"type": "text", "text": self.instruction}]
        return processor.apply_chat_template(
            [{"role": "user", "content": content}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )

    def _load(self) -> tuple[Any, Any]:
        from transformers import AutoModelForImageTextToText, AutoProcessor

        folder = self.folder
        try:
            network, report = AutoModelForImageTextToText.from_pretrained(
                folder,
                dtype=getattr(torch, self.dtype),
                output_loading_info=True,
                local_files_only=True,
            )
            processor = AutoProcessor.from_pretrained(folder, local_files_only=True)
        except Exception as error:  # transformers passes on the bare errors of several libraries
            raise UserError(
                f"{_KEY}: {folder} is no image-text-to-text model ({first_line(error)}); give one "
                "such as 'HuggingFaceTB/SmolVLM-256M-Instruct'"
            ) from error
        if missing := sorted(report["missing_keys"]):
            # transformers would draw what is missing at random and only log a warning.
            raise UserError(f"{_KEY}: {folder} holds no whole model: it lacks {missing[0]}")
        return network, processor


def as_phrase(answer: str, longest: int) -> str:
    """A model's answer as one phrase that continues a prompt; empty if it says nothing.

    Of what it says the first line counts, and of that the first sentence, without quotes, marks and
    words such as "the photo was taken". A bare noun phrase becomes "with ... in the background".

    Args:
        answer: Such as `"On a wooden table."`.
        longest: Words that are kept; what would be left hanging at the end goes too.
    """
    lines = [line.strip(" \t*_#>-\"'`“”‘’") for line in answer.splitlines()]
    line = next(filter(None, lines), "")
    sentence = re.split(r"[.!?;](?:\s|$)", line)[0].strip(" \"'`*_“”‘’,:")
    phrase = " ".join(_LEADS.sub("", sentence).split())
    if phrase.lower() in _NOTHING or not any(letter.isalpha() for letter in phrase):
        return ""
    words = phrase.split()
    if not words[0][1:2].isupper():  # no abbreviation
        words[0] = words[0][0].lower() + words[0][1:]
    bare = words[0] not in _PREPOSITIONS
    if len(words) > longest:
        words = " ".join(words[:longest]).rsplit(",", 1)[0].split()
    while words and words[-1].strip(",").lower() in _LOOSE_ENDS:
        words.pop()
    kept = " ".join(words).rstrip(",")
    return f"with {kept} in the background" if bare and kept else kept
