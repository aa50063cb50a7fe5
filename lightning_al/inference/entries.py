"""Lists and tuples of a batch that have one entry for each sample, marked as such."""

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor
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
