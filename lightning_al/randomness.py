"""Random numbers derived from what they are for, never from a running generator.

A campaign that was killed and resumed, or that runs on another number of processes, must draw the same
initial set, sub-pools and ties. So every draw comes from ``(seed, round, purpose, ...)`` alone.
"""

import hashlib
import random

import torch


def derive_seed(*key: int | str) -> int:
    """Return a 63-bit seed that depends on ``key`` and nothing else.

    Args:
        *key: What the draw is for, e.g. ``(seed, round, "candidates")``. Order and type matter.

    Returns:
        A non-negative integer that fits a signed 64-bit seed.

    Example:
        >>> derive_seed(0, 3, "candidates") == derive_seed(0, 3, "candidates")
        True
        >>> derive_seed(0, 3, "candidates") == derive_seed(0, 3, "select")
        False
    """
    digest = hashlib.sha256(repr(key).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*key: int | str) -> torch.Generator:
    """Return a fresh CPU generator seeded by :func:`derive_seed` of ``key``.

    Example:
        >>> a, b = generator(0, 1, "select"), generator(0, 1, "select")
        >>> bool((torch.rand(4, generator=a) == torch.rand(4, generator=b)).all())
        True
    """
    return torch.Generator().manual_seed(derive_seed(*key))


def seed_global(*key: int | str) -> None:
    """Seed Python's, NumPy's and torch's global generators, on every device, from ``key``."""
    import numpy as np

    seed = derive_seed(*key)
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the user's augmentations draw from this one
    torch.manual_seed(seed)
