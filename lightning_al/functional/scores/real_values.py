"""What several predictions of real values disagree about: passes with dropout, or members of a committee.

Larger = more wanted. Scores take the values that K passes or members predict, (B, K), or (B, K, M) for M outputs: the
plural gives the value of every output, (B, ...); the singular their mean over a sample's outputs, (B,).
"""

import torch
from torch import Tensor

from lightning_al.checks import check_tensor
from lightning_al.functional.scores.positions import mean_over_positions
from lightning_al.inference.precision import at_least_float32


def prediction_variance(values: Tensor) -> Tensor:
    r"""Variance of several predictions of real values, how much they disagree.

    .. math:: \frac1K \sum_k (y_k - \bar y)^2, \qquad \bar y = \frac1K \sum_k y_k

    Of members of a committee it is the "ambiguity" of Krogh & Vedelsby (NeurIPS 1994), of passes with dropout the part
    of the predictive variance that differs between samples (Gal & Ghahramani, ICML 2016, without the constant
    :math:`\tau^{-1}`).

    Args:
        values: Floating (B, K), or (B, K, ...) for several outputs, whose variances are averaged.

    Returns:
        (B,), in the square of the unit of ``values``.

    Raises:
        TypeError: If ``values`` is not a floating tensor.
        ValueError: If it has another shape.

    Example:
        >>> prediction_variance(torch.tensor([[1.0, 3.0], [2.0, 2.0]]))
        tensor([1., 0.])
    """
    return mean_over_positions(prediction_variances(values))


def prediction_variances(values: Tensor) -> Tensor:
    """Return the variance of the predictions of every output, (B, K, ...) -> (B, ...)."""
    _check_values(values)
    values = at_least_float32(values)
    return (values - values.mean(1, keepdim=True)).square().mean(1)


def model_change(values: Tensor, own: Tensor, features: Tensor) -> Tensor:
    r"""Expected length of the change that a sample's label would make to the last layer (Cai et al., ICDM 2013).

    .. math:: \frac1K \sum_k \bigl\lVert (f(x) - y_k) \otimes h \bigr\rVert_2
              = \lVert h \rVert_2 \; \frac1K \sum_k \lVert f(x) - y_k \rVert_2

    the gradient of :math:`\frac12 \lVert f(x) - y \rVert^2` towards the last layer's weights (its bias left out), with
    predictions :math:`y_k` in the place of the label that is not known. "Maximizing Expected Model Change for Active
    Learning in Regression", which has it for linear models, where :math:`h = x`. Where this differs: :math:`h` is what
    the last layer gets; their :math:`y_k` are of fits on bootstrap samples of what is labelled, ours of whatever
    passes or members are handed in.

    Args:
        values: Floating (B, K), or (B, K, ...) for several outputs: :math:`y_k`.
        own: The model's own prediction :math:`f(x)`, (B,) or (B, ...).
        features: What the last layer gets, :math:`h`, (B, d).

    Returns:
        (B,).

    Raises:
        TypeError: If ``values`` is not a floating tensor.
        ValueError: If it has another shape.

    Example:
        >>> model_change(torch.tensor([[1.0, 5.0]]), torch.tensor([2.0]), torch.tensor([[3.0, 4.0]]))
        tensor([10.])
    """
    _check_values(values)
    check_tensor("own", own)
    check_tensor("features", features)
    if own.shape != values.shape[:1] + values.shape[2:] or features.ndim != 2 or len(features) != len(values):
        raise ValueError(
            "`values` (B, K, ...), `own` (B, ...) and `features` (B, d) must be of the same samples and outputs, got "
            f"{tuple(values.shape)}, {tuple(own.shape)} and {tuple(features.shape)}."
        )
    errors = at_least_float32(values) - at_least_float32(own).unsqueeze(1)
    lengths = torch.linalg.vector_norm(errors.flatten(2), dim=2) if errors.ndim > 2 else errors.abs()
    return torch.linalg.vector_norm(at_least_float32(features), dim=1) * lengths.mean(1)


def _check_values(values: Tensor) -> None:
    if not isinstance(values, Tensor) or not values.is_floating_point():
        kind = values.dtype if isinstance(values, Tensor) else type(values).__name__
        raise TypeError(f"`values` must be a floating tensor (B, K, ...), got {kind}.")
    if values.ndim < 2 or values.shape[1] < 1:
        raise ValueError(f"`values` must have shape (B, K, ...) with K >= 1 predictions, got {tuple(values.shape)}.")
