"""Colour words and the continuous region of colour each of them names."""

import colorsys
import random

Colour = tuple[int, int, int]

# Word -> (hue range in degrees, saturation range, value range). The regions leave gaps between
# neighbours, so that a colour sampled for one word is not mistaken for the next.
_REGIONS: dict[str, tuple[tuple[float, float], tuple[float, float], tuple[float, float]]] = {
    "red": ((-6, 6), (0.80, 0.95), (0.75, 0.95)),
    "orange": ((24, 34), (0.85, 1.00), (0.92, 1.00)),
    "yellow": ((49, 56), (0.75, 0.95), (0.92, 1.00)),
    "green": ((105, 145), (0.60, 0.90), (0.50, 0.75)),
    "blue": ((212, 232), (0.65, 0.90), (0.65, 0.95)),
    "purple": ((268, 284), (0.55, 0.80), (0.55, 0.80)),
    "pink": ((325, 340), (0.30, 0.50), (0.95, 1.00)),
    "brown": ((18, 28), (0.60, 0.75), (0.38, 0.52)),
    "white": ((30, 60), (0.00, 0.06), (0.94, 1.00)),
    "gray": ((200, 230), (0.00, 0.10), (0.48, 0.62)),
    "black": ((220, 260), (0.00, 0.25), (0.10, 0.18)),
}

COLOUR_WORDS: tuple[str, ...] = tuple(_REGIONS)


def sample_colour(word: str, rng: random.Random) -> Colour:
    """Draw one RGB colour (0 to 255 each) from the region that ``word`` names."""
    hue, saturation, value = _REGIONS[word]
    return hsv(rng.uniform(*hue), rng.uniform(*saturation), rng.uniform(*value))


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """Convert a hue in degrees, and saturation and value in [0, 1], to RGB in [0, 255]."""
    rgb = colorsys.hsv_to_rgb((hue % 360) / 360, saturation, value)
    return round(rgb[0] * 255), round(rgb[1] * 255), round(rgb[2] * 255)


def shade(colour: Colour, factor: float) -> Colour:
    """Darken (factor below 1) or lighten towards white (factor above 1) a colour."""
    if factor <= 1:
        return round(colour[0] * factor), round(colour[1] * factor), round(colour[2] * factor)
    mix = factor - 1
    r, g, b = (round(channel + (255 - channel) * mix) for channel in colour)
    return r, g, b


def jitter(colour: Colour, rng: random.Random, amount: int = 10) -> Colour:
    """Move a colour by up to ``amount`` levels in brightness and half as much in each channel."""
    light = rng.randint(-amount, amount)
    half = amount // 2
    r, g, b = (min(255, max(0, c + light + rng.randint(-half, half))) for c in colour)
    return r, g, b
