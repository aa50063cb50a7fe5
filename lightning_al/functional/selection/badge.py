"""BADGE: samples whose last layer's gradients are long and far from each other."""

import torch
from torch import Tensor

from lightning_al.distributed.shard import Shard
from lightning_al.functional.geometry.nearest import Nearest
from lightning_al.functional.geometry.spaces import OuterProducts
from lightning_al.functional.selection.greedy import checked_shard, draws_by_distance, greedy, most, race_of


def badge(
    residuals: Tensor,
    features: Tensor,
    k: int,
    *,
    generator: torch.Generator,
    ids: Tensor | None = None,
    shard: Shard | None = None,
) -> Tensor:
    """BADGE (Ash et al. 2020): k-means++ over the gradients of the last layer, which are never made.

    The gradient of the cross-entropy of row ``i`` under its pseudo-label is ``q_i ⊗ h_i``, ``q = p - onehot(ŷ)``. The
    first pick is the one of largest norm (as in the authors' code), then each is drawn with probability ∝ D²,

        D² = ‖q‖²‖h‖² + ‖q'‖²‖h'‖² - 2 (q·q') (h·h')

    to the nearest one picked; within 32 ulp of ``2 ‖q‖²‖h‖²`` it counts as 0, so that what coincides is never drawn.
    Where fewer than ``k`` distinct gradients exist, the rest is filled up by the largest norm. With ``residuals`` of
    (N, 1) ones it is :func:`kmeans_plusplus` of the features; draws are as described there.

    O(N (C + d)) time a pick at worst, which is a pass over both tensors, commonly a fraction of it; 48 bytes a row, the
    picked rows and a few MB beside them.

    Args:
        residuals: (N, C), probabilities less the one-hot pseudo-label, finite. With a ``shard``, the rows of its block.
        features: (N, d), what the last layer gets, finite.
        k: How many, 0 to N.
        generator: A CPU generator, the only source of randomness: it gives one 64-bit seed, also if ``k`` is 0. In
            the same state on every process.
        ids: (N,) distinct integers that name the rows, e.g. dataset indices; default their positions.
        shard: The rows that this process holds; default all.

    Returns:
        LongTensor (k,) of distinct positions (among all rows, on every process the same) in the order of the draws, on
        the CPU.

    Raises:
        ValueError: If there is no ``generator``, ``k`` is out of range, or the tensors have another shape or are not
            finite.

    Example:
        >>> residuals = torch.tensor([[-0.1, 0.1], [-0.4, 0.4], [-0.4, 0.4]])
        >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> badge(residuals, features, 2, generator=torch.Generator().manual_seed(0))
        tensor([1, 2])
    """
    shard = checked_shard(shard, k, residuals=residuals, features=features)
    race = race_of(generator, ids, shard, who="badge")
    space = OuterProducts({"residuals": residuals, "features": features}, shard)
    first = most(space.lengths, space, shard) if k else None
    nearest = Nearest(space, shard, k)
    draw = draws_by_distance(race, nearest)
    return greedy(nearest, k, first=first, next_pick=draw, preference=space.lengths.clone())
