"""k-means++ seeding: positions of points that are spread out."""

import torch
from torch import Tensor

from lightning_al.checks import check_tensor
from lightning_al.distributed.shard import Shard
from lightning_al.functional.geometry.nearest import Nearest
from lightning_al.functional.geometry.spaces import OuterProducts, Scalars, Space
from lightning_al.functional.selection.greedy import checked_shard, draws_by_distance, greedy, most, race_of


def kmeans_plusplus(
    points: Tensor,
    k: int,
    *,
    generator: torch.Generator,
    first: int | None = None,
    ids: Tensor | None = None,
    shard: Shard | None = None,
) -> Tensor:
    """k-means++ seeding (Arthur & Vassilvitskii 2007): spread-out positions, drawn with probability ∝ D².

    ``D`` is the distance to the nearest point picked so far. No Lloyd steps follow. On scalar scores this is what
    SAAL's authors call "w/ k-means++". Where fewer than ``k`` distinct points exist, the rest is filled up by the
    largest value (scalars) or the largest norm (vectors).

    Each draw is an exponential race (:class:`~lightning_al.distributed.randomness.Race`) keyed by ``ids``, so that it
    depends neither on the order of the rows nor on how they are dealt out to processes. Scalars are compared in
    float64, exactly; vectors in float32 (half precision too) or float64, and a ``D²`` within 32 ulp of twice the
    squared distance from the mean counts as 0, so that what coincides is never drawn.

    O(N d) time a pick at worst, which is a pass over ``points``, commonly a fraction of it; 48 bytes a row, the picked
    points and a few MB beside them.

    Args:
        points: (N,) scalar scores or (N, d) vectors, finite. With a ``shard``, the rows of its block.
        k: How many, 0 to N.
        generator: A CPU generator, the only source of randomness: it gives one 64-bit seed, also if ``k`` is 0. In
            the same state on every process.
        first: Position of the first pick; default the largest norm (for scalars the largest absolute value).
        ids: (N,) distinct integers that name the rows, e.g. dataset indices; default their positions.
        shard: The rows that this process holds; default all.

    Returns:
        LongTensor (k,) of distinct positions (among all rows, on every process the same) in the order of the draws, on
        the CPU.

    Raises:
        ValueError: If there is no ``generator``, ``k`` or ``first`` is out of range, or ``points`` has another shape or
            is not finite.

    Example:
        >>> scores = torch.tensor([0.0, 1.0, 5.0, 9.0])
        >>> kmeans_plusplus(scores, 3, generator=torch.Generator().manual_seed(0))
        tensor([3, 2, 1])
    """
    check_tensor("points", points)
    shard = checked_shard(shard, k, points=points.unsqueeze(1) if points.ndim == 1 else points)
    if first is not None and not 0 <= first < shard.total:
        raise ValueError(f"`first` must be a position between 0 and {shard.total - 1}, got {first}.")
    race = race_of(generator, ids, shard, who="kmeans_plusplus")
    space: Space
    if points.ndim == 1:
        space = Scalars(points, "points", shard)
        preference = space.values.clone()
    else:
        space = OuterProducts({"points": points}, shard, centred=True)
        preference = space.lengths
    if first is None and k:
        first = most(preference.abs(), space, shard)
    nearest = Nearest(space, shard, k)
    return greedy(nearest, k, first=first, next_pick=draws_by_distance(race, nearest), preference=preference)
