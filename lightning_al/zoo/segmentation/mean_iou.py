"""The mean intersection over union, over all classes or some."""

from typing import Any

import torch
from torch import Tensor
from torchmetrics.classification import MulticlassConfusionMatrix


class MeanIoU(MulticlassConfusionMatrix):
    """Of all pixels seen: intersection over union of each class, and the mean over those that occur.

    A class that neither was there nor was predicted has no value and is left out, as in torchmetrics'
    ``MulticlassJaccardIndex``, which has no mean over some classes.

    Args:
        num_classes: Number of classes.
        ignore_index: The target of pixels that do not count.
        over: The classes that the mean is over. None: all.

    Example:
        >>> metric = MeanIoU(3)
        >>> metric(torch.tensor([[0, 0, 1, 1]]), torch.tensor([[0, 1, 1, 255]]))  # 1/2 and 1/2
        tensor(0.5000)
    """

    def __init__(
        self, num_classes: int, ignore_index: int = 255, over: list[int] | None = None, **options: Any
    ) -> None:
        # Looking at the targets of each batch would take longer than counting them.
        super().__init__(num_classes, ignore_index=ignore_index, validate_args=False, **options)
        self.over = list(range(num_classes)) if over is None else list(over)

    def compute(self) -> Tensor:
        """Return the mean, a scalar; 0 if no class occurs."""
        counts = self.confmat.cpu().double()
        both = counts.diag()
        either = counts.sum(0) + counts.sum(1) - both
        of_class = (both / either.clamp(min=1))[self.over]
        occurs = either[self.over] > 0
        return torch.where(occurs, of_class, 0).sum().div(occurs.sum().clamp(min=1)).float().to(self.confmat.device)
