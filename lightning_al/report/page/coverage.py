"""Which classes and which kinds of samples the labels of a campaign cover."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from lightning_al.campaign.standing import Standing
from lightning_al.tasks.annotations import Boxes, Mask, annotation_of

MOST_LOOKED_AT = 500
"""Samples of the pool that stand for all of it."""

MOST_FEATURES = 3000
"""Labelled samples whose features are looked at; of more there are no clusters."""


def classes_in(annotation: Any) -> list[str] | None:
    """Return the classes that a label names, each once; None where it names none, as a number does.

    Of a mask these are the numbers of its classes, as texts.

    Example:
        >>> classes_in("cat"), classes_in(["b", "a"]), classes_in(0.5), classes_in(Mask([[0, 3, 255]]))
        (['cat'], ['b', 'a'], None, ['0', '3'])
    """
    if isinstance(annotation, Boxes):
        return list(dict.fromkeys(annotation.labels))
    if isinstance(annotation, Mask):
        return [str(number) for number in np.unique(annotation.values).tolist() if number != annotation.not_said]
    if isinstance(annotation, str):
        return [annotation]
    return [str(name) for name in annotation] if isinstance(annotation, (list, tuple)) else None


def names_in(annotation: Any, classes: Sequence[str] | None) -> list[str] | None:
    """Return the same, with the classes of masks called by their names."""
    found = classes_in(annotation)
    if found is None or not isinstance(annotation, Mask) or classes is None:
        return found
    return [classes[int(number)] if int(number) < len(classes) else number for number in found]


def class_names_of(standing: Standing, units: Sequence[int]) -> dict[int, list[str]]:
    """Return the classes of labelled samples by unit, of those whose labels name some; each is read once."""
    named = {unit: names_in(said_of(standing, unit), standing.classes) for unit in units}
    return {unit: names for unit, names in named.items() if names is not None}


def class_counts(named: Mapping[int, Sequence[str]], units: Iterable[int] | None = None) -> Counter[str]:
    """Return how many samples, or how many of ``units``, have each class.

    Example:
        >>> class_counts({3: ["cat"], 5: ["cat", "dog"]}, [5, 7])
        Counter({'cat': 1, 'dog': 1})
    """
    return Counter(name for unit in (named if units is None else units) for name in named.get(unit, ()))


def said_of(standing: Standing, unit: int) -> Any:
    """Return a sample's label as people say it; None where it has none that can be said."""
    sample = standing.samples.get(unit)
    if sample is None or sample.label is None:
        return None
    try:
        return annotation_of(sample.label, standing.classes)
    except (ValueError, TypeError, OSError):
        return None


class Clusters:
    """Groups of samples that are alike, found in some of the pool by k-means.

    Args:
        features: Of these samples, (N, d).
        count: How many groups at most.
    """

    def __init__(self, features: np.ndarray, count: int) -> None:
        self._mean = features.mean(0)
        spread = features.std(0)
        self._scale = np.where(spread > 0, spread, 1.0) if spread.max() > 10 * max(np.median(spread), 1e-12) else 1.0
        points = self._put(features)
        self.centres = _k_means(points, min(count, len(points)))
        counts = np.bincount(self.of(features), minlength=len(self.centres))
        self.shares = counts / counts.sum()
        """The share of the pool in each."""

    def _put(self, features: np.ndarray) -> np.ndarray:
        return (features - self._mean) / self._scale

    def of(self, features: np.ndarray) -> np.ndarray:
        """Return the group of each sample, (N,)."""
        return _nearest(self._put(features), self.centres)[0]

    def expected(self, labels: int) -> float:
        """Return the share of the groups with a label that as many samples drawn at random would have on average."""
        return float(np.mean(1 - (1 - self.shares) ** labels))


def _nearest(points: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    distances = (points**2).sum(1)[:, None] - 2 * points @ centres.T + (centres**2).sum(1)
    return distances.argmin(1), distances.min(1)


def _k_means(points: np.ndarray, count: int, rounds: int = 20) -> np.ndarray:
    """Return the centres of k-means, begun with points far from each other."""
    centres = points[[int(((points - points.mean(0)) ** 2).sum(1).argmax())]]
    while len(centres) < count:
        far = _nearest(points, centres)[1]
        if far.max() <= 1e-12:
            break
        centres = np.concatenate([centres, points[[int(far.argmax())]]])
    for _ in range(rounds):
        where = _nearest(points, centres)[0]
        centres = np.stack([points[where == i].mean(0) if (where == i).any() else c for i, c in enumerate(centres)])
    return centres


def some_of(size: int, most: int = MOST_LOOKED_AT) -> list[int]:
    """Return some places of a pool, drawn at random but always the same."""
    if size <= most:
        return list(range(size))
    return sorted(np.random.default_rng(0).choice(size, most, replace=False).tolist())


def features_of(places: Sequence[int], features: Callable[[int], np.ndarray | None]) -> np.ndarray | None:
    """Return the features of samples, (N, d); None if one has none, or others have another size."""
    rows = [features(place) for place in places]
    known = [row for row in rows if row is not None]
    if len(known) < len(rows) or not rows or len({row.shape for row in known}) > 1:
        return None
    return np.stack(known)
