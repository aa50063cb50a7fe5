"""The labellings of several decisions by brute force. Only what is drawn comes from the same generator."""

import itertools
import math

import numpy as np

from lightning_al.distributed.randomness import derive_seed


def labellings_of(p: list[list[float]], draws: int) -> list[tuple[list[int], float]]:
    """Labellings of decisions with probabilities (C, P), each with its weight: all, or the first so many drawn."""
    columns = list(zip(*p, strict=True))
    if len(columns) == 1 or len(p) ** len(columns) <= 256:
        every = itertools.product(range(len(p)), repeat=len(columns))
        return [(list(y), math.prod(column[c] for column, c in zip(columns, y, strict=True))) for y in every]
    drawn = []
    for number in range(draws):
        uniform = np.random.default_rng(derive_seed("labelling", number)).random(len(columns))
        upto = [list(itertools.accumulate(column)) for column in columns]
        drawn.append([next(c for c, v in enumerate(row) if v > u) for row, u in zip(upto, uniform, strict=True)])
    return [(y, 1 / draws) for y in drawn]
