"""Balance: one number for what may not be bought by the other, likeness and obedience."""


def balance(dino: float, clip_t: float) -> float:
    r"""The geometric mean of DINO and CLIP-T, both in [-1, 1]: from 0 to 1, 0 if one is negative.

    .. math:: \sqrt{\max(0, \mathrm{DINO}) \max(0, \mathrm{CLIPT})}

    A model that copies the photos whatever the prompt says has a high DINO and a low CLIP-T, one
    that ignores the subject the other way round, and either lowers the product. A mean of
    logarithms does not care that the two live on different scales.
    """
    return float((max(dino, 0.0) * max(clip_t, 0.0)) ** 0.5)
