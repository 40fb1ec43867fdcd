"""Masks by segment-anything (Kirillov et al., 2023, arXiv 2304.02643), prompted automatically."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, TypeAlias

import cv2
import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import interpolate

from idgen.errors import UserError, first_line
from idgen.fingerprint import fingerprint_fields, fingerprint_path
from idgen.masks import Mask, Picture, cut_out
from idgen.metrics.encoders import ClipScorer
from idgen.metrics.scorer import ImageScorer
from idgen.mini.assets import mini_path
from idgen.mini.sam import load_mini_sam
from idgen.placeholders import check_words
from idgen.prepare.photos import Photo
from idgen.prepare.segmenters.candidates import Candidates, choose, keep_best, score_candidates
from idgen.prepare.segmenters.class_noun import NOUN_FILE, ClassNouns
from idgen.prepare.segmenters.detector import BoxDetector, Detect
from idgen.prepare.segmenters.prompts import PromptedSegmenter, Prompts, prompted_key, prompts_of
from idgen.prepare.segmenters.segmenter import Segment
from idgen.sources import MINI, is_mini

Architecture: TypeAlias = Literal["vit_b", "vit_l", "vit_h"]

_VERSION = 2
_KEY = "SamSegmenter.checkpoint"
_ARCHITECTURE_OF_WIDTH: dict[int, Architecture] = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
_GRID = (0.3, 0.5, 0.7)
_BOX = (0.1, 0.1, 0.9, 0.9)
_SCORING_SIDE = 256
_SMALLEST_REGION = 0.01


class SamSegmenter(PromptedSegmenter):
    """Any segment-anything checkpoint, or the mini one, prompted by the user or automatically.

    Automatic prompts are nine points, the centre and a grid of eight around it, and a box around
    the middle 80 %; each gives three candidate masks. `candidates.choose` says which is taken: by
    its size, place and quality and, where the models for that are given, by how alike it is to
    the other photos' candidates and by the class noun. Where a detector finds the noun, its box
    stands in for the automatic prompts. Photos with prompts in `prompts.yaml` are prompted with
    those alone. Islands and holes under 1 % of the mask's area are removed.
    """

    def __init__(
        self,
        checkpoint: str = MINI,
        architecture: Architecture | None = None,
        encoder: ImageScorer | None = None,
        clip: ClipScorer | None = None,
        detector: BoxDetector | None = None,
        class_noun: str | None = None,
        class_nouns: Path | None = None,
    ) -> None:
        """Notes the checkpoint; the weights are loaded by `loaded`.

        Args:
            checkpoint: `mini` (ships with idgen), or the path of a `.pth` or `.safetensors` file.
            architecture: Its image encoder; None to read it off the weights.
            encoder: Embeds what candidates cut out, to find what the photos share, such as
                `DinoScorer`; None to judge each photo by itself.
            clip: Compares what candidates cut out with the class noun; None to do without.
            detector: Finds a box around what the class noun names; None to do without.
            class_noun: What the subject is, such as `dog`, for `clip` and `detector`; of all
                subjects that `class_nouns` does not list and whose photos have no
                `class_noun.txt` beside them.
            class_nouns: A file of lines `subject,noun`, the subject being the name of its folder
                of photos; such as DreamBench's `prompts_and_classes.txt`.

        Raises:
            UserError: If there is a class noun and nothing that takes it.
        """
        self._takes_noun = clip is not None or detector is not None
        if not self._takes_noun and (class_noun, class_nouns) != (None, None):
            raise UserError(
                "SamSegmenter: a class noun belongs with clip or detector, which look for it: give "
                "one of them, or leave class_noun and class_nouns out"
            )
        self.checkpoint = checkpoint
        self._is_mini = is_mini(checkpoint)
        self.architecture = architecture
        self.encoder = encoder
        self.clip = clip
        self.detector = detector
        if class_noun is not None:
            check_words(class_noun, "SamSegmenter.class_noun")
        self.nouns = ClassNouns(class_noun, class_nouns)

    @property
    def _path(self) -> Path:
        if self._is_mini:
            return mini_path("sam")
        path = Path(self.checkpoint).expanduser()
        if not path.is_file() or path.suffix not in (".pth", ".safetensors"):
            what = "is no .pth or .safetensors file" if path.exists() else "does not exist"
            raise UserError(
                f"{_KEY}: {self.checkpoint!r} {what}; give a segment-anything checkpoint such as "
                "sam_vit_b_01ec64.pth, or 'mini'"
            )
        return path

    @cached_property
    def identity(self) -> str:
        """Hash of all weights and of how they are used, but for the class noun."""
        models = {"encoder": self.encoder, "clip": self.clip, "detector": self.detector}
        return fingerprint_fields(
            segmenter="sam",
            version=_VERSION,
            weights=fingerprint_path(self._path),
            **{name: None if model is None else model.identity for name, model in models.items()},
        )

    def key(self, photo: Photo) -> str:
        """The identity, with the user's prompts for this photo, or else its class noun."""
        if not self._takes_noun or prompts_of(photo) is not None:
            return prompted_key(self.identity, photo)
        return fingerprint_fields(segmenter=self.identity, class_noun=self.nouns.of(photo))

    def check(self, photos: Sequence[Photo]) -> None:
        """Checks the user's prompts, and that there is a class noun where one is needed."""
        super().check(photos)
        if self._takes_noun:
            for photo in photos:
                if prompts_of(photo) is None:
                    self.nouns.of(photo)

    def check_foreign(self, photo: Photo, subject: str) -> None:
        """Refuses a reference photo from elsewhere whose class noun would be the subject's."""
        if self._takes_noun and prompts_of(photo) is None and self.nouns.own(photo) is None:
            raise UserError(
                f"the reference {str(photo.path)!r} is no photo of the trained subject, whose "
                f"class noun is {self.nouns.of(photo)!r}: write what it shows, such as dog, in "
                f"{NOUN_FILE} beside it"
            )

    @contextmanager
    def loaded(self, device: torch.device, photos: Sequence[Photo]) -> Iterator[Segment]:
        """Loads the models; with `encoder`, photos that have their masks are looked at too."""
        from segment_anything import SamPredictor

        predictor = SamPredictor(self._load().eval().requires_grad_(False).to(device))
        with ExitStack() as models:
            encoder = self.encoder and models.enter_context(self.encoder.loaded(device))
            clip = self.clip and models.enter_context(self.clip.loaded(device))
            detect = None
            if self.detector is not None:
                detect = models.enter_context(self.detector.loaded(device))
            look = _Look(predictor, encoder, clip, detect)
            del predictor
            seen: dict[str, Candidates] = {}
            # The set's own, for drawings too, which lie elsewhere; only where one is looked for.
            noun = cache(lambda: self.nouns.of(photos[0]) if self._takes_noun else "")

            def segment(photo: Photo) -> Mask:
                prompts = prompts_of(photo)
                if prompts is not None:
                    return look.prompted(photo.pixels(), prompts)  # noqa: F821 (see below)
                # Candidates come from automatic prompts alone and of the whole set, whatever masks
                # there are already: so a run that goes on ends as an undisturbed one.
                known = any(photo.digest == other.digest for other in photos)
                group = [*photos, *([] if known else [photo])] if encoder else [photo]
                for other in group:
                    if other.digest not in seen:
                        seen[other.digest] = look.candidates(other.pixels(), noun())  # noqa: F821
                index = choose(photo.digest, {p.digest: seen[p.digest] for p in group})
                return look.mask(photo.size(), seen[photo.digest].logits[index])  # noqa: F821

            try:
                yield segment
            finally:
                del look  # also from `segment`, which the caller may still hold

    def _load(self) -> Any:
        from segment_anything import sam_model_registry

        if self._is_mini:
            return load_mini_sam(self._path)
        try:
            if self._path.suffix == ".safetensors":
                state = load_file(self._path)
            else:
                state = torch.load(self._path, map_location="cpu", weights_only=True)
            width = state["image_encoder.patch_embed.proj.weight"].shape[0]
            model = sam_model_registry[self.architecture or _ARCHITECTURE_OF_WIDTH[width]]()
            model.load_state_dict(state)
        except Exception as error:  # damaged files and other models fail in many ways
            raise UserError(
                f"{_KEY}: {self.checkpoint!r} is no segment-anything checkpoint "
                f"({first_line(error, 120)}); fetch it again, or check 'architecture'"
            ) from error
        return model


@dataclass(frozen=True)
class _Look:
    """The loaded models, and how photos are looked at with them."""

    predictor: Any
    encoder: ImageScorer | None
    clip: ClipScorer | None
    detect: Detect | None

    @torch.inference_mode()
    def candidates(self, picture: Picture, noun: str) -> Candidates:
        """The best candidates of the automatic prompts in a picture `H W 3` of such a thing."""
        small = self._show(picture)
        height, width = small.shape[:2]
        box = None if self.detect is None else self.detect(small, noun)
        low, quality = (
            _automatic(self.predictor, width, height)
            if box is None
            else _of_box(self.predictor, torch.tensor(box), width, height)
        )
        masks = _reduced(self._sized(low.flatten(0, 1))) > 0
        scores = score_candidates(masks.view(*low.shape[:2], *masks.shape[1:]), quality)
        kept = keep_best(masks, scores)
        logits = low.flatten(0, 1)[kept]
        embeddings = likely = None
        cut_outs = []
        if self.encoder is not None or self.clip is not None:
            full = (self._sized(logits) > 0).cpu().numpy()
            cut_outs = [cut_out(small, mask) for mask in full]
        if self.encoder is not None:
            embeddings = self.encoder.embed_images(cut_outs).cpu()
        if self.clip is not None:
            named = self.clip.embed_texts([f"a photo of a {noun}"])[0]
            likely = (self.clip.embed_images(cut_outs) @ named).cpu()
        return Candidates(logits.cpu(), scores[kept].cpu(), embeddings, likely)

    @torch.inference_mode()
    def prompted(self, picture: Picture, prompts: Prompts) -> Mask:
        """The mask, `H W`, that the user's prompts give in a picture `H W 3`."""
        small = self._show(picture)
        height, width = picture.shape[:2]
        scale = np.array([small.shape[1] / width, small.shape[0] / height])
        points = np.array((*prompts.points, *prompts.background_points)).reshape(-1, 2) * scale
        labels = np.array([1] * len(prompts.points) + [0] * len(prompts.background_points))
        box = None if prompts.box is None else np.array(prompts.box) * np.tile(scale, 2)
        # One point may mean a part or the whole: then the model gives three and its opinion.
        _, quality, low = self.predictor.predict(
            points if len(points) else None,
            labels if len(points) else None,
            box=box,
            multimask_output=len(points) == 1 and box is None,
        )
        best = torch.from_numpy(low[int(quality.argmax())])
        return self.mask((height, width), best - self.predictor.model.mask_threshold)

    def mask(self, size: tuple[int, int], logits: Tensor) -> Mask:
        """Logits `h w` at the model's size, as a tidy mask of a photo of that height and width."""
        small = _reduced_size(*size, self.predictor.model.image_encoder.img_size)
        fitted = self._sized(logits[None].to(self.predictor.device), small)[0]
        shape = (size[1], size[0])
        values = fitted.float().cpu().numpy()
        return _tidy(cv2.resize(values, shape, interpolation=cv2.INTER_LINEAR) > 0)

    def _show(self, picture: Picture) -> Picture:
        """Shows the model a picture, at the size that it sees at most."""
        model_side = self.predictor.model.image_encoder.img_size
        height, width = _reduced_size(picture.shape[0], picture.shape[1], model_side)
        # Candidates in a phone's megapixels would fill the memory.
        small = cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA)
        self.predictor.set_image(small)
        return np.asarray(small)

    def _sized(self, logits: Tensor, size: tuple[int, int] | None = None) -> Tensor:
        """Logits `K h w` at the model's size, at that of the reduced photo, `K H W`."""
        from segment_anything.utils.transforms import ResizeLongestSide

        model = self.predictor.model
        size = size or self.predictor.original_size
        side = model.image_encoder.img_size
        shown = ResizeLongestSide.get_preprocess_shape(*size, side)
        fitted: Tensor = model.postprocess_masks(logits[:, None], shown, size)
        return fitted[:, 0]


def _reduced_size(height: int, width: int, long_side: int) -> tuple[int, int]:
    scale = min(1.0, long_side / max(height, width))
    return max(1, round(height * scale)), max(1, round(width * scale))


def _automatic(predictor: Any, width: int, height: int) -> tuple[Tensor, Tensor]:
    """Mask logits `P C h w` and predicted IoU `P C` of P prompts with C candidates each."""
    extent = torch.tensor([width, height], dtype=torch.float, device=predictor.device)
    grid = torch.tensor([(x, y) for y in _GRID for x in _GRID], device=predictor.device)
    points = predictor.transform.apply_coords_torch(grid * extent, (height, width))
    labels = torch.ones(len(points), 1, dtype=torch.int, device=predictor.device)
    _, quality, low = predictor.predict_torch(points[:, None], labels, return_logits=True)
    middle = torch.tensor(_BOX, device=predictor.device) * extent.repeat(2)
    of_box, quality_of_box = _of_box(predictor, middle, width, height)
    low = torch.cat([low - predictor.model.mask_threshold, of_box])
    return low, torch.cat([quality, quality_of_box])


def _of_box(predictor: Any, box: Tensor, width: int, height: int) -> tuple[Tensor, Tensor]:
    """The same of one box (left, top, right, bottom): `1 C h w` and `1 C`."""
    box = box.float().to(predictor.device).view(1, 4)
    boxes = predictor.transform.apply_boxes_torch(box, (height, width))
    _, quality, low = predictor.predict_torch(None, None, boxes=boxes, return_logits=True)
    return low - predictor.model.mask_threshold, quality


def _reduced(logits: Tensor) -> Tensor:
    """Logits `K H W`, no larger than scoring needs."""
    height, width = logits.shape[-2:]
    size = _reduced_size(height, width, _SCORING_SIDE)
    if size == (height, width):
        return logits
    return interpolate(logits[None], size=size, mode="bilinear", align_corners=False)[0]


def _tidy(mask: Mask) -> Mask:
    """Removes islands and fills holes that are small beside the mask."""
    from segment_anything.utils.amg import remove_small_regions

    threshold = _SMALLEST_REGION * float(mask.sum())
    for mode in ("holes", "islands"):
        mask, _ = remove_small_regions(mask, threshold, mode)
    return np.asarray(mask, dtype=np.bool_)
