"""Which samples of a balanced data set are left where classes are cut to a size, or shrink exponentially."""

from collections.abc import Sequence

import torch
from torch import Tensor

from lightning_al.checks import Findings, check_count, check_number
from lightning_al.zoo.own_files import hashed


def check_long_tail(findings: Findings, imbalance: float, imbalance_seed: int, **most: int | None) -> None:
    """Take note of what is wrong with the options of a long tail.

    Args:
        findings: Takes it.
        imbalance: As of :func:`long_tail`.
        imbalance_seed: Its seed.
        **most: By the names of options, samples of a class at most; None for all.
    """
    findings.of(check_number, "imbalance", imbalance, least=1)
    findings.of(check_count, "imbalance_seed", imbalance_seed, 0)
    for name, value in most.items():
        if value is not None:
            findings.of(check_count, name, value, 1)


def long_tail(
    targets: Tensor,
    imbalance: float = 1.0,
    seed: int = 0,
    *,
    most: int | None = None,
    names: Sequence[str] | None = None,
) -> Tensor:
    r"""Return which samples a long-tailed version of a balanced data set keeps.

    Of class c of C it keeps :math:`\lfloor n\,\mathrm{imbalance}^{-c/(C-1)} \rfloor`, where n is the size of the
    largest class (Cui et al., CVPR 2019): all of class 0, and of the last the share 1 / imbalance. A class that has
    fewer keeps all. Which they are is drawn by a hash of the seed and a sample's number or name, so that it is the
    same everywhere, and a larger imbalance keeps some of those that a smaller one keeps.

    Args:
        targets: Class indices (N,), of every class from 0 on.
        imbalance: The largest class's size over the smallest's, at least 1.
        seed: Another number keeps other samples.
        most: n is at most this. With an imbalance of 1, that many samples of each class.
        names: By which samples are drawn; those that join or go then change little. Default: their numbers.

    Returns:
        Numbers of the samples that are kept, ascending.

    Raises:
        ValueError: If of the last class nothing is left.

    Example:
        >>> targets = torch.arange(3).repeat(100)
        >>> targets[long_tail(targets, imbalance=25)].bincount()
        tensor([100,  20,   4])
        >>> targets[long_tail(targets, most=50)].bincount()
        tensor([50, 50, 50])
    """
    if not len(targets) or (imbalance == 1 and most is None):
        return torch.arange(len(targets))
    counts = targets.bincount()
    largest = min(int(counts.max()), len(targets) if most is None else most)
    if imbalance > largest:
        raise ValueError(
            f"`imbalance` must be at most what is kept of the largest class, {largest}, or nothing is left of the last "
            f"class, got {imbalance}."
        )
    drawn = [hashed(f"{seed}/{name}") for name in (range(len(targets)) if names is None else names)]
    kept: list[int] = []
    for c in range(len(counts)):
        # The small addition: 100 / 25^(1/2) must be 20 in floating point too.
        size = int(largest * imbalance ** (-c / max(len(counts) - 1, 1)) + 1e-9)
        kept += sorted((targets == c).nonzero().flatten().tolist(), key=drawn.__getitem__)[:size]
    return torch.tensor(sorted(kept))
