"""The batches that loaders yield."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from idgen.models.decoupling import PhotoFeatures
from idgen.sampling import DrawingRequest


class PriorBatch(NamedTuple):
    """Class images, for prior preservation.

    Attributes:
        latent_mean: Mean of the autoencoder's posterior, unscaled, `B C h w`.
        latent_log_variance: Its log-variance, `B C h w`.
        prompts: Their prompts, without the subject's token, B of them.
    """

    latent_mean: Tensor
    latent_log_variance: Tensor
    prompts: tuple[str, ...]


class ShownPhotos(NamedTuple):
    """Which photos of the set a batch shows.

    Attributes:
        numbers: Each row's photo, `B` int64 from 0, in the order of the photos' digests.
        total: How many photos the set has.
    """

    numbers: Tensor
    total: int

    @classmethod
    def of(cls, digests: Sequence[str], indices: Sequence[int]) -> "ShownPhotos":
        """Of a batch of views: the digest of each view's photo, and which views are shown."""
        photos = sorted(set(digests))
        numbers = [photos.index(digests[index]) for index in indices]
        return cls(torch.tensor(numbers), len(photos))


class SceneBatch(NamedTuple):
    """Images of the subject's class in many scenes, with features of their own.

    Attributes:
        latent_mean: Mean of the autoencoder's posterior, unscaled, `B C h w`.
        latent_log_variance: Its log-variance, `B C h w`.
        subject_mask: Their subjects' share of each place of the latents, `B 1 h w` in [0, 1].
        features: f_p and f'_i of the same images, `B D` each.
        prompts: Their prompts, which name neither the subject's token nor a scene, B of them.
    """

    latent_mean: Tensor
    latent_log_variance: Tensor
    subject_mask: Tensor
    features: PhotoFeatures
    prompts: tuple[str, ...]


class SubjectBatch(NamedTuple):
    """Views of a subject's photos, for training.

    Attributes:
        latent_mean: Mean of the autoencoder's posterior, unscaled, `B C h w`.
        latent_log_variance: Its log-variance, `B C h w`.
        subject_mask: The subject's share of each place of the latents, `B 1 h w` in [0, 1].
        features: f_p and f'_i of the same views, or of another photo's where that is set, `B D`
            each.
        prompts: Their prompts, as the backbone reads them, B of them.
        class_prompts: The same prompts without the subject's token.
        position: The batch's place in the endless stream, from 0.
        prior: As many class images, or None where no prior is preserved.
        photos: Which photos they are of; None where that is not known.
        scenes: As many scene images, or None where there are none.
        framing: Which part of which photo each view shows, `B 6`, for backbones that are told; see
            `TextStates.framing`.
    """

    latent_mean: Tensor
    latent_log_variance: Tensor
    subject_mask: Tensor
    features: PhotoFeatures
    prompts: tuple[str, ...]
    class_prompts: tuple[str, ...]
    position: int
    prior: PriorBatch | None = None
    photos: ShownPhotos | None = None
    scenes: SceneBatch | None = None
    framing: Tensor | None = None


class DrawingBatch(NamedTuple):
    """Images to draw together.

    Attributes:
        requests: One an image; none where this process has less to do than others.
        reference: A photo's f_p and f'_i, `1 D` each, whose scene is kept; or None.
        reference_weight: How much of it.
    """

    requests: list[DrawingRequest]
    reference: PhotoFeatures | None
    reference_weight: float
