"""Metrics by their names: which is the main one, of which less is better, and which are of single classes alone."""

import re
from collections.abc import Iterable, Mapping, Sequence

# What Lightning and users put behind a metric's name that is no class.
_NO_CLASS = re.compile(r"(step|epoch|std|var|min|max|best|top_?\d+|dataloader_idx_\d+)(/.*)?", re.IGNORECASE)

_OF_ONE_CLASS = re.compile(r"(.*_class)_\d+")

# Whole words of a metric's name by which less of it is better: "val_loss", "test/RMSE", "top1_error".
_ERRORS = re.compile(
    r"(?<![a-z])(loss|r?mse|mae|mape|smape|err(or)?s?|nll|cross_?entropy|bce|ece|mce|brier|perplexity|ppl|wer|cer|fid"
    r"|hausdorff|distance|deviance|regret|risk)(?![a-z])",
    re.IGNORECASE,
)


def is_error(metric: str) -> bool:
    """Whether less of a metric is better, as far as its name says so.

    Example:
        >>> [is_error(name) for name in ("val_loss", "test/RMSE", "test_acc", "auroc", "dice")]
        [True, True, False, False, False]
    """
    return _ERRORS.search(metric) is not None


def is_of_one_class(metric: str) -> bool:
    """Whether a metric's name says that it is of the samples of one class alone, as ``test_acc_class_3`` does."""
    return _OF_ONE_CLASS.fullmatch(metric) is not None


def shared_metrics(recorded: Sequence[Mapping[str, float]]) -> list[str]:
    """Return the metrics that all rounds with any have, the main one first; none of a single class.

    The main one has "acc" in its name; else it is one of which more is better, if there is one.

    Args:
        recorded: Metrics of rounds.

    Example:
        >>> shared_metrics([{"val_loss": 0.5, "val_f1": 0.4}, {}, {"val_loss": 0.3, "val_f1": 0.6}])
        ['val_f1', 'val_loss']
    """
    some = [metrics for metrics in recorded if metrics]
    if not some:
        return []
    shared = [name for name in some[0] if all(name in metrics for metrics in some)]
    of_classes = {name for each in shared for name in class_metrics(each, shared).values()}
    whole = [name for name in shared if name not in of_classes and not is_of_one_class(name)] or shared
    return sorted(whole, key=lambda name: ("acc" not in name.lower(), is_error(name)))


def metrics_in_words(metrics: Mapping[str, float]) -> str:
    """Return metrics on one line; of those of single classes the smallest and the largest.

    Example:
        >>> metrics_in_words({"test_acc": 0.5, "test_acc_class_0": 0.25, "test_acc_class_1": 0.75})
        'test_acc 0.5 test_acc_class 0.25 to 0.75'
    """
    words = [f"{name} {value:.4g}" for name, value in metrics.items() if not is_of_one_class(name)]
    of_classes: dict[str, list[float]] = {}
    for name, value in metrics.items():
        match = _OF_ONE_CLASS.fullmatch(name)
        if match is not None:
            of_classes.setdefault(match[1], []).append(value)
    words += [f"{name} {min(values):.4g} to {max(values):.4g}" for name, values in of_classes.items()]
    return " ".join(words) or "no metrics"


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
