"""The loss by which predicted losses are learnt."""

import torch
from torch import Tensor

from lightning_al.checks import Findings, check_choice, check_number, check_tensor
from lightning_al.inference.precision import at_least_float32

VARIANTS = ("pairs", "paper")


def check_loss_prediction(margin: float, variant: str, *, prefix: str = "") -> None:
    """Refuse a ``margin`` or ``variant`` that :func:`loss_prediction_loss` does not know.

    Args:
        margin: Of the ranking.
        variant: Of the loss.
        prefix: What stands before these names where the options are told.

    Raises:
        TypeError: If ``margin`` is no number.
        ValueError: With the value seen and the values allowed.
    """
    with Findings() as findings:
        findings.of(check_number, f"{prefix}margin", margin, above=0)
        findings.of(check_choice, f"{prefix}variant", variant, VARIANTS)


def loss_prediction_loss(predicted: Tensor, losses: Tensor, *, margin: float = 1.0, variant: str = "pairs") -> Tensor:
    r"""How far predicted losses are from the order of the real ones (Yoo & Kweon, CVPR 2019, Eq. 1-2).

    The scale of the losses changes while a model is trained, so that only their order is learnt. Sample :math:`i` is
    compared with :math:`j = B-1-i`, for :math:`i < \lfloor B/2 \rfloor`:

    .. math:: \frac{1}{\lfloor B/2 \rfloor} \sum_i \max\bigl(0,\; m - d_i (\hat\ell_i - \hat\ell_j)\bigr),
              \qquad d_i = \begin{cases} +1 & \ell_i > \ell_j \\ -1 & \text{otherwise} \end{cases}

    The middle sample of an odd batch is left out (the authors ask for even batches). A batch of one sample has no pair:
    the loss is 0, with gradients of 0.

    ``variant="paper"`` is what the LPLgrad paper prints (Gul et al., 2024, Eq. 2-3) and its code does not run: no
    pairs, each prediction beside its own loss,

    .. math:: \frac{1}{B} \sum_i \max\bigl(0,\; m - d_i (\hat\ell_i - \ell_i)\bigr), \qquad d_i = \max(0, \ell_i)

    All it asks for is :math:`\hat\ell_i \ge \ell_i + m / \ell_i`, which is no order of the losses: it is there for
    comparison.

    Args:
        predicted: (B,), of the module.
        losses: (B,), of the main task; they are constants here, whatever graph they have.
        margin: :math:`m`, above 0.
        variant: ``"pairs"``, or ``"paper"``.

    Returns:
        A number, in float32 at least.

    Raises:
        ValueError: If an option is unknown, or the shapes are not both (B,) with B at least 1.

    Example:
        >>> predicted = torch.tensor([2.0, 0.5, 9.0, 1.0, 0.0])
        >>> losses = torch.tensor([3.0, 0.1, 0.2, 0.3, 1.0])
        >>> loss_prediction_loss(predicted, losses)  # pairs (0, 4), by a margin of 2, and (1, 3), by 0.5
        tensor(0.2500)
        >>> loss_prediction_loss(torch.tensor([1.0]), torch.tensor([2.0]), variant="paper")  # 1 - 2 * (1 - 2)
        tensor(3.)
    """
    check_loss_prediction(margin, variant)
    for name, values in (("predicted", predicted), ("losses", losses)):
        check_tensor(name, values)
    if predicted.ndim != 1 or predicted.shape != losses.shape or not len(predicted):
        raise ValueError(
            "`predicted` and `losses` must both be (B,), one number for each sample, got shapes "
            f"{tuple(predicted.shape)} and {tuple(losses.shape)}."
        )
    predicted = at_least_float32(predicted)
    losses = losses.detach().to(predicted)
    if variant == "paper":
        return (margin - losses.clamp(min=0) * (predicted - losses)).clamp(min=0).mean()
    half = len(predicted) // 2
    if half == 0:
        return predicted[:0].sum()
    one = torch.ones_like(losses[:half])
    sign = torch.where(losses[:half] > losses.flip(0)[:half], one, -one)
    return (margin - sign * (predicted[:half] - predicted.flip(0)[:half])).clamp(min=0).mean()
