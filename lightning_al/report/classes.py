"""Metrics of single classes, found by their names beside that of all: ``test_acc`` and ``test_acc/cat``."""

import re
from collections.abc import Iterable

# What Lightning and users put behind a metric's name that is no class.
_NO_CLASS = re.compile(r"(step|epoch|std|var|min|max|best|top_?\d+|dataloader_idx_\d+)(/.*)?", re.IGNORECASE)


def class_metrics(metric: str, names: Iterable[str]) -> dict[str, str]:
    """Return the metrics of single classes that belong to ``metric``: class -> name.

    They are those with its name and ``/``, ``_``, ``.`` or ``-`` before the class, with or without the word "class".
    There are at least two.

    Example:
        >>> class_metrics("test_acc", ["test_acc", "test_acc/cat", "test_acc/dog", "test_loss"])
        {'cat': 'test_acc/cat', 'dog': 'test_acc/dog'}
        >>> class_metrics("test_acc", ["test_acc", "test_acc_class_0", "test_acc_class_1", "test_acc_top5"])
        {'0': 'test_acc_class_0', '1': 'test_acc_class_1'}
    """
    found = {}
    for name in names:
        match = re.fullmatch(re.escape(metric) + r"[/_.-](?:class(?:es)?[/_.-]?)?(.+)", name)
        if match and not _NO_CLASS.fullmatch(match[1]):
            found[match[1]] = name
    order = sorted(found, key=lambda part: [(int(p), "") if p.isdigit() else (-1, p) for p in re.split(r"(\d+)", part)])
    return {part: found[part] for part in order} if len(found) > 1 else {}
