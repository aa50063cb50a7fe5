"""How large the image of a sample is."""

from torch import Tensor
from torch.utils.data import Dataset

from lightning_al.tasks.base import Task


def image_size(dataset: Dataset, index: int, task: Task) -> tuple[int, int] | None:
    """Return width and height of a sample's input in pixels; None where it is no image.

    Args:
        dataset: Un-augmented.
        index: Of the sample.
        task: Finds the input in it.

    Example:
        >>> import torch
        >>> from lightning_al import ClassificationTask
        >>> image_size(torch.utils.data.TensorDataset(torch.zeros(1, 3, 4, 6), torch.zeros(1)), 0, ClassificationTask())
        (6, 4)
    """
    image = task.inputs(dataset[index])
    if isinstance(image, Tensor) or hasattr(image, "shape"):
        return (int(image.shape[-1]), int(image.shape[-2])) if image.ndim in (2, 3) else None
    size = getattr(image, "size", None)  # PIL's
    return (int(size[0]), int(size[1])) if isinstance(size, tuple) and len(size) == 2 else None
