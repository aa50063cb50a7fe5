"""What RIPU's training adds to the cross-entropy of labelled pixels (Xie et al., CVPR 2022)."""

import torch
from torch import Tensor
from torch.nn import functional as F


def local_consistency_loss(logits: Tensor, targets: Tensor, ignore_index: int = 255) -> Tensor:
    """Return by how much predictions differ from those around them, on the boundaries of the classes.

    The mean over boundary pixels of ``Σ_c |p_c - mean of p_c in the 3x3 window|``; beyond the image its border goes on.
    A boundary pixel has a class, and 8 times its number less the numbers of its 8 neighbours is not 0. Beyond the image
    numbers are 0, so that the image's border is a boundary but for class 0. (So it is in the authors' code. Where
    neighbours differ, but add up to 8 times the pixel's number, their boundary has a gap, and so has this one.)

    Args:
        logits: (B, C, H, W).
        targets: Class of each pixel (B, H, W), or ``ignore_index``, a number like others to its neighbours.
        ignore_index: The target of pixels that do not count.

    Returns:
        A scalar; 0 if there is no boundary. (Theirs is not a number then.)

    Example:
        >>> logits = torch.zeros(1, 2, 3, 4)
        >>> float(local_consistency_loss(logits, torch.tensor([[[0, 0, 1, 1]] * 3])))  # predictions are the same
        0.0
    """
    p = logits.softmax(1)
    around = F.avg_pool2d(F.pad(p, (1, 1, 1, 1), mode="replicate"), 3, stride=1)
    numbers = F.pad(targets, (1, 1, 1, 1))
    height, width = targets.shape[-2:]
    of_window = sum(numbers[:, i : i + height, j : j + width] for i in range(3) for j in range(3))
    at_boundary = (9 * targets != of_window) & (targets != ignore_index)
    differences = (p - around).abs().sum(1)
    return torch.where(at_boundary, differences, 0).sum() / at_boundary.sum().clamp(min=1)


def negative_learning_loss(logits: Tensor, below: float = 0.05) -> Tensor:
    """Return how far classes that are unlikely are from being ruled out; it needs no labels.

    The mean of ``-log(1 - p + 1e-6)`` over all pixels and classes of which ``p < below``.

    Args:
        logits: (B, C, H, W).
        below: Probabilities less than this count.

    Returns:
        A scalar; 0 if no probability is so low.

    Example:
        >>> float(negative_learning_loss(torch.tensor([[[[4.0]], [[0.0]]]])))  # p = 0.018 of the second class
        0.018...
    """
    p = logits.softmax(1)
    unlikely = p < below
    return torch.where(unlikely, -torch.log(1 - p + 1e-6), 0).sum() / unlikely.sum().clamp(min=1)
