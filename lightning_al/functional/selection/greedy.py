"""From scores or features to a batch: which ``k`` positions to take. Distinct, the lowest position on ties.

The greedy selectors share one loop: take a row, lower the distances of the others to the nearest taken, take the next.
It is lazy (:class:`~lightning_al.functional.geometry.nearest.Nearest`): rows that cannot be next are not looked at.
Over several processes (``shard``) the rows stay where they are, and the picks are those of one process.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_al.checks import check_k, check_tensor
from lightning_al.distributed.randomness import Race
from lightning_al.distributed.shard import Shard, check_finite
from lightning_al.functional.geometry.nearest import Nearest
from lightning_al.functional.geometry.spaces import Products, Scalars


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
        ValueError: If ``k`` or ``first`` is out of range, or ``points`` has another shape or is not finite.

    Example:
        >>> scores = torch.tensor([0.0, 1.0, 5.0, 9.0])
        >>> kmeans_plusplus(scores, 3, generator=torch.Generator().manual_seed(0))
        tensor([3, 2, 1])
    """
    check_tensor("points", points)
    shard = _checked_shard(shard, k, points=points.unsqueeze(1) if points.ndim == 1 else points)
    if first is not None and not 0 <= first < shard.total:
        raise ValueError(f"`first` must be a position between 0 and {shard.total - 1}, got {first}.")
    race = _race(generator, ids, shard)
    space: Scalars | Products
    if points.ndim == 1:
        space = Scalars(points, "points", shard)
        preference = space.values.clone()
    else:
        space = Products({"points": points}, shard, centred=True)
        preference = space.lengths
    if first is None and k:
        first = _most(preference.abs(), space, shard)
    nearest = Nearest(space, shard, k)
    return _greedy(nearest, k, first, _draw(race, nearest), preference)


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
        ValueError: If ``k`` is out of range, or the tensors have another shape or are not finite.

    Example:
        >>> residuals = torch.tensor([[-0.1, 0.1], [-0.4, 0.4], [-0.4, 0.4]])
        >>> features = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
        >>> badge(residuals, features, 2, generator=torch.Generator().manual_seed(0))
        tensor([1, 2])
    """
    shard = _checked_shard(shard, k, residuals=residuals, features=features)
    race = _race(generator, ids, shard)
    space = Products({"residuals": residuals, "features": features}, shard)
    first = _most(space.lengths, space, shard) if k else None
    nearest = Nearest(space, shard, k)
    return _greedy(nearest, k, first, _draw(race, nearest), space.lengths.clone())


def k_center_greedy(features: Tensor, k: int, *, labelled: Tensor | None = None, shard: Shard | None = None) -> Tensor:
    """CoreSet (Sener & Savarese 2018): greedy k-center, each pick the row farthest from its nearest centre.

    Centres are the labelled rows and the picks so far; the distance is Euclidean. With no labelled row the first pick
    is the one nearest to the mean of all rows. Computed in float32 (half precision too) or float64; distances that
    rounding cannot tell apart are ties, so that the first of equal rows is picked. Rows that coincide with a centre are
    picked last, the lowest position first.

    O(N d) time a pick at worst, which is a pass over ``features``, commonly a small fraction of it, after O(N M d) for
    M labelled rows; 40 bytes a row, the picked and all labelled rows (on each process), and a few MB beside them.

    Args:
        features: (N, d), finite. With a ``shard``, the rows of its block.
        k: How many, 0 to N.
        labelled: (M, d), finite. With a ``shard``, the labelled rows that this process holds, if any; (0, d) if not.
        shard: The rows that this process holds; default all.

    Returns:
        LongTensor (k,) of distinct positions (among all rows, on every process the same) in the order of the picks, on
        the CPU.

    Raises:
        ValueError: If ``k`` is out of range, or the tensors have another shape or are not finite.

    Example:
        >>> k_center_greedy(torch.tensor([[0.0], [1.0], [5.0], [9.0]]), 3)
        tensor([2, 0, 3])
        >>> k_center_greedy(torch.tensor([[0.0], [1.0], [5.0], [9.0]]), 2, labelled=torch.tensor([[8.0]]))
        tensor([0, 2])
    """
    if labelled is not None and (labelled.ndim != 2 or labelled.shape[1:] != features.shape[1:]):
        shapes = f"{tuple(labelled.shape)} beside {tuple(features.shape)}"
        raise ValueError(f"`labelled` must have shape (M, d), as wide as `features`, got {shapes}.")
    shard = _checked_shard(shard, k, features=features)
    space = Products({"features": features}, shard, centred=True)
    centres = shard.concatenate((features[:0] if labelled is None else labelled).detach().cpu().to(space.dtype))
    check_finite(centres, "labelled", Shard.whole(len(centres)))

    nearest = Nearest(space, shard, len(centres) + k)
    first = None
    if len(centres):
        nearest.approach(centres)
    elif k:
        squares = space.squares
        first = shard.largest(-squares, lambda i, square: space.rounding(i, -square))[1]

    def slack(index: int, squared: float) -> float:  # never down to 0, where those already picked are
        return min(space.rounding(index, squared), squared / 2)

    return _greedy(nearest, k, first, lambda pick: nearest.largest(slack), torch.zeros_like(space.squares))


def _greedy(
    nearest: Nearest,
    k: int,
    first: int | None,
    next_pick: Callable[[int], tuple[float, int]],
    preference: Tensor,
) -> Tensor:
    """The loop of all of them.

    Args:
        nearest: Each row's distance to the nearest centre.
        k: How many to pick.
        first: The first pick; None: ``next_pick`` chooses it too.
        next_pick: From the number of the pick to a value, not positive if all rows coincide with a centre, and a
            position.
        preference: (N,), the order of the picks from there on, largest first; written to.
    """
    space, shard = nearest.space, nearest.shard
    picks: list[int] = []
    covered = False
    for pick in range(k):
        if pick == 0 and first is not None:
            position = first
        else:
            if not covered:
                value, position = next_pick(pick)
                covered = value <= 0
            if covered:
                position = _most(preference, space, shard)
        picks.append(position)
        if not covered and pick < k - 1:
            nearest.approach(*(row.unsqueeze(0) for row in shard.row(position, *space.tensors)))
        if position in shard.block:
            nearest.leave_out(position - shard.block.start)
            preference[position - shard.block.start] = -torch.inf
    return torch.tensor(picks, dtype=torch.long)


def _most(values: Tensor, space: Scalars | Products, shard: Shard) -> int:
    return shard.largest(values, lambda _, value: space.tolerance * value)[1]


def _race(generator: torch.Generator, ids: Tensor | None, shard: Shard) -> Race:
    if ids is None:
        ids = torch.arange(shard.block.start, shard.block.stop)
    if ids.shape != (len(shard.block),) or ids.is_floating_point():
        raise ValueError(f"`ids` must be {len(shard.block)} integers, got {ids.dtype} of shape {tuple(ids.shape)}.")
    return Race(generator, ids)


def _draw(race: Race, nearest: Nearest) -> Callable[[int], tuple[float, int]]:
    """Draws with probability ∝ D²: by the largest D² / E or, the same, the largest D / √E."""

    def draw(pick: int) -> tuple[float, int]:
        times = race.exponentials(pick)
        return nearest.largest(over=times if nearest.space.squared else times.sqrt_())

    return draw


def _checked_shard(shard: Shard | None, k: int, **tensors: Tensor) -> Shard:
    for name, x in tensors.items():
        check_tensor(name, x)
        if x.ndim != 2 or x.shape[1] == 0:
            raise ValueError(f"`{name}` must have shape (N, d), d >= 1, got {tuple(x.shape)}.")
    lengths = {name: len(x) for name, x in tensors.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"There must be as many rows of each, got {lengths}.")
    n = next(iter(lengths.values()))
    shard = Shard.whole(n) if shard is None else shard
    if n != len(shard.block):
        raise ValueError(f"The shard has {len(shard.block)} rows here, the tensors {lengths}.")
    check_k(k, shard.total)
    return shard
