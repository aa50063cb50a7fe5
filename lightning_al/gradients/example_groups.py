"""The groups of a batch by which a model is tried out: few, and as different from each other as the batch has them."""

from typing import Any

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al.inference.outputs import batch_size_of

MOST_GROUPS = 6  # groups at most that are scored by the plain loop, too, before others go without


def groups_that_differ(inputs: Any, group_size: int) -> list[int]:
    """Return where groups begin that are least alike: the first, the next that is not the same, and a few others.

    Samples that share something, such as a length or a largest value, cannot show that a model takes it from all of its
    batch. Hence also, for every tensor, the group farthest from the first, and the one whose number of zeros is.
    """
    starts = range(0, batch_size_of(inputs) // group_size * group_size, group_size)
    differ: set[int] = set()
    farthest: list[int] = []
    for leaf in pytree.tree_leaves(inputs):
        if isinstance(leaf, Tensor):
            first = leaf[:group_size]
            others = [leaf[i : i + group_size] for i in starts]
            differ.update(i for i, other in zip(starts, others, strict=True) if i and not torch.equal(first, other))
            for measure in (_distance, _more_zeros):
                measured = torch.stack([measure(first, other) for other in others])
                farthest += [starts[int(measured.argmax())]] if bool(measured.amax() > 0) else []
    following = sorted(differ) or [starts[1]]
    return list(dict.fromkeys([0, following[0], *farthest, *following[1:2]]))[:MOST_GROUPS]


def _distance(a: Tensor, b: Tensor) -> Tensor:
    if a.is_complex():
        a, b = torch.view_as_real(a.resolve_conj()), torch.view_as_real(b.resolve_conj())
    return (a.double() - b.double()).abs().nan_to_num().sum()


def _more_zeros(a: Tensor, b: Tensor) -> Tensor:
    return (a.count_nonzero() - b.count_nonzero()).abs()


def groups_at(inputs: Any, group_size: int, starts: list[int]) -> Any:
    """Return copies of the groups that begin there, one after another."""
    return samples_at(inputs, torch.cat([torch.arange(start, start + group_size) for start in starts]))


def samples_at(inputs: Any, index: Tensor) -> Any:
    """Return copies of the samples at these positions."""
    return pytree.tree_map_only(Tensor, lambda t: t[index.to(t.device)].clone(), inputs)
