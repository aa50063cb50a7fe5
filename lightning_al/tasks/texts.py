"""What people read of a sample, and the entries of it that a model sees."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from torch.utils.data import ConcatDataset, StackDataset, Subset

from lightning_al.tasks.base import Task
from lightning_al.tasks.entries import BatchEntries
from lightning_al.tasks.keys import file_of

_ENDING = re.compile(r"\.(?=\w*[a-z])\w{1,5}$", re.IGNORECASE)


class Entry(NamedTuple):
    """One entry of a sample: its name in a dict, None in a tuple; and what is there."""

    name: str | None
    value: Any


def input_entries(task: Task, sample: Any) -> list[Entry]:
    """Return the entries of a single sample that the model sees, as the task takes them out.

    Of those that a collate function makes for a batch, as lengths, a sample has none.

    Example:
        >>> from lightning_al.tasks import RegressionTask
        >>> sample = {"unit": "bearing 6", "signal": [0.5], "rul": 3.0}
        >>> input_entries(RegressionTask(inputs="signal", target="rul"), sample)
        [Entry(name='signal', value=[0.5])]
        >>> input_entries(RegressionTask(), ([0.5], 3.0))
        [Entry(name=None, value=[0.5])]
        >>> input_entries(RegressionTask(inputs=["signal", "lengths"], target="rul"), sample)
        [Entry(name='signal', value=[0.5])]
    """
    where = task.entries if isinstance(task, BatchEntries) else None
    inputs = task.inputs_there(sample) if isinstance(task, BatchEntries) else task.inputs(sample)
    if isinstance(inputs, Mapping):
        return [Entry(str(name), value) for name, value in inputs.items()]
    if isinstance(inputs, (tuple, list)) and not all(isinstance(each, (int, float)) for each in inputs):
        return [Entry(None, value) for value in inputs]
    return [Entry(where if isinstance(where, str) else None, inputs)]


def text_of(dataset: Any, index: int, task: Task | None = None, key: str | None = None) -> str | None:
    """Return what people read of a sample: what its dataset's ``sample_text(index)`` says, or else an entry of it.

    Of the entries that are texts the first that the model sees, or else the first of all. The name of a file
    (``clips/1.npy``) is none, nor is what the sample is called.

    ``Subset``, ``ConcatDataset`` and ``StackDataset`` are looked into. A sample that is a file has none.

    Args:
        dataset: Un-augmented.
        index: Of the sample.
        task: Knows which entries the model sees; None: nobody does.
        key: What the sample is called.

    Example:
        >>> class Tokens:
        ...     texts = ["A fine film", "I left early"]
        ...     def __getitem__(self, index):
        ...         return [len(word) for word in self.texts[index].split()], 0
        ...     def sample_text(self, index):
        ...         return self.texts[index]
        >>> text_of(Subset(Tokens(), [1]), 0), text_of([("as it is", 1)], 0), text_of([(0.5, 1)], 0)
        ('I left early', 'as it is', None)
    """
    said = given_text(dataset, index)
    if said is not None or file_of(dataset, index) is not None:
        return said
    sample = dataset[index]
    seen = None if task is None else first_text(input_entries(task, sample))
    found = first_text(entries_of(sample), key) if seen is None else seen
    return None if found is None else found.value


def entries_of(sample: Any) -> list[Entry]:
    """Return all entries of a sample, in their order."""
    if isinstance(sample, Mapping):
        return [Entry(str(name), value) for name, value in sample.items()]
    return [Entry(None, value) for value in (sample if isinstance(sample, (tuple, list)) else [sample])]


def first_text(entries: Iterable[Entry], key: str | None = None) -> Entry | None:
    """Return the first entry that is to be read: a text that is neither a file's name nor ``key``; None if none is."""
    texts = (entry for entry in entries if isinstance(entry.value, str))
    return next((entry for entry in texts if entry.value != key and not _is_file_name(entry.value)), None)


def _is_file_name(text: str) -> bool:
    """Whether it is a path or a file's name, and nothing to read: it has no blanks, and ends as files do."""
    return not any(map(str.isspace, text)) and bool(_ENDING.search(text))


def given_text(dataset: Any, index: int) -> str | None:
    """Return what the dataset's ``sample_text(index)`` says; None where it has none.

    Raises:
        TypeError: If that is no text.
    """
    if isinstance(dataset, Subset):
        return given_text(dataset.dataset, int(dataset.indices[index]))
    if isinstance(dataset, ConcatDataset):
        number = next(i for i, end in enumerate(dataset.cumulative_sizes) if index < end)
        start = dataset.cumulative_sizes[number - 1] if number else 0
        return given_text(dataset.datasets[number], index - start)
    if isinstance(dataset, StackDataset):
        sides = dataset.datasets.values() if isinstance(dataset.datasets, dict) else dataset.datasets
        return next((text for side in sides if (text := given_text(side, index)) is not None), None)
    sample_text = getattr(dataset, "sample_text", None)
    if callable(sample_text):
        text = sample_text(index)
        if text is not None and not isinstance(text, str):
            raise TypeError(
                f"`{type(dataset).__name__}.sample_text` must return a string (or None: it has none), got "
                f"{type(text).__name__}."
            )
        return text
    return None
