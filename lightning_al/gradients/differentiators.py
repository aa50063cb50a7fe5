"""Derivatives of one group's score towards a copy of the weights, by ``torch.func`` or by plain autograd."""

import contextlib
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.func import grad_and_value, jacrev, vmap
from torch.utils import _pytree as pytree

from lightning_al.gradients.balls import Ball
from lightning_al.gradients.graphs import in_faster_order, nodes_of, resampling
from lightning_al.gradients.norms import global_norm, is_right, plain_norm
from lightning_al.gradients.tables import with_rows

Params = dict[str, Tensor]


class Differentiator(Protocol):
    """How derivatives with respect to the weights are taken."""

    def gradient(self, loss: Callable[[Params], tuple[Tensor, Any]], params: Params) -> tuple[Params, Any]:
        """Return the gradient of a scalar ``loss(params) -> (loss, aux)``, and ``aux``."""

    def row_norms(
        self, outputs: Callable[[Params], Tensor], params: Params, norm: Callable[[list[Tensor]], Tensor]
    ) -> Tensor:
        """Return ``norm`` of the gradient of each entry of ``outputs(params)``, (C,)."""

    def global_norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return the L2 norm over all gradients together, as a scalar tensor."""

    def moved(self, ball: Ball, params: Params, grads: Params) -> Params:
        """Return the weights moved by the ball's perturbation; the gradients may be overwritten."""


@contextlib.contextmanager
def fallbacks_unsaid() -> Iterator[None]:
    """Let ``torch.func`` go through what it has no batching rule for without asking users to report it to torch."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "There is a performance drop because we have not yet implemented")
        yield


class Vectorized:
    """Derivatives by ``torch.func``: runs under ``vmap``."""

    def gradient(self, loss: Callable[[Params], tuple[Tensor, Any]], params: Params) -> tuple[Params, Any]:
        """Return the gradient of a scalar loss, and what came with the loss."""
        aside: list[Any] = []

        def tensors_only(weights: Params) -> tuple[Tensor, list[Tensor]]:  # torch.func takes no other auxiliary output
            value, aux = loss(weights)
            leaves, rebuild = tensors_apart(aux)
            aside[:] = [rebuild]
            return value, leaves

        grads, (_, leaves) = grad_and_value(tensors_only, has_aux=True)(params)
        return grads, aside[0](leaves)

    def row_norms(
        self, outputs: Callable[[Params], Tensor], params: Params, norm: Callable[[list[Tensor]], Tensor]
    ) -> Tensor:
        """Return the norm of the gradient of each output, (C,)."""
        rows = jacrev(outputs)(params)
        return vmap(lambda row: norm(list(row.values())))(rows)

    def global_norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return the L2 norm over all gradients together, as a scalar tensor."""
        return global_norm(gradients)

    def moved(self, ball: Ball, params: Params, grads: Params) -> Params:
        """Return the weights moved by the ball's perturbation."""
        names = list(params)
        steps = ball.perturbation([params[name] for name in names], [grads[name] for name in names])
        return {name: params[name] + step for name, step in zip(names, steps, strict=True)}


class OneByOne:
    """Derivatives by plain autograd: for what ``vmap`` cannot trace, and for weights too large to copy.

    One is made for the groups of a call, whose weights are the same and graphs of the same kind: the first is looked
    through.
    """

    def __init__(self) -> None:
        self._resamples: bool | None = None
        """Whether the first graph has nodes that go faster in another order; None: there was none."""
        self._leaves: tuple[Params, Params] | None = None

    def gradient(self, loss: Callable[[Params], tuple[Tensor, Any]], params: Params) -> tuple[Params, Any]:
        """Return the gradient of a scalar loss, and what came with the loss."""
        leaves = self._leaves_of(params)
        value, aux = loss(leaves)
        with self._looked_through(value):
            return self._autograd(value, leaves), pytree.tree_map_only(Tensor, Tensor.detach, aux)

    def row_norms(
        self, outputs: Callable[[Params], Tensor], params: Params, norm: Callable[[list[Tensor]], Tensor]
    ) -> Tensor:
        """Return the norm of the gradient of each output, (C,)."""
        leaves = self._leaves_of(params)
        values = outputs(leaves)
        last = len(values) - 1
        with self._looked_through(values):
            return torch.stack(
                [norm(list(self._autograd(v, leaves, retain_graph=i < last).values())) for i, v in enumerate(values)]
            )

    def global_norm(self, gradients: Sequence[Tensor]) -> Tensor:
        """Return the L2 norm over all gradients together, as a scalar tensor, without copies of them if it may be."""
        entries = [_entries(g) for g in gradients]
        norm = plain_norm(entries)
        return norm if is_right(float(norm)) else global_norm(entries)

    def moved(self, ball: Ball, params: Params, grads: Params) -> Params:
        """Return the weights moved by the ball's perturbation, in the memory of the gradients."""
        rows = {name: g.indices()[0] for name, g in grads.items() if g.is_sparse}
        weights = [p[rows[name]] if name in rows else p for name, p in params.items()]
        moved = ball.moved(weights, _in_memory_apart(_entries(grads[name]) for name in params))
        each = zip(params.items(), moved, strict=True)
        return {name: with_rows(p, rows[name], m) if name in rows else m for (name, p), m in each}

    def _leaves_of(self, params: Params) -> Params:
        """Return the weights as what is differentiated by, made once for the same ones."""
        if self._leaves is None or self._leaves[0] is not params:
            self._leaves = params, {name: p.detach().requires_grad_() for name, p in params.items()}
        return self._leaves[1]

    def _looked_through(self, ends: Tensor) -> contextlib.AbstractContextManager[None]:
        """Refuse a graph that gives no gradients; what is given has another one go faster where it may.

        Reentrant checkpoints fail in ``autograd.grad`` or, on inputs that ask for gradients, are left out.
        """
        if not ends.requires_grad or self._resamples is False:
            return contextlib.nullcontext()
        nodes = list(nodes_of([ends]))
        found = resampling(nodes)
        if self._resamples is None:
            if any(node.name() == "CheckpointFunctionBackward" for node in nodes):
                raise RuntimeError(
                    "The model checkpoints with `use_reentrant=True`, whose backward pass goes into the weights' own "
                    "`.grad`, which scoring leaves alone. Use "
                    "`torch.utils.checkpoint.checkpoint(use_reentrant=False)`."
                )
            self._resamples = bool(found)
        return in_faster_order(found)

    def _autograd(self, value: Tensor, leaves: Params, retain_graph: bool = False) -> Params:
        if not value.requires_grad:  # no trainable parameter had a part in it
            return {name: torch.zeros_like(p) for name, p in leaves.items()}
        grads = torch.autograd.grad(value, list(leaves.values()), retain_graph=retain_graph, allow_unused=True)
        return {name: _of_rows(g, p) for (name, p), g in zip(leaves.items(), grads, strict=True)}


def _of_rows(gradient: Tensor | None, parameter: Tensor) -> Tensor:
    """Return a gradient with all its entries, or, where a table's is sparse, each row that was looked up once."""
    if gradient is None:
        return torch.zeros_like(parameter)
    if gradient.layout == torch.sparse_coo and gradient.sparse_dim() == 1:
        return gradient.coalesce()
    return gradient if gradient.layout == torch.strided else gradient.to_dense()


def _entries(gradient: Tensor) -> Tensor:
    """Return the numbers of a gradient, of a sparse one those of its rows."""
    return gradient.values() if gradient.is_sparse else gradient


def _in_memory_apart(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Return tensors that can be written to: autograd hands out memory that two gradients lie in, or repeat."""
    taken: set[int] = set()
    apart = []
    for tensor in tensors:
        memory = tensor.untyped_storage().data_ptr()
        whole = tensor.numel() * tensor.element_size() == tensor.untyped_storage().nbytes()
        apart.append(tensor if whole and memory not in taken else tensor.clone())
        taken.add(memory)
    return apart


def tensors_apart(tree: Any) -> tuple[list[Tensor], Callable[[Iterable[Tensor]], Any]]:
    """Take the tensors out of a pytree: them, and how to put others in their places."""
    leaves, spec = pytree.tree_flatten(tree)

    def rebuild(tensors: Iterable[Tensor]) -> Any:
        new = iter(tensors)
        return pytree.tree_unflatten([next(new) if isinstance(leaf, Tensor) else leaf for leaf in leaves], spec)

    return [leaf for leaf in leaves if isinstance(leaf, Tensor)], rebuild
