"""The boxes that a detector keeps of an image, with the class scores that they were kept by."""

from dataclasses import dataclass, replace

from torch import Tensor


@dataclass(frozen=True)
class KeptBoxes:
    """The n boxes that are left of an image after score threshold and non-maximum suppression, best first.

    Attributes:
        logits: All class scores of each as the model has them, before softmax or sigmoid, (n, C).
        anchors: Where each comes from: the number of its anchor or proposal, (n,).
        boxes: Corners (left, top, right, bottom) in pixels of the image, (n, 4).
        labels: The class that each was kept as, (n,).
        scores: The score it was kept by, (n,).
    """

    logits: Tensor
    anchors: Tensor
    boxes: Tensor
    labels: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.anchors)

    def above(self, threshold: float) -> "KeptBoxes":
        """Return those whose score is higher."""
        names = ("logits", "anchors", "boxes", "labels", "scores")
        is_above = self.scores > threshold
        return replace(self, **{name: getattr(self, name)[is_above] for name in names})
