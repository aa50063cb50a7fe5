"""What the classes of a dataset are called."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils.data import ConcatDataset, Dataset, StackDataset, Subset

_TARGETS = ("label", "labels", "target", "class")  # of several columns with classes the first of these


def class_names(dataset: Dataset) -> list[str] | None:
    """Return the names of a dataset's classes, by class index, all different; None where it has none.

    They are in its ``classes`` or ``class_to_idx``, or the names of the one column of classes of a Hugging Face
    dataset (``features``). Of ``Subset``, ``ConcatDataset`` and ``StackDataset`` they are those of what it is made of,
    if all parts that have names have the same. Synonyms are put in one name; a name that comes twice gets its index.

    Example:
        >>> class Pets(Dataset):
        ...     class_to_idx = {"dog": 1, "cat": 0}
        >>> class_names(Subset(Pets(), [3, 1]))
        ['cat', 'dog']
    """
    names = _names(dataset)
    if names is None:
        return None
    return [f"{name} ({number})" if names.count(name) > 1 else name for number, name in enumerate(names)]


def _names(dataset: Any) -> list[str] | None:
    if isinstance(dataset, Subset):
        return _listed(dataset) or _names(dataset.dataset)
    if isinstance(dataset, ConcatDataset):
        return _agreed(dataset.datasets)
    if isinstance(dataset, StackDataset):
        sides = dataset.datasets
        return _agreed(list(sides.values() if isinstance(sides, dict) else sides))
    classes, numbers = _listed(dataset), _numbered(getattr(dataset, "class_to_idx", None))
    if classes is None or (numbers is not None and sorted(numbers) == sorted(classes)):
        return numbers or _of_features(getattr(dataset, "features", None))  # the numbers say the order
    return classes


def _agreed(parts: Sequence[Any]) -> list[str] | None:
    of_parts = [names for names in map(_names, parts) if names is not None]
    return of_parts[0] if of_parts and all(names == of_parts[0] for names in of_parts) else None


def _listed(dataset: Any) -> list[str] | None:
    """Return ``classes`` as names, if that is what they are: it may be the class of each sample, or a number."""
    classes: Any = getattr(dataset, "classes", None)
    classes = classes.tolist() if hasattr(classes, "tolist") else classes
    if not isinstance(classes, (list, tuple)) or not classes:
        return None
    if not all(isinstance(entry, (str, int)) or _is_synonyms(entry) for entry in classes):
        return None
    names = [", ".join(entry) if _is_synonyms(entry) else str(entry) for entry in classes]
    repeats = len(set(names)) < len(names)
    if repeats and (not hasattr(dataset, "__len__") or len(dataset) == len(names) or isinstance(classes[0], int)):
        return None
    return names


def _is_synonyms(entry: Any) -> bool:
    return isinstance(entry, (tuple, list)) and len(entry) > 0 and all(isinstance(name, str) for name in entry)


def _numbered(class_to_idx: Any) -> list[str] | None:
    if not isinstance(class_to_idx, Mapping) or not class_to_idx:
        return None
    numbers = list(class_to_idx.values())
    if any(not hasattr(number, "__index__") or int(number) < 0 for number in numbers):
        return None
    of_number: dict[int, list[str]] = {}
    for name, number in class_to_idx.items():
        of_number.setdefault(int(number), []).append(str(name))
    return [", ".join(of_number.get(number, [str(number)])) for number in range(max(of_number) + 1)]


def _of_features(features: Any) -> list[str] | None:
    if not isinstance(features, Mapping):
        return None
    of_column = {}
    for column, feature in features.items():
        names = getattr(feature, "names", None) or getattr(getattr(feature, "feature", None), "names", None)
        if isinstance(names, (list, tuple)) and all(isinstance(name, str) for name in names):
            of_column[column] = list(names)
    if len(of_column) == 1:
        return next(iter(of_column.values()))
    return next((of_column[column] for column in _TARGETS if column in of_column), None)
