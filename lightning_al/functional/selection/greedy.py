"""The loop that the greedy selectors share, and what they make of their arguments. The lowest position wins ties."""

from collections.abc import Callable

import torch
from torch import Tensor

from lightning_al.checks import check_k, check_tensor, needed_generator
from lightning_al.distributed.randomness import Race
from lightning_al.distributed.shard import Shard
from lightning_al.functional.geometry.nearest import Nearest
from lightning_al.functional.geometry.spaces import Space
from lightning_al.stages import steps


def greedy(
    nearest: Nearest,
    k: int,
    *,
    first: int | None,
    next_pick: Callable[[int], tuple[float, int]],
    preference: Tensor,
) -> Tensor:
    """Take a row, lower the distances of the others to the nearest taken, take the next.

    It is lazy: rows that cannot be next are not looked at. Over several processes the rows stay where they are, and the
    picks are those of one process.

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
    for pick in steps(range(k)):
        if pick == 0 and first is not None:
            position = first
        else:
            if not covered:
                value, position = next_pick(pick)
                covered = value <= 0
            if covered:
                position = most(preference, space, shard)
        picks.append(position)
        if not covered and pick < k - 1:
            nearest.approach(*(row.unsqueeze(0) for row in shard.row(position, *space.tensors)))
        if position in shard.block:
            nearest.leave_out(position - shard.block.start)
            preference[position - shard.block.start] = -torch.inf
    return torch.tensor(picks, dtype=torch.long)


def most(values: Tensor, space: Space, shard: Shard) -> int:
    """Return the position of the largest value, the lowest of those that rounding cannot tell apart."""
    return shard.largest(values, lambda _, value: space.tolerance * value)[1]


def race_of(generator: torch.Generator, ids: Tensor | None, shard: Shard, *, who: str) -> Race:
    """Return the race of the rows of these ids, default their positions; ``who`` asks for it, by the generator."""
    generator = needed_generator(generator, who, "draws at random")
    if ids is None:
        ids = torch.arange(shard.block.start, shard.block.stop)
    check_tensor("ids", ids)
    if ids.shape != (len(shard.block),) or ids.is_floating_point():
        raise ValueError(f"`ids` must be {len(shard.block)} integers, got {ids.dtype} of shape {tuple(ids.shape)}.")
    return Race(generator, ids)


def draws_by_distance(race: Race, nearest: Nearest) -> Callable[[int], tuple[float, int]]:
    """Return what draws a row with probability ∝ D²: by the largest D² / E or, the same, the largest D / √E."""

    def draw(pick: int) -> tuple[float, int]:
        times = race.exponentials(pick)
        return nearest.largest(over=times if nearest.space.squared else times.sqrt_())

    return draw


def checked_shard(shard: Shard | None, k: int, **tensors: Tensor) -> Shard:
    """Return the shard, default all rows, once tensors and ``k`` are such that ``k`` of its rows can be picked."""
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
