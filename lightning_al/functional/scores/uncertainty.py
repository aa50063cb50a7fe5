"""Uncertainty scores from one forward pass. Larger = more uncertain = more wanted.

The plural gives the value of every position, (B, ...); the singular their mean over a sample's positions, (B,).
"""

from torch import Tensor

from lightning_al.functional.scores.positions import mean_over_positions
from lightning_al.functional.scores.probabilities import check_logits, compared_with_top
from lightning_al.inference.precision import at_least_float32

_IMPOSSIBLE = -1e4
"""So far behind the likeliest class one has no probability, in float64 either (exp(-746) is 0); and -inf times 0 would
be no number."""


def entropy(logits: Tensor) -> Tensor:
    r"""Predictive entropy :math:`-\sum_c p_c \log p_c`.

    Args:
        logits: Floating (B, C), or (B, C, ...) for dense outputs, whose positions are averaged. A class masked out
            with ``-inf`` counts as probability 0. Half precision is raised to float32.

    Returns:
        Entropy in nats, (B,), between 0 and log C.

    Raises:
        TypeError: If ``logits`` is not a floating tensor.
        ValueError: If it does not have the shape (B, C, ...), C >= 2.

    Example:
        >>> import torch
        >>> entropy(torch.tensor([[0.0, 0.0], [9.0, 0.0]]))
        tensor([0.6931, 0.0012])
    """
    return mean_over_positions(entropies(logits))


def entropies(logits: Tensor) -> Tensor:
    """Return the entropy of every position, (B, C, ...) -> (B, ...), in nats.

    ``log1p(s) - Σ o b / (1 + s)`` with the odds o, their sum s and b as of
    :func:`~lightning_al.functional.scores.probabilities.compared_with_top`: no term is negative.
    """
    _, behind, odds = compared_with_top(logits)
    total = odds.sum(1)
    return total.log1p() - (odds * behind.clamp(min=_IMPOSSIBLE)).sum(1) / (1 + total)


def least_confidence(logits: Tensor) -> Tensor:
    r"""One minus the largest probability, :math:`1 - \max_c p_c` (SAAL's "variation ratio").

    Computed as a sum over the other classes, so that it does not round to 0 for confident samples.

    Args:
        logits: Floating (B, C) or (B, C, ...), whose positions are averaged.

    Returns:
        (B,), between 0 and 1 - 1/C.

    Raises:
        TypeError: If ``logits`` is not a floating tensor.
        ValueError: If it does not have the shape (B, C, ...), C >= 2.

    Example:
        >>> import torch
        >>> least_confidence(torch.tensor([[0.0, 0.0], [20.0, 0.0]]))
        tensor([5.0000e-01, 2.0612e-09])
    """
    return mean_over_positions(least_confidences(logits))


def least_confidences(logits: Tensor) -> Tensor:
    """Return one minus the largest probability of every position, (B, C, ...) -> (B, ...)."""
    total = compared_with_top(logits).odds.sum(1)
    return total / (1 + total)


def margin(logits: Tensor) -> Tensor:
    r"""Minus the gap of the two largest probabilities, :math:`-(p_{(1)} - p_{(2)})`.

    Args:
        logits: Floating (B, C) or (B, C, ...), whose positions are averaged.

    Returns:
        (B,), between -1 (certain) and 0 (an exact tie).

    Raises:
        TypeError: If ``logits`` is not a floating tensor.
        ValueError: If it does not have the shape (B, C, ...), C >= 2.

    Example:
        >>> import torch
        >>> margin(torch.tensor([[0.0, 0.0, -50.0], [100.0, 0.0, 0.0]]))
        tensor([ 0., -1.])
    """
    return mean_over_positions(margins(logits))


def margins(logits: Tensor) -> Tensor:
    """Return minus the gap of the two largest probabilities of every position, (B, C, ...) -> (B, ...)."""
    check_logits(logits)
    two = at_least_float32(logits).softmax(1).topk(2, dim=1).values
    return two[:, 1] - two[:, 0]
