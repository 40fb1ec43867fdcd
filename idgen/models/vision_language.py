"""Vision-language models of transformers: pictures and a question in, an answer out."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, Self
from weakref import WeakValueDictionary

import torch
from PIL import Image

from idgen.devices import free
from idgen.errors import UserError, first_line
from idgen.fingerprint import fingerprint_fields, fingerprint_path
from idgen.sources import model_folder

_KEY = "VisionLanguageModel.model"
_PATTERNS = ("*.json", "*.txt", "*.jinja", "*.model", "*.safetensors")
_LONGEST_SIDE = 768
"""Pixels that a picture is reduced to; a photo's full size would make thousands of tokens."""

_networks: WeakValueDictionary[tuple[str, str, str], Any] = WeakValueDictionary()
"""Those in memory, by folder, type and device: two users of one model share its weights."""


class VisionLanguageModel:
    """LLaVA, Qwen-VL, SmolVLM or another image-text-to-text model.

    Answers are the likeliest word by word, so that they are the same each time. A model without a
    chat template, such as BLIP, continues the question as a text.
    """

    def __init__(
        self,
        model: str,
        revision: str | None = None,
        dtype: Literal["float32", "bfloat16", "float16"] = "float32",
        max_tokens: int = 256,
    ) -> None:
        """Names the model; `load` brings in the weights.

        Args:
            model: A folder that transformers saved, or a hub id such as
                `HuggingFaceTB/SmolVLM-256M-Instruct`.
            revision: For a hub id: its commit, tag or branch.
            dtype: Of weights and computation.
            max_tokens: Tokens of an answer at most.

        Raises:
            UserError: If `max_tokens` is below 1.
        """
        if max_tokens < 1:
            raise UserError(f"VisionLanguageModel.max_tokens must be 1 or more; it is {max_tokens}")
        self.model = model
        self.revision = revision
        self.dtype = dtype
        self.max_tokens = max_tokens
        self._network: Any = None
        self._processor: Any = None

    @cached_property
    def folder(self) -> Path:
        """The model's folder, fetched from the hub if need be; a UserError without one."""
        folder = model_folder(
            self.model, parameter=_KEY, revision=self.revision, patterns=_PATTERNS
        )
        if not (folder / "config.json").is_file():
            raise UserError(f"{_KEY}: {folder} is no model's folder: config.json is missing")
        return folder

    @cached_property
    def identity(self) -> str:
        """Hash of what decides its answers, known without loading the weights."""
        return fingerprint_fields(
            kind="vision-language",
            weights=fingerprint_path(self.folder, _PATTERNS),
            dtype=self.dtype,
            max_tokens=self.max_tokens,
            side=_LONGEST_SIDE,
        )

    def load(self, device: torch.device) -> Self:
        """Brings the weights in, frozen; those that another user has loaded are shared.

        Args:
            device: Where it runs.

        Raises:
            UserError: If it cannot be loaded, or is not whole.
        """
        from transformers import AutoProcessor

        key = str(self.folder), self.dtype, str(device)
        try:
            self._processor = AutoProcessor.from_pretrained(self.folder, local_files_only=True)
        except Exception as error:  # transformers passes on the bare errors of several libraries
            raise self._unfit(first_line(error)) from error
        self._network = _networks.get(key)
        if self._network is None:
            self._network = self._load().eval().requires_grad_(False).to(device)
            _networks[key] = self._network
        return self

    @property
    def chats(self) -> bool:
        """Whether it has a chat template, and so takes instructions; to be asked once loaded."""
        return bool(getattr(self._processor, "chat_template", None))

    def release(self) -> None:
        """Frees the weights, once nobody else uses them; `load` brings them back."""
        if self._network is not None:
            device = self._network.device
            self._network, self._processor = None, None
            free(device)

    @torch.inference_mode()
    def ask(self, pictures: Sequence[Image.Image], question: str) -> str:
        """What it answers to pictures, in their order, and a question.

        Raises:
            RuntimeError: If it is not loaded.
            UserError: If it takes no such input, or not so many pictures.
        """
        if self._network is None:
            raise RuntimeError("VisionLanguageModel: call load(device) first")
        try:
            inputs = self._inputs([_reduced(picture) for picture in pictures], question)
            inputs = inputs.to(self._network.device, dtype=self._network.dtype)
            output = self._network.generate(
                **inputs, max_new_tokens=self.max_tokens, do_sample=False, num_beams=1
            )
        except (ValueError, TypeError, KeyError, IndexError, RuntimeError) as error:
            raise self._unfit(first_line(error)) from error
        asked = inputs["input_ids"]
        length = asked.shape[1]
        # Decoders repeat what they were asked, encoder-decoders do not.
        repeats = output.shape[1] >= length and torch.equal(output[:, :length], asked)
        answer = output[:, length:] if repeats else output
        return str(self._processor.batch_decode(answer, skip_special_tokens=True)[0])

    def _inputs(self, pictures: Sequence[Image.Image], question: str) -> Any:
        if not self.chats:
            return self._processor(images=list(pictures), text=question, return_tensors="pt")
        content: list[dict[str, Any]] = [{"type": "image", "image": shown} for shown in pictures]
        return self._processor.apply_chat_template(
            [{"role": "user", "content": [*content, {"type": "text", "text": question}]}],
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
            return_tensors="pt",
        )

    def _load(self) -> Any:
        from transformers import AutoModelForImageTextToText

        try:
            network, report = AutoModelForImageTextToText.from_pretrained(
                self.folder,
                dtype=getattr(torch, self.dtype),
                output_loading_info=True,
                local_files_only=True,
            )
        except Exception as error:  # as above
            raise self._unfit(first_line(error)) from error
        if missing := sorted(report["missing_keys"]):
            # transformers would draw what is missing at random and only log a warning.
            raise UserError(f"{_KEY}: {self.folder} holds no whole model: it lacks {missing[0]}")
        return network

    def _unfit(self, reason: str) -> UserError:
        return UserError(
            f"{_KEY}: {self.model!r} cannot answer to pictures and a question ({reason}); give an "
            "image-text-to-text model such as 'HuggingFaceTB/SmolVLM-256M-Instruct'"
        )


def _reduced(picture: Image.Image) -> Image.Image:
    reduced = picture.copy()
    reduced.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE), Image.Resampling.LANCZOS)
    return reduced
