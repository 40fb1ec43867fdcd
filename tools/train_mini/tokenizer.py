"""Makes the mini models' tokenizer: byte-level BPE in which every known word is one token.

Run as ``python -m tools.train_mini.tokenizer --work DIR``; it writes ``DIR/tokenizer``, which
``CLIPTokenizer.from_pretrained`` loads. Words it does not know are spelt letter by letter.
"""

import argparse
import json
import re
import tempfile
from itertools import pairwise
from pathlib import Path

from transformers import CLIPTokenizer

from idgen.mini.accessories import ACCESSORIES
from idgen.mini.captions import EXTRA_WORDS, PREFIXES, RARE_TOKENS, TEXTURE_WORDS
from idgen.mini.classes import CLASSES
from idgen.mini.colours import COLOUR_WORDS
from idgen.mini.scenes import SCENES
from tools.train_mini.needed import made_by

CONTEXT = 32
PAD, START, END = "<|pad|>", "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"
_PUNCTUATION = ",.!?:;'\"()-&/"
# The rest of DreamBench's wording: the mini world cannot draw it, but prompts may say it.
_PROMPT_PHRASES = (
    "cobblestone street mountain house wheat field tree autumn leaves eiffel tower floating ocean",
    "milk grass sunflowers around mirror sidewalk crowded dirt road rug shiny wet cube shaped",
    "santa monocle chef outfit firefighter police glasses shirt wizard photo painting top colored",
    "toy stuffed animal backpack bowl can candle clock sneaker boot vase cartoon plushie",
)


def known_words() -> list[str]:
    """List every word that a caption can hold, the rare tokens, and DreamBench's other words."""
    phrases = [phrase for scene in SCENES.values() for phrase in scene.phrases]
    phrases += [*PREFIXES, *ACCESSORIES, *TEXTURE_WORDS.values(), *COLOUR_WORDS, *CLASSES, *SCENES]
    phrases += ["a", "wearing", *EXTRA_WORDS, *RARE_TOKENS, *_PROMPT_PHRASES, *_PUNCTUATION]
    return sorted({word for phrase in phrases for word in phrase.split()})


def spell(word: str, ranks: dict[tuple[str, str], int]) -> list[str]:
    """Split a word into tokens by merging the pair of lowest rank, again and again."""
    parts = [*word[:-1], word[-1] + _WORD_END]
    while len(parts) > 1:
        pairs = [(ranks.get(pair, len(ranks)), k) for k, pair in enumerate(pairwise(parts))]
        rank, k = min(pairs)
        if rank == len(ranks):
            break
        parts[k : k + 2] = [parts[k] + parts[k + 1]]
    return parts


def find_merges(words: list[str]) -> list[tuple[str, str]]:
    """Find merges under which every word becomes one token.

    What the merges so far leave of a word is joined by new ones of a higher rank. These are only
    tried where no earlier one applies, so words done before stay whole.
    """
    ranks: dict[tuple[str, str], int] = {}
    for word in words:
        parts = spell(word, ranks)
        while len(parts) > 1:
            ranks.setdefault((parts[0], parts[1]), len(ranks))
            parts[:2] = [parts[0] + parts[1]]
    return list(ranks)


def byte_alphabet() -> list[str]:
    """List the 256 characters that stand for the bytes in byte-level BPE."""
    visible = [*range(33, 127), *range(161, 173), *range(174, 256)]
    rest = 256 - len(visible)
    return [chr(byte) for byte in visible] + [chr(256 + k) for k in range(rest)]


def build_tokenizer(folder: Path) -> CLIPTokenizer:
    """Write the tokenizer's files into ``folder`` and return it as the library loads it.

    The end token has the highest id, so that CLIP's pooling finds it by argmax as well.
    """
    merges = find_merges(known_words())
    alphabet = byte_alphabet()
    tokens = [PAD, *alphabet, *(letter + _WORD_END for letter in alphabet)]
    tokens += [left + right for left, right in merges]
    vocab = {token: k for k, token in enumerate(dict.fromkeys([*tokens, START, END]))}
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = CLIPTokenizer(
            vocab=vocab, merges=merges, unk_token=END, pad_token=PAD, model_max_length=CONTEXT
        )
        tokenizer.save_pretrained(scratch)
        for path in Path(scratch).iterdir():
            (folder / path.name).write_bytes(path.read_bytes())
    (folder / "vocab.json").write_text(json.dumps(vocab, ensure_ascii=False))
    (folder / "merges.txt").write_text(
        "#version: 0.2\n" + "".join(f"{left} {right}\n" for left, right in merges)
    )
    loaded: CLIPTokenizer = CLIPTokenizer.from_pretrained(folder)
    return loaded


def read_tokenizer(work: Path) -> CLIPTokenizer:
    """Load the tokenizer of a training run.

    Raises:
        UserError: If it was not made yet.
    """
    made_by("tokenizer", work, "tokenizer/tokenizer.json")
    loaded: CLIPTokenizer = CLIPTokenizer.from_pretrained(work / "tokenizer")
    return loaded


def check_tokenizer(tokenizer: CLIPTokenizer) -> None:
    """Check that every known word is one token.

    Raises:
        RuntimeError: If one is not; it is named.
    """
    for word in known_words():
        ids = tokenizer(word).input_ids
        if len(ids) != 3 or re.sub(r"\W", "", tokenizer.decode(ids[1:2])) != re.sub(
            r"\W", "", word
        ):
            raise RuntimeError(f"{word!r} is not one token but {ids}")


def main() -> None:
    """Read the command line, write and check the tokenizer."""
    parser = argparse.ArgumentParser(description="make the mini models' tokenizer")
    parser.add_argument("--work", type=Path, required=True, help="working folder")
    check_tokenizer(build_tokenizer(parser.parse_args().work / "tokenizer"))


if __name__ == "__main__":
    main()
