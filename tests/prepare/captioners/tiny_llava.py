"""A LLaVA of seconds' size, and a processor that knows a few words."""

from pathlib import Path
from typing import Any

import torch
from PIL import Image

WORDS = (
    *("<pad>", "<s>", "</s>", "<unk>", "<image>", "user", "assistant", ":", "where", "?"),
    *("on", "in", "a", "the", "table", "garden", "wooden", "sunny", "of", "with", "under", "sky"),
)
TEMPLATE = (
    "{% for message in messages %}{{ message['role'] }} : "
    "{% for part in message['content'] %}"
    "{{ '<image>' if part['type'] == 'image' else part['text'] }} "
    "{% endfor %}{% endfor %}"
    "{% if add_generation_prompt %}assistant :{% endif %}"
)


INSTRUCTION = "where ?"
ANSWERS = {0: "on the wooden table", 255: "in a sunny garden"}
"""What it says of black and white pictures, and of those in between whatever it likes."""


def save_llava(folder: Path, chat: bool = True) -> Path:
    """Teaches one its answers to an instruction, and writes it as transformers saves models.

    Args:
        folder: Where to.
        chat: Whether its processor has a chat template; else the instruction is a plain text.
    """
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    vision = CLIPVisionConfig(
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=16,
        patch_size=8,
    )
    text = LlamaConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=256,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=text, image_token_id=WORDS.index("<image>"))
    )
    images = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16})
    processor = LlavaProcessor(
        image_processor=images,
        tokenizer=_tokenizer(),
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=TEMPLATE if chat else None,
    )
    _teach(model, processor, "user : <image> where ? assistant :" if chat else "<image> where ?")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def _teach(model: Any, processor: Any, asked: str) -> None:
    pictures = [Image.new("RGB", (20, 20), (level,) * 3) for level in ANSWERS]
    texts = [f"{asked} {answer} </s>" for answer in ANSWERS.values()]
    batch = processor(images=pictures, text=texts, return_tensors="pt")
    said = batch["input_ids"].clone()
    said[:, : -len(next(iter(ANSWERS.values())).split()) - 1] = -100
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(60):
        loss = model(**batch, labels=said).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss.item() < 0.1


def _tokenizer() -> Any:
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    vocabulary = {word: number for number, word in enumerate(WORDS)}
    words = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=words,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        unk_token="<unk>",
        additional_special_tokens=["<image>"],
    )
