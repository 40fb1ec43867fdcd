"""A LLaVA with random weights and a few words, which transformers loads as it loads any other."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    CLIPImageProcessor,
    CLIPVisionConfig,
    LlamaConfig,
    LlavaConfig,
    LlavaForConditionalGeneration,
    LlavaProcessor,
    PreTrainedTokenizerFast,
)

_WORDS = ("<pad>", "<s>", "</s>", "<unk>", "<image>", "user", "assistant", "score", "where", "?")
_CHAT = (
    "{% for message in messages %}{{ message.role }} {% for part in message.content %}"
    "{% if part.type == 'image' %}<image> {% else %}{{ part.text }} {% endif %}"
    "{% endfor %}{% endfor %}{% if add_generation_prompt %}assistant{% endif %}"
)


def save_judge(folder: Path, chat: bool = True) -> Path:
    """Saves one, with a chat template or without."""
    small = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    vision = CLIPVisionConfig(image_size=16, patch_size=8, num_hidden_layers=2, **small)
    text = LlamaConfig(vocab_size=len(_WORDS), num_hidden_layers=1, eos_token_id=2, **small)
    torch.manual_seed(0)
    model = LlavaForConditionalGeneration(
        LlavaConfig(vision_config=vision, text_config=text, image_token_id=_WORDS.index("<image>"))
    )
    words = Tokenizer(models.WordLevel({w: n for n, w in enumerate(_WORDS)}, unk_token="<unk>"))
    words.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    processor = LlavaProcessor(
        image_processor=CLIPImageProcessor(
            size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}
        ),
        tokenizer=PreTrainedTokenizerFast(
            tokenizer_object=words,
            pad_token="<pad>",
            eos_token="</s>",
            unk_token="<unk>",
            additional_special_tokens=["<image>"],
        ),
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=_CHAT if chat else None,
    )
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
