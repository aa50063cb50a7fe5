"""The boxes that a detector keeps of an image, with the class scores that they were kept by."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import one_hot


@dataclass(frozen=True)
class KeptBoxes:
    """The n boxes that are left of an image after score threshold and non-maximum suppression, best first.

    Attributes:
        logits: All class scores of each as the model has them, before softmax or sigmoid, (n, C).
        anchors: Where each comes from: the number of its anchor or proposal, (n,).
        boxes: Corners (left, top, right, bottom) in pixels of the image, (n, 4).
        labels: The class that each was kept as, (n,).
        scores: The score it was kept by, (n,).
        exclusive: Whether a box has one of the C classes (softmax), or each of them by itself (sigmoid).
    """

    logits: Tensor
    anchors: Tensor
    boxes: Tensor
    labels: Tensor
    scores: Tensor
    exclusive: bool = True

    def __len__(self) -> int:
        return len(self.anchors)

    def above(self, threshold: float) -> "KeptBoxes":
        """Return those whose score is higher."""
        names = ("logits", "anchors", "boxes", "labels", "scores")
        is_above = self.scores > threshold
        return replace(self, **{name: getattr(self, name)[is_above] for name in names})


def decisions(logits: Tensor, exclusive: bool) -> Tensor:
    """Return class scores (n, C) of boxes as scores take them, (n, C), or (n, 2, C): a yes or no to each class.

    Example:
        >>> decisions(torch.tensor([[3.0, -1.0]]), exclusive=False)
        tensor([[[ 0.,  0.],
                 [ 3., -1.]]])
    """
    return logits if exclusive else torch.stack((torch.zeros_like(logits), logits), 1)


def labels_of_decisions(labels: Tensor, classes: int, exclusive: bool) -> Tensor:
    """Return the classes of boxes, (n,), as the labels of their :func:`decisions`, (n,) or (n, C)."""
    return labels if exclusive else one_hot(labels, classes)
