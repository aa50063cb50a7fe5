"""The losses of variational adversarial active learning, and the uncertainty that relabels states."""

import torch
from torch import Tensor
from torch.nn import functional as F

from lightning_al.checks import check_choice, check_tensor
from lightning_al.inference.precision import at_least_float32

_ROUNDING = 1e-3  # of what sums to 1, at least
REDUCTIONS = ("sample", "mean", "code", "batch")


def check_reduction(reduction: str) -> None:
    """Refuse a ``reduction`` that :func:`vae_loss` does not know.

    Raises:
        ValueError: With the value seen and the values allowed.
    """
    check_choice("reduction", reduction, REDUCTIONS)


def vae_loss(
    reconstruction: Tensor,
    inputs: Tensor,
    mean: Tensor,
    log_variance: Tensor,
    *,
    beta: float = 1.0,
    weight: float = 1.0,
    reduction: str = "sample",
) -> Tensor:
    r"""How badly inputs were encoded and decoded (Higgins et al., ICLR 2017; VAAL, Eq. 1; SRAAL, Eq. 2).

    .. math:: w \lVert \hat x - x \rVert^2 + \beta \, \mathrm{KL}, \qquad
              \mathrm{KL} = -\tfrac12 \sum_j (1 + \log \sigma_j^2 - \mu_j^2 - \sigma_j^2)

    KL is the divergence of :math:`\mathcal N(\mu, \mathrm{diag}\, \sigma^2)` from the standard normal distribution.

    Args:
        reconstruction: (B, ...).
        inputs: Of the same shape.
        mean: :math:`\mu`, (B, latent).
        log_variance: :math:`\log \sigma^2`, of the same shape.
        beta: :math:`\beta`.
        weight: :math:`w`.
        reduction: ``"sample"``: both terms are sums over a sample's values, and means over the batch, so that they
            are a bound of the likelihood. ``"mean"``: each is a mean, the square over all values, the divergence over
            samples and latent dimensions. ``"code"``, what SRAAL's authors' code computes: the square is a mean over
            all values, the divergence a sum over a sample's latent dimensions and a mean over the batch. ``"batch"``,
            what VAAL's authors' code computes: the square is a mean over all values, the divergence a sum over the
            batch too; it then outweighs the square by far, and :math:`\mu` says next to nothing of an image.

    Returns:
        A number, in float32 at least.

    Raises:
        ValueError: If ``reduction`` is unknown, or the shapes do not fit.

    Example:
        >>> zero = torch.zeros(2, 1)
        >>> vae_loss(torch.ones(2, 3), torch.zeros(2, 3), zero, zero)
        tensor(3.)
        >>> vae_loss(torch.ones(2, 3), torch.zeros(2, 3), zero, zero, reduction="batch")
        tensor(1.)
        >>> one = torch.ones(2, 4)  # a divergence of 1/2 in each of four dimensions
        >>> [float(vae_loss(one, one, one, 0 * one, reduction=name)) for name in ("mean", "code", "batch")]
        [0.5, 2.0, 4.0]
    """
    check_reduction(reduction)
    _check_tensors(reconstruction=reconstruction, inputs=inputs, mean=mean, log_variance=log_variance)
    if reconstruction.shape != inputs.shape or mean.shape != log_variance.shape or len(mean) != len(inputs):
        raise ValueError(
            "`reconstruction` must have the shape of `inputs`, `mean` that of `log_variance`, all with the same batch; "
            f"got {[tuple(t.shape) for t in (reconstruction, inputs, mean, log_variance)]}."
        )
    reconstruction, mean, log_variance = map(at_least_float32, (reconstruction, mean, log_variance))
    squares = (reconstruction - inputs.to(reconstruction.dtype)).square()
    divergences = -0.5 * (1 + log_variance - mean.square() - log_variance.exp())
    square = squares.flatten(1).sum(1).mean() if reduction == "sample" else squares.mean()
    if reduction == "mean":
        return weight * square + beta * divergences.mean()
    divergence = divergences.sum() if reduction == "batch" else divergences.sum() / len(mean)
    return weight * square + beta * divergence


def adversarial_loss(labelled: Tensor, unlabelled: Tensor) -> Tensor:
    """How far a discriminator is from taking all samples for labelled ones (VAAL, Eq. 2).

    The mean cross-entropy with "labelled" over each of both batches, added.

    Args:
        labelled: Logits of "labelled", (B,), for a batch of labelled samples.
        unlabelled: The same for one of unlabelled samples; its size may differ.

    Returns:
        A number.

    Example:
        >>> adversarial_loss(torch.zeros(2), torch.zeros(3))
        tensor(1.3863)
    """
    _check_tensors(labelled=labelled, unlabelled=unlabelled)
    return -F.logsigmoid(at_least_float32(labelled)).mean() - F.logsigmoid(at_least_float32(unlabelled)).mean()


def discriminator_loss(labelled: Tensor, unlabelled: Tensor, targets: Tensor | None = None) -> Tensor:
    r"""How badly a discriminator tells both kinds of samples apart (VAAL, Eq. 3; SRAAL, Eq. 6).

    The mean binary cross-entropy over each of both batches, added; labelled samples have the target 1.

    Args:
        labelled: Logits of "labelled", (B,), for a batch of labelled samples.
        unlabelled: The same for one of unlabelled samples; its size may differ.
        targets: Of the unlabelled samples, each from 0 to 1: SRAAL's :math:`1 - u`. Default 0.

    Returns:
        A number.

    Example:
        >>> discriminator_loss(torch.tensor([40.0]), torch.tensor([0.0, -40.0]))
        tensor(0.3466)
    """
    _check_tensors(labelled=labelled, unlabelled=unlabelled)
    unlabelled = at_least_float32(unlabelled)
    goals = torch.zeros_like(unlabelled) if targets is None else targets.to(unlabelled)
    return -F.logsigmoid(at_least_float32(labelled)).mean() + F.binary_cross_entropy_with_logits(unlabelled, goals)


def state_uncertainty(probabilities: Tensor) -> Tensor:
    r"""SRAAL's uncertainty, by which it relabels the state of unlabelled samples (Zhang et al., CVPR 2020, Eq. 4-5).

    .. math:: u = 1 - m \, \frac{\mathrm{MinVar}}{\mathrm{Var}(p)}, \quad m = \max_c p_c, \quad
              \mathrm{MinVar} = \tfrac1C \Bigl[\bigl(\tfrac1C - m\bigr)^2
              + (C-1) \bigl(\tfrac1C - \tfrac{1-m}{C-1}\bigr)^2\Bigr]

    The variance is over the classes, the population's, so that a one-hot :math:`p` has :math:`u = 0`. MinVar is the
    least variance that a distribution with this maximum can have. Where the variance is below 1e-12, as for uniform
    :math:`p`, the ratio is taken as 1, its value for all :math:`p` whose other entries are equal: :math:`u = 1 - 1/C`,
    the largest of those. (The ratio has no limit there, and :math:`p` with several equal maxima has a larger
    :math:`u` for C > 2.) Computed in float64.

    Args:
        probabilities: (B, C), rows that sum to 1, C of at least 2.

    Returns:
        (B,) float64, from 0 to 1.

    Raises:
        TypeError: If ``probabilities`` is no floating tensor.
        ValueError: If the shape is another, or they are no probabilities that sum to 1.

    Example:
        >>> state_uncertainty(torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25], [0.5, 0.5, 0.0, 0.0]]))
        tensor([0.0000, 0.7500, 0.8333], dtype=torch.float64)
    """
    _check_tensors(probabilities=probabilities)
    if not probabilities.is_floating_point():
        raise TypeError(f"`probabilities` must be floating point, got {probabilities.dtype}.")
    if probabilities.ndim != 2 or probabilities.shape[1] < 2:
        raise ValueError(f"`probabilities` must be (B, C) with C >= 2, got shape {tuple(probabilities.shape)}.")
    p = probabilities.double()
    room = max(_ROUNDING, 4 * torch.finfo(probabilities.dtype).eps)
    wrong = ((p < -room) | (p > 1 + room)).any(1) | ((p.sum(1) - 1).abs() > room)
    if bool(wrong.any()):
        raise ValueError(
            f"`probabilities` must be from 0 to 1 and sum to 1 over the classes, got {p[wrong][0].tolist()[:4]}, which "
            f"sum to {float(p[wrong][0].sum()):.4g}: logits need a `softmax(1)`."
        )
    classes = p.shape[1]
    largest = p.amax(1)
    rest = (1 - largest) / (classes - 1)
    least = ((1 / classes - largest).square() + (classes - 1) * (1 / classes - rest).square()) / classes
    variance = p.var(1, correction=0)
    known = (variance < 1e-12) | (largest == 1)
    ratio = torch.where(known, 1.0, least / variance.masked_fill(known, 1.0))
    return (1 - largest * ratio).clamp(0, 1)


def _check_tensors(**tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        check_tensor(name, tensor)
