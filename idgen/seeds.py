"""Seeds that follow from what they are for."""

import hashlib


def seed_of(*parts: str | int) -> int:
    """A seed for a random generator: a hash of its parts, the same on every machine.

    Args:
        *parts: What the numbers are for, such as a prompt and the number of an image.

    Returns:
        An integer from 0 to 2^56 - 1.
    """
    text = "\0".join(str(part) for part in parts)
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:7], "big")
