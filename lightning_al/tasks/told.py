"""A told label in the type and shape of the one in whose place it comes, so that samples are collated as before."""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as pytree

_Number = (bool, int, float)


def like(old: Any, label: Any, new: Callable[[Any], Any]) -> Any:
    """Return ``label`` in the type and shape of ``old``, or as ``new(label)`` where these could not hold it.

    Example:
        >>> like(torch.zeros(1, dtype=torch.float64), 2, new=str), like(0.0, 2, new=str), like(None, 2, new=str)
        (tensor([2.], dtype=torch.float64), 2.0, '2')
    """
    if isinstance(old, Tensor):
        return of_kind(label, of_kind(old, _like_tensor(old, label))) if old.numel() == count_of(label) else new(label)
    if type(old).__module__ == "numpy":
        return _like_array(old, label) if old.size == count_of(label) else new(label)
    if isinstance(old, Mapping) and isinstance(label, Mapping):  # boxes and classes, say, of which there may be more
        return {name: of_kind(old.get(name), part) for name, part in label.items()}
    if isinstance(old, _Number) and isinstance(label, _Number):
        fits = isinstance(old, float) or type(old)(label) == label
        return type(old)(label) if fits else label
    if isinstance(old, (list, tuple)) and isinstance(label, (Tensor, list)) and len(old) == len(label):
        parts = label.tolist() if isinstance(label, Tensor) else label
        return type(old)(type(before)(part) for before, part in zip(old, parts, strict=True))
    return new(label)


def of_kind(old: Any, label: Any) -> Any:
    """Return a plain tensor as the kind that ``old`` is: torchvision moves no others beside its ``Image``."""
    if not isinstance(old, Tensor) or type(label) is not Tensor or type(old) in (Tensor, nn.Parameter):
        return label
    same_kind = label.as_subclass(type(old))
    vars(same_kind).update(vars(old))  # the format of boxes, the size of their image
    return same_kind


def beside(sample: Any, label: Any) -> Any:
    """Return a told map or boxes as torchvision's, where the sample has an image (of a map's size) for its transforms.

    They leave plain tensors beside an image where they are, so that the image alone would be moved.
    """
    if isinstance(label, Mapping) and type(label.get("boxes")) is Tensor and "torchvision" in sys.modules:
        size = next(filter(None, map(_image_size, pytree.tree_leaves(sample))), None)
        return label if size is None else {**label, "boxes": _moving(label["boxes"], size)}
    if type(label) is not Tensor or label.ndim < 2 or "torchvision" not in sys.modules:
        return label
    if any(size == tuple(label.shape[-2:]) for size in map(_image_size, pytree.tree_leaves(sample))):
        from torchvision.tv_tensors import Mask

        return label.as_subclass(Mask)
    return label


def _moving(boxes: Tensor, size: tuple[int, ...]) -> Tensor:
    from torchvision.tv_tensors import BoundingBoxes

    moving: Tensor = BoundingBoxes(boxes, format="XYXY", canvas_size=size)
    return moving


def _image_size(entry: Any) -> tuple[int, ...] | None:
    """Return height and width of what torchvision's transforms take for an image."""
    where = type(entry).__module__
    if isinstance(entry, Tensor):
        of_image = where.startswith("torchvision.tv_tensors") and type(entry).__name__ in ("Image", "Video")
        return tuple(entry.shape[-2:]) if of_image else None
    return tuple(reversed(entry.size)) if where.startswith("PIL.") else None


def _like_tensor(old: Tensor, label: Any) -> Tensor:
    import numpy as np

    given = label if isinstance(label, Tensor) else torch.as_tensor(np.asarray(label))  # in double precision
    given = given.as_subclass(Tensor)  # type: ignore[arg-type]
    fits = given.to(old.dtype)
    if not old.is_floating_point() and bool((fits.to(given.dtype) != given).any()):  # a fraction, or out of its range
        fits = given.to(torch.get_default_dtype()) if given.is_floating_point() else given
    return fits.reshape(_shape_for(old.shape, given.shape))


def _like_array(old: Any, label: Any) -> Any:
    import numpy as np

    given = np.asarray(label)
    with np.errstate(invalid="ignore"):
        fits = given.astype(old.dtype)
    if old.dtype.kind in "iub" and bool((fits.astype(given.dtype) != given).any()):
        fits = given.astype(np.float32) if given.dtype.kind == "f" else given
    values = fits.reshape(_shape_for(old.shape, given.shape))
    return values if isinstance(old, np.ndarray) else values[()]


def _shape_for(old: Sequence[int], given: Sequence[int]) -> Sequence[int]:
    """Return the shape that values get: the old one, unless they are a map of another height and width."""
    plain, plain_old = [n for n in given if n != 1], [n for n in old if n != 1]
    return given if len(plain) > 1 and plain != plain_old else old


def count_of(label: Any) -> int:
    """How many numbers a label is of."""
    if isinstance(label, (list, tuple)):
        return sum(map(count_of, label))
    return label.numel() if isinstance(label, Tensor) else int(getattr(label, "size", 1))
