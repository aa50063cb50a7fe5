"""CoreSet's greedy k-center: each pick the sample farthest from all labelled and picked ones."""

import torch
from torch import Tensor

from lightning_al.checks import check_tensor
from lightning_al.distributed.shard import Shard, check_finite
from lightning_al.functional.geometry.nearest import Nearest
from lightning_al.functional.geometry.spaces import OuterProducts
from lightning_al.functional.selection.greedy import checked_shard, greedy


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
    shard = checked_shard(shard, k, features=features)
    if labelled is not None:
        check_tensor("labelled", labelled)
        if labelled.ndim != 2 or labelled.shape[1:] != features.shape[1:]:
            shapes = f"{tuple(labelled.shape)} beside {tuple(features.shape)}"
            raise ValueError(f"`labelled` must have shape (M, d), as wide as `features`, got {shapes}.")
    space = OuterProducts({"features": features}, shard, centred=True)
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

    return greedy(
        nearest,
        k,
        first=first,
        next_pick=lambda pick: nearest.largest(slack),
        preference=torch.zeros_like(space.squares),
    )
