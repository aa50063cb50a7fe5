"""How large the image of a sample is."""

import contextlib
from typing import Any

from torch import Tensor
from torch.utils.data import Dataset

from lightning_al.data.readable import readable
from lightning_al.data.validation import spread_over
from lightning_al.tasks.annotations import Boxes
from lightning_al.tasks.base import Task
from lightning_al.tasks.keys import file_of
from lightning_al.tasks.texts import input_entries

_CHANNELS = (1, 3, 4)


def image_size(dataset: Dataset, index: int, task: Task) -> tuple[int, int] | None:
    """Return width and height of a sample's input in pixels, of several that of the first image; None: there is none.

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
    return _size_of(image_in(dataset, index, task))


def image_in(dataset: Dataset, index: int, task: Task) -> Any:
    """Return a sample's input, of several the first that is an image; None: there is none.

    What has no channels may be rows of something else, as of boxes: it is an image where nothing else is.
    """
    values = [entry.value for entry in input_entries(task, dataset[index])]
    images = [value for value in values if _size_of(value) is not None]
    return next((image for image in images if len(getattr(image, "shape", ())) != 2), next(iter(images), None))


def _size_of(image: Any) -> tuple[int, int] | None:
    if isinstance(image, Tensor) or hasattr(image, "shape"):
        shape = tuple(map(int, image.shape))
        if len(shape) == 3:
            is_last = shape[-1] in _CHANNELS and shape[0] not in _CHANNELS
            shape = shape[:2] if is_last else shape[1:]
        return (shape[1], shape[0]) if len(shape) == 2 else None
    size = getattr(image, "size", None)  # PIL's
    return (int(size[0]), int(size[1])) if isinstance(size, tuple) and len(size) == 2 else None


def label_size(dataset: Dataset, index: int, task: Task) -> tuple[int, int] | None:
    """Return in what image labels of a sample have their places, width and height, as the dataset gives it.

    None where they are neither masks nor boxes, or it is not known.

    Args:
        dataset: Un-augmented.
        index: Of the sample.
        task: Says what its labels are.
    """
    if task.annotation_kind not in ("mask", "boxes"):
        return None
    with contextlib.suppress(Exception):  # a sample that cannot be read is a matter of the pool pass
        return image_size(dataset, index, task)
    return None


def drawn_size(dataset: Dataset, index: int, task: Task) -> tuple[int, int] | None:
    """Return width and height of what people see of a sample where they draw: of its file, where it has one.

    Of masks it is what the dataset gives, as they must be.

    Args:
        dataset: Un-augmented.
        index: Of the sample.
        task: Finds the input in it.

    Raises:
        ValueError: If the dataset gives the image in other proportions than the file's, where boxes are drawn.
    """
    given = image_size(dataset, index, task)
    path = file_of(dataset, index) if task.annotation_kind == "boxes" else None
    if path is None:
        return given
    try:
        from PIL import Image

        with Image.open(path) as image:
            size = (image.width, image.height)
    except (ImportError, OSError):  # no file that people look at
        return given
    Boxes((), (), size=size).in_pixels_of(given)
    return size


def check_drawn(dataset: Dataset, task: Task) -> None:
    """Refuse images whose files have other proportions, where people draw boxes in the files.

    Looks at one.

    Args:
        dataset: Un-augmented.
        task: Finds the input in a sample.

    Raises:
        ValueError: With both sizes.
    """
    if task.annotation_kind == "boxes":
        for index in readable(dataset, range(len(dataset)), 1):  # type: ignore[arg-type]
            drawn_size(dataset, index, task)


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
    sizes = list(dict.fromkeys(size for size in (label_size(dataset, row, task) for row in rows) if size is not None))
    if len(sizes) > 1:
        one, other = (" × ".join(map(str, size[::-1])) for size in sizes[:2])
        raise ValueError(
            f"Images have several sizes, such as {one} and {other} pixels (height × width), and parts are asked for "
            "by their places in the image itself, which a padded batch does not know. Score them one by one, "
            "`pool_batch_size=1`, or bring them to one size in the dataset."
        )
