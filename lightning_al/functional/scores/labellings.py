"""The labellings of a sample of several decisions: all of them where they are few, else some drawn from its p."""

from typing import Any

import torch
from torch import Tensor

from lightning_al.distributed.randomness import derive_seed

ALL = 256
"""Up to how many labellings of several decisions are taken one by one."""


def count_labellings(classes: int, decisions: int, draws: int) -> tuple[int, bool]:
    """Return how many labellings of a sample are looked at, and whether that is all of them.

    A sample of one decision has as many as there are classes, all of which are looked at.

    Example:
        >>> count_labellings(2, 5, draws=64), count_labellings(2, 20, draws=64), count_labellings(1000, 1, draws=64)
        ((32, True), (64, False), (1000, True))
    """
    if decisions == 1:
        return classes, True
    # The power of a million decisions would be a number of a million digits.
    few = decisions <= ALL.bit_length() and classes**decisions <= ALL
    return (classes**decisions, True) if few else (draws, False)


def nth_labelling(log_p: Tensor, number: int, draws: int) -> tuple[Tensor, Tensor]:
    """Return the labelling of this number of each sample, and what it counts in the expectation over labellings.

    All samples are drawn for by the same uniform numbers, one for each decision, which depend on the number of the
    labelling alone. So a sample gets the labellings that it would get by itself.

    Args:
        log_p: Log-probabilities (B, C, ...).
        number: From 0.
        draws: How many are drawn where not all are looked at.

    Returns:
        Labels (B, ...), and weights (B,): the probabilities of all labellings, or 1 over the number of those drawn.
    """
    shape = log_p.shape[:1] + log_p.shape[2:]
    classes, decisions = log_p.shape[1], log_p[0, 0].numel()
    count, are_all = count_labellings(classes, decisions, draws)
    if are_all:
        one = [number // classes**d % classes for d in range(decisions)]
        labels = torch.tensor(one, device=log_p.device).reshape(shape[1:]).expand(shape)
        chosen = log_p.detach().gather(1, labels.unsqueeze(1)).flatten(1).sum(1)
        return labels, chosen.exp()
    drawn = torch.from_numpy(_uniform(decisions, number)).to(log_p.device)
    upto = log_p.detach().double().exp().cumsum(1)
    threshold = drawn.reshape(shape[1:]) * upto[:, -1]
    labels = (upto <= threshold.unsqueeze(1)).sum(1).clamp(max=classes - 1)
    return labels, log_p.new_full((len(log_p),), 1 / count)


def _uniform(decisions: int, number: int) -> Any:
    import numpy as np  # torch draws nothing under `vmap`

    return np.random.default_rng(derive_seed("labelling", number)).random(decisions)
