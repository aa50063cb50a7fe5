"""Masks as labels: told in many forms, checked, and kept as PNG files beside the ledger."""

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al.storage.blobs import Blob
from lightning_al.tasks.annotations import Annotation, Mask, annotation_of
from lightning_al.tasks.mask_png import kept_values, mask_blob, mask_from_image, mask_from_png, not_said, not_said_in
from lightning_al.words import shown


class MaskLabels:
    """The labels of a task of one class for each pixel, which knows ``num_classes`` and ``ignore_index``.

    In the ledger a mask is a PNG (:class:`~lightning_al.storage.blobs.Blob`) of 8 bits in which 255 is no class, or
    with more than 255 classes of 16 bits in which 65535 is, whatever ``ignore_index`` is in the data.
    """

    annotation_kind: str | None = "mask"
    num_classes: int
    ignore_index: int | None

    def encode_label(self, label: Any) -> Blob:
        """Return a mask as a PNG for the ledger.

        Args:
            label: Integers (H, W), or (1, H, W): a tensor, an array, rows. Or an image of Pillow's, indexed or grey,
                the path of such a PNG file, or a ``Mask``; in these 255 (of 16 bits 65535) is no class too.

        Raises:
            TypeError: If it is no mask.
            ValueError: If a value is no class, or it is of a file that cannot be read.
        """
        values, no_class = _read(label)
        stored = self._stored(values, no_class)
        if isinstance(label, Blob) and stored.dtype == values.dtype and np.array_equal(stored, values):
            return label
        return mask_blob(stored)

    def blank_target(self, example: Any, inputs: Any) -> Any:
        """Return what stands for the mask of an image that has none: an example's; of another size no class."""
        if isinstance(inputs, (dict, tuple)):  # several
            inputs = max(pytree.tree_leaves(inputs), key=lambda each: getattr(each, "ndim", 0), default=None)
        ignored, maps = self.ignore_index, (example, inputs)
        if ignored is None or not all(isinstance(each, Tensor) and each.ndim >= 2 for each in maps):
            return example
        if example.is_floating_point() or example.shape[-2:] == inputs.shape[-2:]:
            return example
        limits = torch.iinfo(example.dtype)
        if not limits.min <= ignored <= limits.max:
            return example
        return torch.full((*example.shape[:-2], *inputs.shape[-2:]), ignored, dtype=example.dtype)

    def decode_label(self, value: Any) -> Tensor:
        """Return the mask as a tensor (H, W) of int64, in which no class is ``ignore_index``."""
        if not isinstance(value, Blob):  # of a ledger that had masks as rows
            return torch.as_tensor(value)
        values = mask_from_png(value.data)
        meanings = np.arange(1 + np.iinfo(values.dtype).max)  # a table is many times faster than comparing pixels
        if self.ignore_index is not None:
            meanings[not_said_in(values)] = self.ignore_index
        return torch.from_numpy(np.take(meanings, values))

    def check_label(self, value: Any) -> None:
        """Refuse a mask of the ledger in which a value is no class.

        Raises:
            ValueError: Naming it, or the file that cannot be read.
        """
        self._stored(*_read(value))

    def to_annotation(self, label: Any, classes: Sequence[str] | None) -> Annotation:
        """Return a label as a ``Mask``."""
        return annotation_of(self.encode_label(label), classes)

    def from_annotation(self, annotation: Annotation, classes: Sequence[str] | None) -> Blob:
        """Return a ``Mask`` as a PNG.

        Raises:
            TypeError: If it is none.
            ValueError: If a value is no class.
        """
        if not isinstance(annotation, Mask):
            raise TypeError(f"`{type(self).__name__}` takes a mask, got {shown(annotation)}.")
        return self.encode_label(annotation)

    def _stored(self, values: np.ndarray, no_class: int | None) -> np.ndarray:
        """Return values as they are kept, refusing what is no class."""
        count, ignored = self.num_classes, self.ignore_index
        voids = [
            each for each in (ignored, no_class if no_class is None or no_class >= count else None) if each is not None
        ]
        kept = kept_values(values, count, voids)
        unknown = int((kept == not_said(count)).sum())
        if ignored is None and unknown:
            raise ValueError(
                f"A mask says nothing of {unknown} of its pixels, and the task has no `ignore_index` for them: give it "
                "one, or tell the class of every pixel."
            )
        return kept


def _read(label: Any) -> tuple[np.ndarray, int | None]:
    """Return the values of a mask in any form, (H, W), and what stands for no class in it beside ``ignore_index``."""
    if isinstance(label, Mask):
        return label.values, label.not_said
    if isinstance(label, Blob):
        values = _of_file(label.data, str(label.path or label.name))
    elif isinstance(label, (str, PurePath)):
        path = Path(label)
        if not path.is_file():
            raise ValueError(
                f"There is no file {shown(str(label))}: a mask is told by its values, or the path of a PNG."
            )
        values = _of_file(path.read_bytes(), str(path))
    elif hasattr(label, "getbands"):  # an image of Pillow's
        values = mask_from_image(label)
    else:
        return _of_numbers(label), None
    return values, not_said_in(values)


def _of_file(data: bytes, name: str) -> np.ndarray:
    try:
        return mask_from_png(data)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _of_numbers(label: Any) -> np.ndarray:
    is_tensor = isinstance(label, Tensor)
    try:
        values = label.detach().cpu().as_subclass(Tensor).numpy() if is_tensor else np.asarray(label)
    except ValueError:  # rows of several lengths
        values = np.asarray(None)
    if values.ndim == 3 and len(values) == 1:  # as torchvision has them
        values = values[0]
    if values.ndim != 2 or values.size == 0 or values.dtype.kind not in "iub":
        out = ""
        if values.ndim == 2 and values.dtype.kind == "f":
            out = " Class indices in floats become integers by `.long()`."
        elif values.ndim == 3:
            out = " Of one-hot masks or class scores (C, H, W) take `.argmax(0)`; of colours look each one's class up."
        raise TypeError(
            f"A mask has an integer for each pixel, (H, W), got {shown(label)} ({type(label).__name__}).{out}"
        )
    return values
