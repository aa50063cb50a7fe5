"""The loss of each sample in a ``training_step`` that returns one number for the batch."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from lightning_al.inference.precision import at_least_float32


def _with_reduction() -> dict[Callable[..., Any], inspect.Signature]:
    """The loss functions of torch: those that reduce over a batch, and can be told not to."""
    signatures: dict[Callable[..., Any], inspect.Signature] = {}
    for name, function in vars(F).items():
        if inspect.isfunction(function) and not name.startswith("_"):
            signature = inspect.signature(function)
            if "reduction" in signature.parameters:
                signatures[function] = signature
    return signatures


_LOSSES = _with_reduction()


class _LossCall(NamedTuple):
    """A call of one of torch's loss functions."""

    value: Tensor
    """What the call returned, with its graph."""
    each: Tensor
    """The same without reduction, (B, ...), detached."""
    reduction: str
    counted: Tensor
    """Which of them the call does not ignore."""


class SampleLosses(TorchFunctionMode):
    """Watches the calls of torch's loss functions (``cross_entropy``, ``mse_loss`` ..., and the modules of them).

    What each call gave is split by sample, and weighted by how much each counts in the loss of the batch, so that
    class weights, label smoothing, ``reduction="sum"``, mixed labels and sums of several losses are as they are meant;
    what does not count, such as a metric, is left out.

    Example:
        >>> logits, y = torch.tensor([[2.0, 0.0], [0.0, 0.0]], requires_grad=True), torch.tensor([0, 1])
        >>> with SampleLosses() as watched:
        ...     loss = 2 * F.cross_entropy(logits, y) + logits.square().sum()
        >>> watched.of(loss)
        tensor([0.2539, 1.3863])
    """

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[_LossCall] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        value = func(*args, **kwargs)
        if func in _LOSSES and isinstance(value, Tensor) and value.requires_grad:
            bound = _LOSSES[func].bind(*args, **kwargs)
            bound.apply_defaults()
            options = bound.arguments
            reduction = _reduction(options)
            options.update({k: v for k, v in _UNREDUCED.items() if k in options})
            with torch.no_grad():
                each = value.detach() if reduction == "none" else func(*bound.args, **bound.kwargs)
            if each.ndim:
                counted = _counted(options, each)
                self.calls.append(_LossCall(value, at_least_float32(each), reduction, counted))
        return value

    def of(self, loss: Tensor) -> Tensor | None:
        """Return the loss of each sample, (B,), such that their mean is what the calls make of ``loss``.

        Averaged over pixels or tokens as the call itself does, but for weights among them, and without those whose
        target is its ``ignore_index``: a sample with few others counts as much as one with many, so that the mean of
        the samples may not be that of the batch then. ``None`` where no call counts in ``loss``.
        """
        calls = self.calls
        if not calls or not loss.requires_grad:
            return None
        shares = torch.autograd.grad(loss, [c.value for c in calls], retain_graph=True, allow_unused=True)
        total: Tensor | None = None
        for call, share in zip(calls, shares, strict=True):
            if share is None:
                continue
            per_sample = _per_sample(call, share.to(call.each.dtype))
            if total is not None and len(total) != len(per_sample):
                return None
            total = per_sample if total is None else total + per_sample
        return total


_UNREDUCED = {"reduction": "none", "size_average": None, "reduce": None}


def _reduction(options: dict[str, Any]) -> str:
    old = options.get("size_average"), options.get("reduce")  # deprecated, still taken
    if old == (None, None):
        return str(options["reduction"])
    return "none" if old[1] is False else "sum" if old[0] is False else "mean"


def _counted(options: dict[str, Any], each: Tensor) -> Tensor:
    """Where a call's targets are not its ``ignore_index``; everywhere, where they are probabilities or it has none."""
    target, ignored = options.get("target"), options.get("ignore_index")
    if ignored is None or not isinstance(target, Tensor) or target.shape != each.shape:
        return torch.ones_like(each, dtype=torch.bool)
    return target != ignored


def _per_sample(call: _LossCall, share: Tensor) -> Tensor:
    """The part of each sample in the batch's loss, times the size of the batch, were as much counted of each."""
    each, size = call.each, len(call.each)
    counts = call.counted.reshape(size, -1).sum(1)
    total = counts.sum()
    if call.reduction == "mean":
        share = share / total.clamp(min=1)
    elif call.reduction == "batchmean":
        share = share / size
    return total * (share * each).reshape(size, -1).sum(1) / counts.clamp(min=1)
