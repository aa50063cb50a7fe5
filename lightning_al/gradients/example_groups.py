"""The groups of a batch by which a model is tried out: few, and as different from each other as the batch has them."""

from itertools import islice
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al.inference.entries import batch_size_of, samples_at

_AT_ONCE = 2**14  # numbers that are compared at once
MOST_GROUPS = 6  # groups at most that are scored by the plain loop, too, before others go without


class ExampleGroups(NamedTuple):
    """Groups of a batch that are least alike.

    Attributes:
        inputs: The batch.
        group_size: Samples in a group.
        starts: Where the groups begin, see :func:`groups_that_differ`.
    """

    inputs: Any
    group_size: int
    starts: list[int]

    @classmethod
    def of(cls, inputs: Any, group_size: int) -> "ExampleGroups":
        """Choose them among the groups of a batch, of which there are two at least."""
        return cls(inputs, group_size, groups_that_differ(inputs, group_size))

    @property
    def in_batch(self) -> int:
        """How many groups the batch has."""
        return batch_size_of(self.inputs) // self.group_size

    def at(self, starts: list[int]) -> Any:
        """Return copies of the groups that begin there, one after another."""
        return groups_at(self.inputs, self.group_size, starts)

    def two_again(self, count: int) -> Any:
        """Return so many groups: two that differ, again and again.

        A third one, of another length, would change the length that a model cuts its batch to.
        """
        two = (self.starts[0], self.starts[-1])
        return self.at([two[i % 2] for i in range(count)])


def groups_that_differ(inputs: Any, group_size: int) -> list[int]:
    """Return where groups begin that are least alike: the first, the farthest, the next that are not the same.

    Samples that share something, such as a length or a largest value, cannot show that a model takes it from all of its
    batch. Hence, for every tensor, the group farthest from the first, and the one whose number of zeros is.
    """
    count = batch_size_of(inputs) // group_size
    differ: set[int] = set()
    farthest: list[int] = []
    for leaf in pytree.tree_leaves(inputs):
        if isinstance(leaf, Tensor):
            whole = leaf[: count * group_size]
            groups = whole.split(group_size)
            others = (i for i in range(1, count) if not torch.equal(groups[0], groups[i]))
            differ.update(islice(others, 2))
            for measured in _measured_by_first(whole, count):
                farthest += [int(measured.argmax())] if bool(measured.amax() > 0) else []
    chosen = dict.fromkeys([0, *farthest, *(sorted(differ) or [1])[:2]])
    return [i * group_size for i in chosen][:MOST_GROUPS]


def _measured_by_first(leaf: Tensor, groups: int) -> tuple[Tensor, Tensor]:
    """Return how far each group is from the first, and by how many its zeros differ."""
    if leaf.is_complex():
        leaf = torch.view_as_real(leaf.resolve_conj())
    size, numbers = len(leaf) // groups, leaf[0].numel() * (len(leaf) // groups)
    at_once = max(_AT_ONCE // max(numbers, 1), 1)
    first = leaf[:size].reshape(1, numbers).double()
    far, filled = [], []
    for part in leaf.split(at_once * size):
        rows = part.reshape(len(part) // size, numbers)
        far.append((rows.double() - first).abs_().nan_to_num_().sum(1))
        # Along a dimension this takes three times as long.
        filled.append(rows.count_nonzero(1) if len(rows) > 1 else rows.count_nonzero().unsqueeze(0))
    nonzero = torch.cat(filled)
    return torch.cat(far), (nonzero - nonzero[0]).abs()


def groups_at(inputs: Any, group_size: int, starts: list[int]) -> Any:
    """Return copies of the groups that begin there, one after another."""
    return samples_at(inputs, torch.cat([torch.arange(start, start + group_size) for start in starts]))


def measures_of(inputs: Any, group_size: int) -> list[list[float]]:
    """Return, for every tensor, by what a model may tell a batch's groups from each other: each of all groups.

    How far the last value goes on, and the first, which is how much is padded on the right or left, whatever with; the
    number of zeros; the smallest and largest values, and the mean.
    """
    of_samples = [m for leaf in pytree.tree_leaves(inputs) if isinstance(leaf, Tensor) for m in _measures(leaf)]
    of_samples = [measure for measure in of_samples if measure.numel()]
    if not of_samples:
        return []
    of_groups = torch.stack([m.to("cpu", torch.float64) for m in of_samples]).unflatten(1, (-1, group_size))
    extremes = [of_groups.amin(2), of_groups.amax(2)] if group_size > 1 else [of_groups[..., 0]]
    result: list[list[float]] = torch.cat(extremes).tolist()
    return result


def _measures(leaf: Tensor) -> list[Tensor]:
    if leaf.is_complex():
        leaf = torch.view_as_real(leaf.resolve_conj())
    values = leaf.detach().reshape(len(leaf), -1)
    if not values.numel():
        return []
    values = (values if values.is_floating_point() else values.float()).nan_to_num()
    # `aminmax` along a dimension takes ten times what these do.
    extremes = [values.amin(1), values.amax(1)]
    return [_run(values, at_end=True), _run(values), values.count_nonzero(1), *extremes, values.mean(1)]


def _run(values: Tensor, *, at_end: bool = False) -> Tensor:
    """Return for how long each row begins with the same value, or ends with it."""
    length, looked_at = values.shape[1], 0
    while True:
        looked_at = min(max(4 * looked_at, 64), length)  # few tell of most rows
        some = values[:, length - looked_at :].flip(1) if at_end else values[:, :looked_at]
        other = some != some[:, :1]
        ends = other.any(1)
        if looked_at == length or bool(ends.all()):
            return torch.where(ends, other.to(torch.uint8).argmax(1), length)
