"""The `k` highest scores."""

import torch
from torch import Tensor

from lightning_al.checks import check_k, check_tensor
from lightning_al.distributed.shard import Shard, check_finite


def top_k(scores: Tensor, k: int) -> Tensor:
    """Positions of the ``k`` largest scores, largest first; among equal scores the lowest position first.

    ``torch.topk`` gives no such promise about ties: it finds the k-th largest score, and a stable sort orders those
    that are not below it. O(N + k log k) time, O(N) memory.

    Args:
        scores: (N,), finite.
        k: How many, 0 to N.

    Returns:
        LongTensor (k,) of distinct positions, on the CPU.

    Raises:
        ValueError: If ``k`` is out of range, ``scores`` is not one-dimensional or not finite.

    Example:
        >>> top_k(torch.tensor([1.0, 3.0, 3.0, 2.0]), 3)
        tensor([1, 2, 3])
    """
    check_tensor("scores", scores)
    if scores.ndim != 1:
        raise ValueError(f"`scores` must be one-dimensional, (N,), got shape {tuple(scores.shape)}.")
    check_k(k, len(scores))
    scores = scores.detach().cpu()
    check_finite(scores, "scores", Shard.whole(len(scores)))
    if k == 0:
        return torch.empty(0, dtype=torch.long)
    least = torch.topk(scores, k, sorted=False).values.min()
    above = torch.nonzero(scores > least).flatten()
    ties = torch.nonzero(scores == least).flatten()[: k - len(above)]
    positions = torch.cat([above, ties]).sort().values
    return positions[torch.sort(scores[positions], descending=True, stable=True).indices]
