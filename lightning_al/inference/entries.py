"""A batch of inputs as samples: how many there are, and some of them; lists of one entry for each are marked."""

from collections.abc import Callable, Iterable
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree


class OnePerSample:
    """A list or tuple that has one entry for each sample.

    Args:
        entries: Of any kind.
        kind: What they are handed to the model as, ``list`` or ``tuple``.
    """

    def __init__(self, entries: Iterable[Any], kind: type = list) -> None:
        self.entries = list(entries)
        self.kind = kind

    def __len__(self) -> int:
        return len(self.entries)


pytree.register_pytree_node(
    OnePerSample, lambda node: (node.entries, node.kind), lambda entries, kind: OnePerSample(entries, kind)
)


def is_per_sample(node: Any) -> bool:
    """Whether this is a list of one entry for each sample."""
    return isinstance(node, OnePerSample)


def map_samples(of_entries: Callable[[OnePerSample], Any], of_tensor: Callable[[Tensor], Any], inputs: Any) -> Any:
    """Return inputs with all lists of entries, and all tensors outside of them, converted."""

    def convert(leaf: Any) -> Any:
        if isinstance(leaf, OnePerSample):
            return of_entries(leaf)
        return of_tensor(leaf) if isinstance(leaf, Tensor) else leaf

    return pytree.tree_map(convert, inputs, is_leaf=is_per_sample)


def whole(inputs: Any) -> Any:
    """Return inputs as the model takes them, with lists and tuples in the places of marked ones."""
    return map_samples(lambda node: node.kind(node.entries), lambda tensor: tensor, inputs)


def batch_size_of(inputs: Any) -> int:
    """Return the common first dimension of all tensors in ``inputs``, and length of what has one entry for each sample.

    Raises:
        ValueError: If there is no tensor, or they disagree.
    """
    leaves = pytree.tree_leaves(inputs, is_leaf=is_per_sample)
    sizes = {size_of_part(leaf) for leaf in leaves if isinstance(leaf, (Tensor, OnePerSample))}
    if len(sizes) != 1 or -1 in sizes:
        raise no_batch(sizes)
    return sizes.pop()


def has_entries(inputs: Any) -> bool:
    """Whether samples must be taken one at a time: what has an entry for each is all there is, or holds tensors.

    Entries such as names of files, beside tensors, can be taken together.
    """
    leaves = pytree.tree_leaves(inputs, is_leaf=is_per_sample)
    entries = [leaf for leaf in leaves if is_per_sample(leaf)]
    hold_tensors = any(isinstance(leaf, Tensor) for leaf in pytree.tree_leaves(entries))
    return bool(entries) and (hold_tensors or not any(isinstance(leaf, Tensor) for leaf in leaves))


def samples_at(inputs: Any, index: Tensor) -> Any:
    """Return copies of the samples at these positions."""

    def pick(node: OnePerSample) -> OnePerSample:
        copies = [pytree.tree_map_only(Tensor, torch.clone, node.entries[i]) for i in index.tolist()]
        return OnePerSample(copies, node.kind)

    return map_samples(pick, lambda tensor: tensor[index.to(tensor.device)], inputs)


def slice_of(inputs: Any, start: int, stop: int, shape: tuple[int, ...] = (-1,)) -> Any:
    """Return the samples from ``start`` to ``stop``, the first dimension of tensors unflattened to ``shape``."""

    def some(node: OnePerSample) -> OnePerSample:
        return OnePerSample(node.entries[start:stop], node.kind)

    return map_samples(some, lambda tensor: tensor[start:stop].unflatten(0, shape), inputs)


def device_of(holder: Any) -> torch.device:
    """Return where the tensors of a module are, or those of a batch; the CPU if there are none.

    Example:
        >>> device_of(nn.Linear(2, 2, device="meta")), device_of({"x": torch.zeros(3)}), device_of(nn.ReLU())
        (device(type='meta'), device(type='cpu'), device(type='cpu'))
    """
    if isinstance(holder, nn.Module):
        tensors: Iterable[Any] = chain(holder.parameters(), holder.buffers())
    else:
        tensors = (leaf for leaf in pytree.tree_leaves(holder) if isinstance(leaf, Tensor))
    return next((tensor.device for tensor in tensors), torch.device("cpu"))


def size_of_part(leaf: Any) -> int:
    """Return of how many samples a tensor or a list of entries is, -1 for a scalar."""
    return len(leaf) if isinstance(leaf, OnePerSample) or leaf.ndim else -1


def no_batch(sizes: set[int], name: str = "inputs", wanted: str = "the batch") -> ValueError:
    """Return the error for parts of these sizes, of what is called so, where another is wanted."""
    return ValueError(
        f"Every tensor in `{name}` must have the same first dimension, {wanted}, or a list of them have one entry for "
        f"each sample; seen: {sorted(sizes)[:8] or 'no tensor'} (-1: a scalar)."
    )
