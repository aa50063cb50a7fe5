"""Per-sample gradients: a score that needs the gradient of each sample (or group of samples) on its own.

Small models go through ``torch.func.vmap`` in chunks bounded by a byte budget; where one copy of the weights already
fills the budget, or the model holds something ``vmap`` cannot trace, the groups are taken one after another by plain
autograd. Both are exact.
"""

import contextlib
import logging
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad_and_value, jacrev, vmap
from torch.utils import _pytree as pytree

from lightning_al.gradients.precision import at_least_float32

log = logging.getLogger(__name__)

Params = dict[str, Tensor]
Call = Callable[[Params, Any], Any]
"""The model as a function of its trainable weights: ``call(params, inputs) -> outputs``."""
Forward = Callable[[nn.Module, Any], Any]

DEFAULT_MAX_BYTES = 256 * 2**20
MAX_GROUPS = 128  # activations, which the byte count of the weights does not see


class Differentiator(Protocol):
    """How derivatives with respect to the weights are taken."""

    def gradient(self, loss: Callable[[Params], tuple[Tensor, Any]], params: Params) -> tuple[Params, Any]:
        """Return the gradient of a scalar ``loss(params) -> (loss, aux)``, and ``aux``."""

    def row_norms(
        self, outputs: Callable[[Params], Tensor], params: Params, norm: Callable[[list[Tensor]], Tensor]
    ) -> Tensor:
        """Return ``norm`` of the gradient of each entry of ``outputs(params)``, (C,)."""


class Vectorized:
    """Derivatives by ``torch.func``: runs under ``vmap``."""

    def gradient(self, loss: Callable[[Params], tuple[Tensor, Any]], params: Params) -> tuple[Params, Any]:
        """See :class:`Differentiator`."""
        aside: list[Any] = []

        def tensors_only(weights: Params) -> tuple[Tensor, list[Tensor]]:  # torch.func takes no other auxiliary output
            value, aux = loss(weights)
            leaves, rebuild = _apart(aux)
            aside[:] = [rebuild]
            return value, leaves

        grads, (_, leaves) = grad_and_value(tensors_only, has_aux=True)(params)
        return grads, aside[0](leaves)

    def row_norms(
        self, outputs: Callable[[Params], Tensor], params: Params, norm: Callable[[list[Tensor]], Tensor]
    ) -> Tensor:
        """See :class:`Differentiator`."""
        rows = jacrev(outputs)(params)
        return vmap(lambda row: norm(list(row.values())))(rows)


class OneByOne:
    """Derivatives by plain autograd: for what ``vmap`` cannot trace, and for weights too large to copy."""

    def gradient(self, loss: Callable[[Params], tuple[Tensor, Any]], params: Params) -> tuple[Params, Any]:
        """See :class:`Differentiator`."""
        leaves = {name: p.detach().requires_grad_() for name, p in params.items()}
        value, aux = loss(leaves)
        return self._autograd(value, leaves), pytree.tree_map_only(Tensor, Tensor.detach, aux)

    def row_norms(
        self, outputs: Callable[[Params], Tensor], params: Params, norm: Callable[[list[Tensor]], Tensor]
    ) -> Tensor:
        """See :class:`Differentiator`."""
        leaves = {name: p.detach().requires_grad_() for name, p in params.items()}
        values = outputs(leaves)
        last = len(values) - 1
        return torch.stack(
            [norm(list(self._autograd(v, leaves, retain_graph=i < last).values())) for i, v in enumerate(values)]
        )

    @staticmethod
    def _autograd(value: Tensor, leaves: Params, retain_graph: bool = False) -> Params:
        if not value.requires_grad:  # no trainable parameter had a part in it
            return {name: torch.zeros_like(p) for name, p in leaves.items()}
        grads = torch.autograd.grad(value, list(leaves.values()), retain_graph=retain_graph, allow_unused=True)
        pairs = zip(leaves.items(), grads, strict=True)
        return {name: torch.zeros_like(p) if g is None else g for (name, p), g in pairs}


def _apart(tree: Any) -> tuple[list[Tensor], Callable[[Iterable[Tensor]], Any]]:
    """Take the tensors out of a pytree: them, and how to put others in their places."""
    leaves, spec = pytree.tree_flatten(tree)

    def rebuild(tensors: Iterable[Tensor]) -> Any:
        new = iter(tensors)
        return pytree.tree_unflatten([next(new) if isinstance(leaf, Tensor) else leaf for leaf in leaves], spec)

    return [leaf for leaf in leaves if isinstance(leaf, Tensor)], rebuild


GroupScore = Callable[[Differentiator, Call, Params, Any], Tensor]


@contextlib.contextmanager
def scoring_mode(model: nn.Module) -> Iterator[None]:
    """Put ``model`` in ``eval()``, with gradients on and autocast off, and leave everything as it was found.

    Train flags are restored module by module, buffers (some models count or cache in them) and the global random
    state too. In half precision ``θ + ε`` would round back to ``θ``, which is why autocast is switched off.
    """
    flags = [(module, module.training) for module in model.modules()]
    buffers = [
        (module, name, buffer, buffer._version, buffer.clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and not buffer.is_inference()
    ]
    tensors = [*model.parameters(), *model.buffers()]
    kinds = {"cpu"} | {t.device.type for t in tensors}
    cuda = sorted({t.device.index for t in tensors if t.device.type == "cuda"})
    with contextlib.ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        stack.enter_context(torch.random.fork_rng(devices=cuda))
        for kind in kinds:
            stack.enter_context(torch.autocast(device_type=kind, enabled=False))
        try:
            model.eval()
            yield
        finally:
            for module, training in flags:
                module.training = training
            with torch.no_grad():
                for module, name, buffer, version, value in buffers:
                    module._buffers[name] = buffer
                    if buffer._version != version:
                        buffer.copy_(value)


class _ForwardOf(nn.Module):
    """``forward(model, inputs)`` as a module, so that ``functional_call`` reaches the model's weights."""

    def __init__(self, model: nn.Module, forward: Forward) -> None:
        super().__init__()
        self.model = model
        self._call = forward

    def forward(self, inputs: Any) -> Any:
        return self._call(self.model, inputs)


def _is_half(model: nn.Module) -> bool:
    return any(p.dtype in (torch.float16, torch.bfloat16) for p in model.parameters())


def _ready(tensor: Tensor) -> Tensor:
    """A copy for the model to use as it likes: a forward may work in place, or be run twice.

    Inference tensors, which predict loops hand out, could not be saved for backward; half precision is raised.
    """
    return at_least_float32(tensor.detach().clone())


def plain_outputs(model: nn.Module, inputs: Any, forward: Forward | None = None) -> Any:
    """Return the model's outputs as the scores see them: in ``eval()``, without autocast, graph or trace.

    Weights in half precision are raised to float32.
    """
    if isinstance(model, nn.parallel.DistributedDataParallel):
        model = model.module
    root = _ForwardOf(model, forward if forward is not None else lambda m, x: m(x))
    with scoring_mode(model), torch.no_grad():
        inputs = pytree.tree_map_only(Tensor, _ready, inputs)
        if not _is_half(root):
            return root(inputs)
        state = [*root.named_parameters(), *root.named_buffers()]
        return functional_call(root, {name: at_least_float32(t) for name, t in state}, (inputs,))


def batch_size_of(inputs: Any) -> int:
    """Return the common first dimension of all tensors in ``inputs``.

    Raises:
        ValueError: If there is no tensor, or the tensors disagree.
    """
    sizes = {t.shape[0] if t.ndim else -1 for t in pytree.tree_leaves(inputs) if isinstance(t, Tensor)}
    if len(sizes) != 1 or -1 in sizes:
        raise ValueError(
            "Every tensor in `inputs` must have the same first dimension, the batch; "
            f"seen: {sorted(sizes) or 'no tensor'} (-1: a scalar)."
        )
    return sizes.pop()


def score_groups(
    model: nn.Module,
    score: GroupScore,
    inputs: Any,
    *,
    forward: Forward | None = None,
    group_size: int = 1,
    copies: int = 2,
    max_bytes: int | None = None,
) -> Tensor:
    """Apply ``score`` to consecutive groups of samples, each as if it were alone.

    Args:
        model: Any module; scored in ``eval()`` whatever mode it came in, and left as it was.
        score: ``score(differentiator, call, params, group)`` gives one number per sample of the group, (b,).
        inputs: Any pytree; every tensor has the batch as its first dimension.
        forward: ``forward(model, inputs) -> outputs``. Default: ``model(inputs)``.
        group_size: Samples in a group. The last group may be smaller.
        copies: How many copies of the weights ``score`` holds per group, for the byte budget.
        max_bytes: Bound on the bytes of those copies; default 256 MiB.

    Returns:
        The scores in order, (B,), detached, in the weights' precision, at least float32.

    Raises:
        ValueError: If the model has no trainable parameter, or the inputs have no common batch dimension.
    """
    if isinstance(model, nn.parallel.DistributedDataParallel):
        model = model.module
    n = batch_size_of(inputs)
    if group_size < 1:
        raise ValueError(f"`group_size` must be at least 1, got {group_size}.")
    if max_bytes is not None and max_bytes < 1:
        raise ValueError(f"`max_bytes` must be at least 1, got {max_bytes}.")

    root = _ForwardOf(model, forward if forward is not None else lambda m, x: m(x))
    half = _is_half(root)
    with torch.inference_mode(False):  # float32 copies of half-precision weights must not be inference tensors
        named, buffers = list(root.named_parameters()), list(root.named_buffers())
        params = {name: at_least_float32(p.detach()) for name, p in named if p.requires_grad}
        others = [*((name, p) for name, p in named if not p.requires_grad), *buffers]
        fixed = {name: at_least_float32(t) for name, t in others} if half else {}
    if not params:
        raise ValueError(
            "The model has no trainable parameter (`requires_grad=True`), so there is no gradient to score by. "
            "Unfreeze some, or use an acquisition that needs logits only."
        )

    def call(weights: Params, group: Any) -> Any:
        group = pytree.tree_map_only(Tensor, _ready, group)
        return functional_call(root, {**weights, **fixed}, (group,))

    budget = DEFAULT_MAX_BYTES if max_bytes is None else max_bytes
    per_group = copies * sum(p.numel() * p.element_size() for p in params.values())
    groups = min(max(budget // per_group, 1), max(MAX_GROUPS // group_size, 1))

    scores: list[Tensor] = []
    with scoring_mode(model):
        inputs = pytree.tree_map_only(Tensor, _ready, inputs)
        whole = n // group_size * group_size
        vectorize = groups > 1 and whole > group_size
        start = 0
        while start < n:
            if vectorize and start < whole:
                stop = min(start + groups * group_size, whole)
                tensors, rebuild = _apart(_slice(inputs, start, stop, (-1, group_size)))
                try:
                    # vmap takes tensors only; what else is in the inputs (None, flags) is the same for all.
                    part = vmap(lambda *group, of=rebuild: score(Vectorized(), call, params, of(group)))(*tensors)
                except torch.OutOfMemoryError:
                    raise
                except Exception as error:
                    # The plain loop below is exact too; if the fault is the model's own, it raises it again.
                    log.info("torch.func cannot vectorize this model (%s); scoring one group at a time.", error)
                    vectorize = False
                    continue
            else:
                stop = min(start + group_size, n)
                part = score(OneByOne(), call, params, _slice(inputs, start, stop))
            if part.numel() != stop - start:
                raise ValueError(
                    f"The loss must give one number per sample, ({stop - start},) here, got {part.numel()} numbers. "
                    "Average over pixels, boxes or time steps first."
                )
            scores.append(part.detach().flatten())
            start = stop
    return torch.cat(scores) if scores else torch.empty(0)


def _slice(inputs: Any, start: int, stop: int, shape: tuple[int, ...] = (-1,)) -> Any:
    """Samples ``start`` to ``stop`` of every tensor, their dimension unflattened to ``shape``."""
    return pytree.tree_map_only(Tensor, lambda t: t[start:stop].unflatten(0, shape), inputs)
