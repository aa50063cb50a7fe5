"""How large the image of a sample is."""

import contextlib

from torch import Tensor
from torch.utils.data import Dataset

from lightning_al.data.readable import readable
from lightning_al.data.validation import spread_over
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


def mask_size(dataset: Dataset, index: int, task: Task) -> tuple[int, int] | None:
    """Return what size a mask of a sample must be, width and height; None where the task has none, or it is not known.

    Args:
        dataset: Un-augmented.
        index: Of the sample.
        task: Says whether masks are its labels.
    """
    if task.annotation_kind != "mask":
        return None
    with contextlib.suppress(Exception):  # a sample that cannot be read is a matter of the pool pass
        return image_size(dataset, index, task)
    return None


def check_one_size(dataset: Dataset, task: Task, *, batch_size: int) -> None:
    """Refuse images of several sizes that are padded to one in a batch, where parts of them are asked for.

    Args:
        dataset: Un-augmented.
        task: Finds the input in a sample.
        batch_size: Of the batches that are scored.

    Raises:
        ValueError: With two sizes.
    """
    if batch_size == 1:
        return
    rows = readable(dataset, spread_over(len(dataset)))  # type: ignore[arg-type]
    sizes = list(dict.fromkeys(size for size in (mask_size(dataset, row, task) for row in rows) if size is not None))
    if len(sizes) > 1:
        one, other = (" × ".join(map(str, size[::-1])) for size in sizes[:2])
        raise ValueError(
            f"Images have several sizes, such as {one} and {other} pixels (height × width), and parts are asked for "
            "by their places in the image itself, which a padded batch does not know. Score them one by one, "
            "`pool_batch_size=1`, or bring them to one size in the dataset."
        )
