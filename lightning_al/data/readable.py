"""Samples that cannot be read: an error that names them, and a look at all samples before any is scored."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from lightning_al.distributed.randomness import draws_undone
from lightning_al.tasks.base import Task, name_in
from lightning_al.words import cut, first_line


class UnreadableSampleError(RuntimeError):
    """A sample that a dataset does not give; its text says which, and why."""


class NamedSamples(Dataset):
    """A dataset whose errors name the sample that cannot be read.

    Args:
        dataset: Map-style.
        task: Names samples.

    Example:
        >>> from lightning_al.tasks import ClassificationTask
        >>> class Files(Dataset):
        ...     def sample_key(self, index):
        ...         return f"cat/{index}.png"
        ...     def __getitem__(self, index):
        ...         raise OSError("image file is truncated")
        >>> NamedSamples(Files(), ClassificationTask())[3]
        Traceback (most recent call last):
        ...
        lightning_al.data.readable.UnreadableSampleError: Sample 3 ('cat/3.png') cannot be read: OSError: image file is
        truncated. Repair or remove it, or leave such samples out: `skip_unreadable=True` (`--skip-unreadable`).
    """

    def __init__(self, dataset: Any, task: Task) -> None:
        self.dataset = dataset
        self.task = task

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Any:
        try:
            return self.dataset[index]
        except Exception as error:
            raise UnreadableSampleError(
                f"Sample {self._called(index)} cannot be read: {_reason(error)}. Repair or remove it, or leave such "
                "samples out: `skip_unreadable=True` (`--skip-unreadable`)."
            ) from error

    def __getitems__(self, indices: list[int]) -> list[Any]:
        several = getattr(self.dataset, "__getitems__", None)
        try:
            return list(several(indices)) if callable(several) else [self.dataset[index] for index in indices]
        except Exception:
            return [self[index] for index in indices]  # which of them it is

    def _called(self, index: int) -> str:
        try:
            name = name_in(self.task, self.dataset, index)
        except Exception:  # it is made of what cannot be read
            name = None
        return f"{index}" if name is None else f"{index} ({name!r})"


def one_by_one(indices: torch.Tensor) -> Iterator[int]:
    """Go through dataset indices of which only the first may be looked at: there may be millions."""
    for some in indices.split(2**10):
        yield from some.tolist()


def readable(dataset: Any, rows: Iterable[int], most: int | None = None) -> list[int]:
    """Return those of some samples that can be read, for a look at a few before there is a question.

    Which cannot is a matter of scoring, which names them, or leaves them out.

    Args:
        dataset: Map-style.
        rows: Some of its indices.
        most: How many are enough.

    Raises:
        Exception: That of the first, if none of them can be read.
    """
    found: list[int] = []
    first: Exception | None = None
    for row in rows:
        if most is not None and len(found) >= most:
            break
        try:
            with draws_undone():
                dataset[row]
        except Exception as error:
            first = first or error
        else:
            found.append(row)
    if first is not None and not found:
        raise first
    return found


class Readability(Dataset):
    """For each sample of a dataset what is wrong with it; "" where it can be read.

    Args:
        dataset: Map-style.
        indices: Which samples, in order.
    """

    def __init__(self, dataset: Any, indices: torch.Tensor) -> None:
        self.dataset = dataset
        self.indices = indices

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, position: int) -> str:
        try:
            self.dataset[int(self.indices[position])]
        except Exception as error:
            return _reason(error)
        return ""


def _reason(error: Exception) -> str:
    return cut(first_line(error), 300).rstrip(".")


def few(names: Sequence[str]) -> str:
    """Return the first of some names, and how many there are where that is more."""
    return ", ".join(names[:10]) + (f", ... ({len(names)} in all)" if len(names) > 10 else "")
