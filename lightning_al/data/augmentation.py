"""Random augmentation of training samples: seen by drawing them again, and applied after a label was put in."""

import copy
import functools
import inspect
import types
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from lightning_al.distributed.randomness import draws_undone, seed_reading
from lightning_al.inference.batches import copy_of
from lightning_al.tasks.base import Task
from lightning_al.words import first_line

_COMPARISONS = 32  # an augmentation of every second draw goes unseen once in 4 billion times

_COMPARABLE = (Tensor, np.ndarray, np.generic, str, bytes, int, float, type(None))
_NOT_FOUND = (TypeError, ValueError, KeyError, IndexError, AttributeError)
"""What tasks raise that look for something that a sample does not have."""

Read = Callable[[Any], Any]
"""What is looked at of a sample."""


# -- drawing samples again ---------------------------------------------------------------------------------------------


def draws(dataset: Any, index: int, read: Read, count: int = _COMPARISONS) -> Iterator[Any]:
    """Draw a sample again and again, with other random numbers each time, the same whenever this is called.

    The generators of the project are left as they were.
    """
    for number in range(count):
        with draws_undone():
            value = _draw(dataset, index, read, number)
        yield value


def _draw(dataset: Any, index: int, read: Read, number: int) -> Any:
    seed_reading("draw", index, number)
    return read(dataset[index])


def moving(dataset: Any, rows: Sequence[int], read: Read, comparisons: int = _COMPARISONS) -> int | None:
    """Return the first of these samples that another draw finds changed, None where all stay.

    Args:
        dataset: Map-style.
        rows: Some of its indices.
        read: Gives what is compared of a sample.
        comparisons: How many to make at least, of all samples together.

    Example:
        >>> import random
        >>> class Flipped:
        ...     def __getitem__(self, index):
        ...         return (torch.arange(3).flip(0) if random.random() < 0.5 else torch.arange(3)), index
        >>> moving(Flipped(), [4, 5], lambda sample: sample[0]), moving(Flipped(), [4, 5], lambda sample: sample[1])
        (4, None)
    """
    count = 1 + max(1, -(-comparisons // max(len(rows), 1)))
    with draws_undone():
        for index in rows:
            first = copy_of(_draw(dataset, index, read, 0))
            if any(not same(first, _draw(dataset, index, read, number)) for number in range(1, count)):
                return index
    return None


def target_of(task: Task, sample: Any) -> Any:
    """Return the target of a sample in a form that :func:`same` can compare."""
    target = task.targets(sample)
    return target if incomparable(target) is None else task.encode_label(target)


def same(one: Any, other: Any) -> bool:
    """Whether two values, or all that is in them, are the same as far as can be told; NaN is, where the other is NaN.

    Example:
        >>> same([1, torch.tensor([2.0, torch.nan])], [1, torch.tensor([2.0, torch.nan])]), same([1], [2])
        (True, False)
    """
    parts, structure = pytree.tree_flatten(one)
    others, other_structure = pytree.tree_flatten(other)
    return structure == other_structure and all(map(_same_part, parts, others))


def _same_part(one: Any, other: Any) -> bool:
    if type(one) is not type(other):
        return False
    if not _is_comparable(one):
        return True
    if isinstance(one, Tensor):
        if one.shape != other.shape or one.dtype != other.dtype:
            return False
        return bool(((one == other) | ((one != one) & (other != other))).all())
    if isinstance(one, np.ndarray) and (one.dtype.hasobject or one.dtype.names):  # whose bytes are addresses, or gaps
        return one.shape == other.shape and same(one.tolist(), other.tolist())
    if isinstance(one, np.ndarray):
        return one.shape == other.shape and one.tobytes() == other.tobytes()
    if _is_picture(one):
        return bool(one.size == other.size and one.tobytes() == other.tobytes())
    return bool(one == other or (one != one and other != other))


def incomparable(value: Any) -> str | None:
    """Return the type of something in a value of which :func:`same` knows nothing, if there is such.

    Example:
        >>> incomparable([torch.zeros(2), object()]), incomparable((1, "a"))
        ('object', None)
    """
    return next((type(part).__name__ for part in pytree.tree_leaves(value) if not _is_comparable(part)), None)


def _is_comparable(part: Any) -> bool:
    if isinstance(part, Tensor):
        return part.layout == torch.strided and not part.is_nested
    return isinstance(part, _COMPARABLE) or _is_picture(part)


def _is_picture(part: Any) -> bool:
    """Whether it is an image of PIL's, which need not be installed."""
    return hasattr(part, "getbands")


# -- told labels beside augmented inputs -------------------------------------------------------------------------------


def check_told_labels(
    dataset: Any,
    rows: Sequence[int],
    task: Task,
    *,
    owner: str,
    told: Iterable[Any] = (),
    dataset_name: str = "The training set",
) -> None:
    """Refuse a dataset beside whose samples a label that was told may be wrong: input and target are moved together.

    A target that another draw finds changed says so. Where the dataset's targets are hidden, or all of one value, and
    labels are maps or boxes, nothing shows whether they would move with inputs that do.

    Args:
        dataset: Told labels are put into its samples.
        rows: Some of its indices.
        task: Reads inputs and targets.
        owner: Whose dataset it is, for the error.
        told: Some labels that were told, decoded.
        dataset_name: What the dataset is, for the error.

    Raises:
        ValueError: With what to do.
    """
    try:
        targets = [task.targets(dataset[i]) for i in rows]
        moved = moving(dataset, rows, functools.partial(target_of, task))
    except _NOT_FOUND:  # there are no targets
        targets, moved = [], None
    what = "input and target together: the target of sample {} is another in each draw"
    if moved is None:
        if any(map(_shows_positions, targets)) or not any(map(_is_spatial, [*targets, *told])):
            return
        moved = moving(dataset, rows, functools.partial(_inputs, task))
        what = (
            "inputs (sample {} is another in each draw), and labels are maps or boxes, which would not move with them"
        )
    if moved is not None:
        raise ValueError(
            f"{dataset_name} augments {what.format(moved)}. A label that is told would be beside an input that was "
            f"moved without it. Give {owner} a method `augment(sample)`, which is called once the label is in the "
            "sample, and a `pool_dataset()` without augmentation."
        )


def check_targets_stay(dataset: Any, rows: Sequence[int], task: Task, *, owner: str) -> None:
    """Refuse targets that are augmented, where they are all that there is for samples without augmentation.

    Raises:
        ValueError: With what to do.
    """
    moved = moving(dataset, rows, functools.partial(target_of, task))
    if moved is not None:
        raise ValueError(
            f"The training set augments input and target together: the target of sample {moved} is another in each "
            f"draw, and `pool_dataset()` of {owner} has no targets. Return them there, without augmentation."
        )


def _inputs(task: Task, sample: Any) -> Any:
    try:
        return task.inputs(sample)
    except _NOT_FOUND:  # the task knows batches alone
        return sample


def _is_spatial(label: Any) -> bool:
    """Whether a label is a map, a picture, boxes or points: what moves with its input."""
    if isinstance(label, dict):
        return any(map(_is_spatial, label.values()))
    if isinstance(label, (list, tuple)):
        return any(isinstance(part, (list, tuple, dict)) or _is_spatial(part) for part in label)
    return _is_picture(label) or getattr(label, "ndim", 0) >= 2


def _shows_positions(target: Any) -> bool:
    """Whether a target would look another if it were moved: it has more than one value."""
    values: set[Any] = set()
    for part in pytree.tree_leaves(np.asarray(target) if _is_picture(target) else target):
        if isinstance(part, (Tensor, np.ndarray)):
            flat = torch.as_tensor(part).flatten()
            values.update(flat[:1].tolist() + flat[flat != flat[:1]][:1].tolist())
        elif isinstance(part, _COMPARABLE):
            values.add(part)
    return _is_spatial(target) and len(values) > 1


# -- `augment(sample)` -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Augment:
    """The ``augment(sample)`` of the user's datamodule, which also goes to the workers of a loader.

    Args:
        method: Gets a sample and returns it augmented.
    """

    method: Callable[[Any], Any]

    @classmethod
    def of(cls, owner: Any) -> "Augment | None":
        """Return it where there is a method, or function, of this name; an option or a layer may be called so too."""
        method = getattr(owner, "augment", None)
        return cls(method) if inspect.isroutine(method) or isinstance(method, functools.partial) else None

    def __call__(self, sample: Any) -> Any:
        """Return an augmented sample; the given one belongs to the user's method."""
        return self.method(sample)

    def __reduce__(self) -> tuple[Any, ...]:
        """Leave the Trainer at home, which a worker cannot be sent and has no use for."""
        if not inspect.ismethod(self.method):
            return Augment, (self.method,)
        owner = copy.copy(self.method.__self__)
        for name in ("trainer", "_trainer"):
            if name in getattr(owner, "__dict__", {}):
                vars(owner)[name] = None
        return Augment, (types.MethodType(self.method.__func__, owner),)

    def check(self, sample: Any, owner: str) -> None:
        """Try it on a sample, with the generators of the project left as they were.

        Raises:
            ValueError: If it fails, or returns nothing.
        """
        with draws_undone():
            try:
                augmented = self(copy_of(sample))
            except Exception as error:
                raise ValueError(
                    f"`augment` of {owner} failed on a training sample: {first_line(error)}. It is called with a "
                    "sample of `pool_dataset()`, its label put in, and returns it augmented. Give a method that is for "
                    "something else another name."
                ) from error
        if augmented is None:
            raise ValueError(f"`augment` of {owner} returned None; it must return the augmented sample.")
