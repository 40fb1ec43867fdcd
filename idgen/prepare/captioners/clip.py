"""A captioner that takes the likeliest of a list of phrases, by a CLIP with a text tower."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.nn.functional import normalize

from idgen.devices import free
from idgen.errors import UserError
from idgen.fingerprint import fingerprint_fields
from idgen.masks import Picture
from idgen.metrics.encoders import open_clip_identity
from idgen.metrics.preprocessing import Preprocessing
from idgen.models.encoders import ImageEncoder
from idgen.models.open_clip_source import OpenClipSource
from idgen.prepare.captioners.captioner import Captioner, Describe
from idgen.prepare.photos import Photo
from idgen.sources import MINI, is_mini

_PHRASES = Path(__file__).parent / "phrases.txt"
_TEMPLATES = (
    "a photo {phrase}",
    "a photo taken {phrase}",
    "a photo of something {phrase}",
    "a close-up of an object {phrase}",
)
_AT_ONCE = 256
_VERSION = 1

Tokenize: TypeAlias = Callable[[list[str]], Tensor]


class ClipCaptioner(Captioner):
    """Zero-shot classification of the background over phrases for scenes (Radford et al. 2021).

    The text embeddings of a phrase in several templates are averaged; the background's cosines
    with them, by the model's own temperature, become probabilities of the phrases. Take E_I, or
    any other open_clip model that scores no drawings: the scores would be of its own homework.
    """

    def __init__(
        self,
        model: str | None = None,
        pretrained: str | None = None,
        phrases: Path | None = None,
        templates: list[str] | None = None,
        confidence: float = 0.1,
    ) -> None:
        """Names the model; the weights are loaded by `loaded`.

        Args:
            model: `mini`, `local-dir:FOLDER`, or an open_clip architecture such as `ViT-L-14`;
                None for the preparation's image encoder, E_I.
            pretrained: For an architecture only: open_clip's name of the weights, or a file.
            phrases: A text file of phrases, one a line, that continue "a photo of a dog"; None for
                the mini world's scenes with the mini model, and with others for a list of places,
                surfaces, lights and weathers that ships with idgen.
            templates: Texts around a phrase, with `{phrase}` in them; None for usual ones.
            confidence: The probability, in [0, 1], below which no scene is named. Phrases share
                probability with others that say nearly the same, so it has to be low for a long
                list.

        Raises:
            UserError: If the confidence is out of its range, or a template has no `{phrase}`.
        """
        if not 0 <= confidence <= 1:
            raise UserError(f"ClipCaptioner.confidence must be in [0, 1]; it is {confidence}")
        if pretrained is not None and model is None:
            raise UserError("ClipCaptioner.pretrained belongs with a model: name that too")
        lacking = [template for template in templates or () if "{phrase}" not in template]
        if lacking or templates == []:
            raise UserError(
                "ClipCaptioner.templates: each needs {phrase} in it, such as 'a photo {phrase}'"
            )
        self.model = model
        self.pretrained = pretrained
        self.phrases = phrases
        self.templates = templates
        self.confidence = confidence

    def beside(self, image_encoder: ImageEncoder) -> "ClipCaptioner":
        """The same one with E_I's model, where it has none of its own."""
        if self.model is not None:
            return self
        return ClipCaptioner(
            image_encoder.model,
            image_encoder.pretrained,
            self.phrases,
            self.templates,
            self.confidence,
        )

    @cached_property
    def _source(self) -> OpenClipSource:
        return OpenClipSource(
            MINI if self.model is None else self.model,
            self.pretrained,
            part="encoder",
            parameter="ClipCaptioner.model",
        )

    @cached_property
    def known_phrases(self) -> tuple[str, ...]:
        """The phrases, each once.

        Raises:
            UserError: If their file cannot be read or holds none.
        """
        if self.phrases is None and is_mini(self._source.model):
            from idgen.mini.scenes import SCENES

            return tuple(scene.phrases[0] for scene in SCENES.values())
        return _read_phrases(Path(self.phrases or _PHRASES).expanduser())

    @cached_property
    def known_templates(self) -> tuple[str, ...]:
        """The templates; the mini model's are about its world's subjects."""
        if self.templates is not None:
            return tuple(self.templates)
        if is_mini(self._source.model):
            from idgen.mini.classes import CLASSES

            return tuple(f"a {noun} {{phrase}}" for noun in CLASSES)
        return _TEMPLATES

    @cached_property
    def identity(self) -> str:
        """Hash of the weights, the texts and the threshold; a UserError without them."""
        if "text_cfg" not in self._source.config:
            raise UserError(f"ClipCaptioner.model: {self.model!r} has no text tower")
        return fingerprint_fields(
            captioner="clip",
            version=_VERSION,
            model=self._source.identity,
            phrases="\n".join(self.known_phrases),
            templates="\n".join(self.known_templates),
            confidence=float(self.confidence),
        )

    @property
    def judges(self) -> frozenset[str]:
        """The model's; a UserError without its weights."""
        return frozenset({open_clip_identity(self._source)})

    def fetch(self) -> None:
        """Downloads weights that are not on this machine yet; raises what `loaded` does."""
        self._source.fetch()

    @contextmanager
    def loaded(self, device: torch.device) -> Iterator[Describe]:
        """Loads the model and embeds the phrases; frees it when the context ends.

        Args:
            device: Where it runs, in float32.

        Raises:
            UserError: If the weights cannot be had.
        """
        network, tokenize, preprocessing = self._load(device)
        phrases = self.known_phrases
        embeddings = self._embed_phrases(network, tokenize, device)
        temperature = network.logit_scale.exp()

        @torch.inference_mode()
        def describe(photo: Photo, background: Picture) -> str:
            pixels = torch.from_numpy(background.copy()).permute(2, 0, 1)[None]
            shown = preprocessing(pixels).to(device)
            image = network.encode_image(shown, normalize=True)  # noqa: F821 (deleted on exit only)
            likely = (temperature * image @ embeddings.T).softmax(dim=1)[0]
            best = int(likely.argmax())
            return phrases[best] if float(likely[best]) >= self.confidence else ""

        try:
            yield describe
        finally:
            del network  # also from `describe`, which the caller may still hold
            free(device)

    @torch.inference_mode()
    def _embed_phrases(self, network: Any, tokenize: Tokenize, device: torch.device) -> Tensor:
        """The mean embedding of each of the P phrases over the templates, of unit length, `P E`."""
        found = []
        for template in self.known_templates:
            texts = [template.replace("{phrase}", phrase) for phrase in self.known_phrases]
            batches = [texts[at : at + _AT_ONCE] for at in range(0, len(texts), _AT_ONCE)]
            rows = [network.encode_text(tokenize(b).to(device), normalize=True) for b in batches]
            found.append(torch.cat(rows))
        return normalize(torch.stack(found).mean(dim=0), dim=1)

    def _load(self, device: torch.device) -> tuple[Any, Tokenize, Preprocessing]:
        import open_clip

        network: Any = self._source.load()
        try:
            tokenize = open_clip.get_tokenizer(self._source.name)
            preprocessing = Preprocessing.of_open_clip(open_clip.get_model_preprocess_cfg(network))
        except Exception as error:  # a tokenizer or a resize that this open_clip does not know
            raise self._source.unloadable(error) from error
        return network.to(device), tokenize, preprocessing


def _read_phrases(path: Path) -> tuple[str, ...]:
    """The phrases of a file; blank lines and those that begin with # are passed over."""
    try:
        lines: Sequence[str] = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            f"ClipCaptioner.phrases: cannot read {path} ({error}); give a text file, one phrase "
            "a line, or leave it out"
        ) from error
    words = (" ".join(line.split()) for line in lines)
    phrases = tuple(dict.fromkeys(line for line in words if line and not line.startswith("#")))
    if not phrases:
        raise UserError(f"ClipCaptioner.phrases: {path} holds no phrase; write one a line")
    return phrases
