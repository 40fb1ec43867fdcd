"""Leakage: how much of a photo's background comes back in drawings, after SID's NSD.

Kim, Park, Rhee (2024, arXiv 2403.15330, equation 2) define the non-subject-disentanglement of
drawings g and photos r, with a segmentation s of the subject and CLIP's image encoder f, as
``NSD = 1 - mean over all pairs of cos(f(r * (1 - s(r))), f(g))``. Ours departs so:

- higher is more leakage: the similarity is not taken from 1;
- of a drawing's similarities the largest counts, to the photo whose background it is most like,
  where SID averages over all photos: a drawing brings back one background at a time, and even
  the photos themselves are, on average, hardly more like the photos' backgrounds than new scenes
  (with the first mini CLIP 0.83 against 0.78, where the largest gives 1.00 against 0.85);
- what is left of a photo is x', its prepared background, in which the subject is inpainted away,
  where SID's is black in the subject's place: a black silhouette still shows the subject;
- the drawing loses its subject likewise, by the same inpainter, where SID's is whole: else a
  faithful subject and its leftovers would count;
- the segmenter is the preparation's, where SID's is Grounded-SAM; the encoder is CLIP-I's;
- in the mini world, where the photos' scenes are known, drawings whose prompt asks for one of them
  have no leakage: their background is to be like a photo's. With them a model that ignores such
  prompts would look the better (perfect pictures: 0.99 there, 0.91 in other scenes). Of photos
  from elsewhere it is not known, and they count.
"""

from torch import Tensor

from idgen.metrics.copying import nearest_reference_similarity
from idgen.metrics.similarity import MeanScore


def background_leakage(drawings: Tensor, photos: Tensor) -> Tensor:
    r"""Each drawing's largest cosine, its subject taken away, to any photo's background.

    .. math:: \ell_b = \max_r \cos(f(g'_b), f(x'_r))

    It takes CLIP embeddings of the drawings without their subject g', ``B E``, and of the photos'
    backgrounds x', ``R E``; it returns and raises what `nearest_reference_similarity` does.
    """
    return nearest_reference_similarity(drawings, photos)


class Leakage(MeanScore):
    """Mean over drawings of `background_leakage`.

    Range [-1, 1], lower is better; 1 is reached by a model that returns its photos. It is not 0
    for a perfect model: grounds are alike to some degree, and outside the mini world a prompt may
    ask for a scene that a photo shows. The filled-in place of a large subject counts a little too:
    from a subject of 0.3 of the picture's side to one of 0.9, 0.01 in the mini world. Compare it
    with that of other methods for the same photos and prompts.
    """

    higher_is_better = False

    each = staticmethod(background_leakage)
