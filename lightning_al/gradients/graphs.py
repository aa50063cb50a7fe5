"""The graph that autograd builds: its nodes, and an order in memory that some of their kernels are faster in."""

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.graph import Node
from torch.utils.hooks import RemovableHandle

_FASTER_WITH_CHANNELS_LAST = {
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


def leaves_of(nodes: Iterable[Any]) -> list[Tensor]:
    """Return the tensors among the nodes at which a graph begins."""
    return [node.variable for node in nodes if node.name() == "torch::autograd::AccumulateGrad"]


def resampling(nodes: Iterable[Node]) -> list[Node]:
    """Return those of the nodes that enlarge maps, and are faster in another order."""
    return [node for node in nodes if node.name() in _FASTER_WITH_CHANNELS_LAST and _enlarges(node)]


@contextlib.contextmanager
def in_faster_order(nodes: Iterable[Node]) -> Iterator[None]:
    """Inside, these nodes get their gradients with channels last in memory where that is faster.

    What they give is the same to the last bit, and as it would be in memory.
    """
    handles = [handle for node in nodes for handle in _bring_in(node, _FASTER_WITH_CHANNELS_LAST[node.name()])]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _bring_in(node: Node, order: torch.memory_format) -> tuple[RemovableHandle, RemovableHandle]:
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

    return node.register_prehook(before), node.register_hook(after)


def _enlarges(node: Any) -> bool:
    """Whether maps become larger: where they do not, copies take longer than the kernel."""
    return all(to >= of for to, of in zip(node._saved_output_size, node._saved_self_sym_sizes[2:], strict=True))


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
