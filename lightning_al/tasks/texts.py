"""What people read of a sample whose input is no text any more."""

import re
from typing import Any

from torch.utils.data import ConcatDataset, StackDataset, Subset

from lightning_al.tasks.keys import file_of

_ENDING = re.compile(r"\.(?=\w*[a-z])\w{1,5}$", re.IGNORECASE)


def text_of(dataset: Any, index: int) -> str | None:
    """Return the text of a sample: what its dataset's ``sample_text(index)`` says, or else its first entry that is one.

    The name of a file (``clips/1.npy``) is none.

    ``Subset``, ``ConcatDataset`` and ``StackDataset`` are looked into. A sample that is a file has none.

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
    entries = sample.values() if isinstance(sample, dict) else sample if isinstance(sample, (tuple, list)) else [sample]
    return next((entry for entry in entries if isinstance(entry, str) and not _is_file_name(entry)), None)


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
