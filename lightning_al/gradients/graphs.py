"""The graph that autograd builds: its nodes, and an order in memory that some of their kernels are faster in."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor
from torch.autograd.graph import Node

_FASTER_WITH_CHANNELS_LAST = {
    "AvgPool2DBackward0": torch.channels_last,
    "UpsampleBilinear2DBackward0": torch.channels_last,
    "UpsampleTrilinear3DBackward0": torch.channels_last_3d,
}
"""Nodes whose kernels on a CPU go number by number, but in vectors where channels lie next to each other."""

_CHANNELS = 8
"""From how many on; for fewer, a vector is not filled."""

_NUMBERS = 2**13
"""From how many on; fewer take no longer than the hooks."""


def nodes_of(ends: Iterable[Tensor]) -> Iterator[Node]:
    """Go through the nodes of the graphs that end in these tensors, each once."""
    nodes, seen = [end.grad_fn for end in ends], set()
    while nodes:
        node = nodes.pop()
        if node is not None and node not in seen:
            seen.add(node)
            yield node
            nodes += [following for following, _ in node.next_functions]


def bring_in_faster_order(nodes: Iterable[Node]) -> bool:
    """Have those nodes that are faster so get their gradients with channels last in memory.

    Gradients are the same to the last bit, and as before in memory.

    Returns:
        Whether there are such nodes.
    """
    found = False
    for node in nodes:
        order = _FASTER_WITH_CHANNELS_LAST.get(node.name())
        if order is not None:
            found = True
            _bring_in(node, order)
    return found


def _bring_in(node: Node, order: torch.memory_format) -> None:
    brought = False

    def before(gradients: Sequence[Tensor | None]) -> tuple[Tensor] | None:
        nonlocal brought
        (gradient,) = gradients
        brought = False
        if gradient is None or not _is_faster(gradient):
            return None
        brought = True
        return (gradient.contiguous(memory_format=order),)

    def after(gradients: Sequence[Tensor | None], _: Sequence[Tensor | None]) -> tuple[Tensor] | None:
        (gradient,) = gradients
        return (gradient.contiguous(),) if brought and gradient is not None else None

    node.register_prehook(before)
    node.register_hook(after)


def _is_faster(gradient: Tensor) -> bool:
    """Whether the kernel is faster with channels last, and with it both copies."""
    return (
        type(gradient) is Tensor
        and gradient.device.type == "cpu"
        and gradient.shape[1] >= _CHANNELS
        and gradient.numel() >= _NUMBERS
        and gradient.is_contiguous()
        and torch.get_num_threads() <= 2 * len(gradient)  # with channels last, threads share the images alone
    )
