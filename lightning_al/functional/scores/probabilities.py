"""Losses and probabilities that keep their relative precision where float32's softmax does not; checks of logits.

Once one logit leads by about 17, ``p_max - 1`` rounds to exactly 0 in float32 while the other residuals survive. The
gradient of the usual cross-entropy then has the wrong *direction*, not only the wrong length. Everything here is
written in the lead ``z_y - logsumexp_{j != y} z_j``, which does not saturate.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from lightning_al.functional.scores.positions import mean_over_positions
from lightning_al.gradients.mixing import noted_as_one
from lightning_al.inference.calling import Forward
from lightning_al.inference.entries import slice_of
from lightning_al.inference.outputs import plain_outputs
from lightning_al.inference.precision import at_least_float32

_TWICE: ContextVar[bool] = ContextVar("twice", default=False)


@contextmanager
def cross_entropy_differentiated_twice() -> Iterator[None]:
    """Write :func:`cross_entropy` so that the second derivative keeps its relative precision too, at a leading class.

    torch's own one of ``logsigmoid`` is made of ``sigmoid(lead) - 1``, which float32 rounds to 0 from a lead of 17 on;
    that of ``softplus`` is not, where there is a lead.
    """
    token = _TWICE.set(True)
    try:
        yield
    finally:
        _TWICE.reset(token)


def _deficit(logits: Tensor, target: Tensor) -> Tensor:
    """Return minus the lead of a class, ``logsumexp_{j != y} z_j - z_y`` over dimension 1; ``target`` is (B, ...)."""
    index = target.unsqueeze(1)
    # A masked class (-inf) must not make the gradient of logsumexp NaN, so it is very small instead.
    floor = torch.finfo(logits.dtype).min / 4
    finite = torch.where(logits < floor, floor, logits)  # not clamp, whose gradient at NaN is 0
    others = finite.scatter(1, index, floor).logsumexp(1)
    # Where the largest logit is NaN or infinite there are no probabilities: NaN, never a number that looks like one.
    largest = logits.detach().amax(1)
    return others - finite.gather(1, index).squeeze(1) + (largest - largest)


@noted_as_one
def cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    r"""Cross-entropy of each sample, exact where float32's usual form saturates.

    .. math:: \ell = \mathrm{softplus}\Bigl(\log\sum_{j \ne y} e^{z_j} - z_y\Bigr)

    Args:
        logits: Floating (B, C) or (B, C, ...), C of at least 2.
        target: Class indices (B) or (B, ...).

    Returns:
        The loss of each sample (and pixel), (B) or (B, ...), in nats.

    Raises:
        TypeError: If ``logits`` is not a floating tensor, or ``target`` not one of int64 or int32.
        ValueError: If they have other shapes. (Of what class a target is is not looked at: that would wait for a GPU.)

    Example:
        >>> z = torch.tensor([[40.0, 0.0], [0.0, 0.0]])
        >>> cross_entropy(z, torch.tensor([0, 0]))
        tensor([4.2484e-18, 6.9315e-01])
    """
    check_logits(logits)
    _check_target(target, logits)
    behind = _deficit(at_least_float32(logits), target)
    losses = -F.logsigmoid(-behind)
    return torch.where(behind < 0, F.softplus(behind), losses) if _TWICE.get() else losses


def log_probabilities(logits: Tensor) -> Tensor:
    """``log_softmax`` over dimension 1, with full relative precision at the leading class too.

    Args:
        logits: Floating (B, C) or (B, C, ...), C of at least 2.

    Returns:
        Log-probabilities of the same shape.

    Raises:
        TypeError: If ``logits`` is not a floating tensor.
        ValueError: If it has fewer than two dimensions or classes.

    Example:
        >>> log_probabilities(torch.tensor([[40.0, 0.0]]))
        tensor([[-4.2484e-18, -4.0000e+01]])
    """
    compared = compared_with_top(logits)
    of_top = 0.0 - compared.odds.sum(1, keepdim=True).log1p()  # not -0
    return (compared.behind + of_top).scatter(1, compared.top, of_top)


class ComparedWithTop(NamedTuple):
    """Logits beside the largest one.

    Attributes:
        top: The most likely class, (B, 1, ...).
        behind: How much larger each logit is than its, 0 or less, (B, C, ...).
        odds: How probable each other class is for one of the top, (B, C, ...), 0 at the top itself. With their sum s
            probabilities are ``odds / (1 + s)`` and, of the top, ``1 / (1 + s)``, with full relative precision; so is
            the logarithm of that, ``-log1p(s)``.
    """

    top: Tensor
    behind: Tensor
    odds: Tensor


def compared_with_top(logits: Tensor) -> ComparedWithTop:
    """Return logits (B, C, ...) beside the largest one; NaN where that is NaN or infinite: there are no probabilities.

    Raises:
        TypeError: If ``logits`` is not a floating tensor.
        ValueError: If it does not have the shape (B, C, ...), C >= 2.
    """
    check_logits(logits)
    logits = at_least_float32(logits)
    top = most_likely(logits).unsqueeze(1)
    largest = logits.gather(1, top)
    behind = logits - (largest + (largest - largest).detach())  # infinity less infinity is NaN
    return ComparedWithTop(top, behind, behind.exp().scatter(1, top, 0.0))


def residuals(logits: Tensor) -> Tensor:
    """Gradient of the cross-entropy under the pseudo-label towards the logits, ``p - onehot(argmax p)``.

    Its entry at the pseudo-label is minus the sum of the others, which keeps its precision where ``p - 1`` does not.

    Args:
        logits: Floating (B, C) or (B, C, ...), C of at least 2.

    Returns:
        The same shape, summing to 0 over dimension 1.

    Example:
        >>> residuals(torch.tensor([[40.0, 0.0]]))
        tensor([[-4.2484e-18,  4.2484e-18]])
    """
    top, _, odds = compared_with_top(logits)
    others = odds / (1 + odds.sum(1, keepdim=True))
    return others.scatter(1, top, -others.sum(1, keepdim=True))


def check_logits(logits: Tensor) -> None:
    """Refuse what is not a floating (B, C, ...) tensor with at least two classes.

    Raises:
        TypeError: If ``logits`` is not a floating tensor.
        ValueError: If it has fewer than two dimensions or classes.
    """
    if not isinstance(logits, Tensor):
        raise TypeError(
            f"Logits must be a tensor of shape (B, C), got {type(logits).__name__}. If the model returns something "
            "else (a dict, a tuple), say by name or position where they are, `task=ClassificationTask(output=...)`, or "
            "give a `task=` of your own whose `logits(model, inputs)` returns such a tensor, or that overrides "
            "`check` too. A function of `lightning_al.functional` takes `forward=lambda model, inputs: ...` instead."
        )
    if not logits.is_floating_point():
        raise TypeError(
            f"Logits must be floating point, got {logits.dtype}. Return the raw outputs of the last layer, not class "
            "indices, or give a `task=` whose `logits(model, inputs)` does."
        )
    if logits.ndim < 2 or logits.shape[1] < 2:
        raise ValueError(
            f"Logits must have shape (B, C) with C >= 2 classes, got {tuple(logits.shape)}. A model with one logit, "
            "for a sigmoid, has `task=BinaryTask()`, one that gives real values `task=RegressionTask()`."
        )


def _check_target(target: Tensor, logits: Tensor) -> None:
    if not isinstance(target, Tensor) or target.dtype not in (torch.int64, torch.int32):
        kind = target.dtype if isinstance(target, Tensor) else type(target).__name__
        raise TypeError(f"`target` must be a tensor of class indices, int64 or int32, got {kind}.")
    if target.shape != logits.shape[:1] + logits.shape[2:]:
        raise ValueError(
            f"`target` must have the shape of the logits without their classes, {(len(logits), *logits.shape[2:])} "
            f"here, got {tuple(target.shape)}."
        )


def count_classes(model: nn.Module, inputs: Any, forward: Forward | None = None) -> int:
    """Return how many classes the model tells apart, by its logits for the first of samples that are told apart."""
    return logits_shape(model, inputs, forward)[0]


def logits_shape(model: nn.Module, inputs: Any, forward: Forward | None = None) -> tuple[int, ...]:
    """Return the shape of the model's logits for the first of the samples, without the batch: (C, ...)."""
    logits = plain_outputs(model, slice_of(inputs, 0, 1), forward)
    check_logits(logits)
    return tuple(logits.shape[1:])


def pseudo_labels(logits: Tensor) -> Tensor:
    """Return the most likely class, (B, C, ...) -> (B, ...); the lowest index among ties."""
    check_logits(logits)
    return most_likely(logits)


def most_likely(logits: Tensor) -> Tensor:
    """Return ``logits.argmax(1)``, which takes five times as long on maps on a CPU."""
    return logits.detach().max(1).indices


def mean_cross_entropy(logits: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy of each sample, (B, C, ...), (B, ...) -> (B,), averaged over positions."""
    return mean_over_positions(cross_entropies(logits, target))


def cross_entropies(logits: Tensor, target: Tensor) -> Tensor:
    """Return the cross-entropy of every position, (B, C, ...), (B, ...) -> (B, ...)."""
    return cross_entropy(logits, target)


def check_class_indices(targets: Any, classes: int) -> None:
    """Refuse targets that cannot be classes.

    Raises:
        TypeError: If they are no tensor of integers.
        ValueError: If some are negative, or as many as ``classes`` or more.
    """
    if not isinstance(targets, Tensor) or targets.is_floating_point() or targets.is_complex():
        kind = targets.dtype if isinstance(targets, Tensor) else type(targets).__name__
        raise TypeError(f"`targets` must be a tensor of class indices, got {kind}. Other targets need a `loss_fn`.")
    wrong = targets[(targets < 0) | (targets >= classes)]
    if len(wrong):
        raise ValueError(f"`targets` must be class indices from 0 to {classes - 1}, got {int(wrong[0])}.")
