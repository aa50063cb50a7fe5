"""The first labelled set, before any training."""

from collections import defaultdict
from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

from lightning_al.pool import Pool
from lightning_al.randomness import generator
from lightning_al.task import Task

METHODS = ("random", "balanced")


def choose_initial(
    initial: int | Sequence[int], method: str, pool: Pool, dataset: Dataset, task: Task, *, seed: int
) -> list[int]:
    """Return the dataset indices to label before round 0.

    Args:
        initial: A count, or the indices themselves.
        method: ``"random"``, or ``"balanced"``: as many of each class as the count allows, classes that get one more
            drawn at random. Reads all labels, so it is for simulated campaigns.
        pool: All units unlabelled.
        dataset: The training set.
        task: Finds labels in samples.
        seed: The campaign's seed.

    Raises:
        IndexError: If a given index is outside the data set.
        ValueError: If a given index is repeated.
    """
    if not isinstance(initial, int):
        return pool.check(list(initial))
    order = pool.candidates(generator=generator(seed, "initial")).tolist()
    if method == "random":
        return order[:initial]
    by_class: dict[str, list[int]] = defaultdict(list)
    labels = _all_labels(dataset, task)
    for index in order:
        by_class[str(labels[index])].append(index)
    names = sorted(by_class)
    queues = [by_class[names[i]] for i in torch.randperm(len(names), generator=generator(seed, "classes")).tolist()]
    chosen: list[int] = []
    while len(chosen) < initial:
        for queue in queues:
            if queue and len(chosen) < initial:
                chosen.append(queue.pop(0))
    return chosen


def _all_labels(dataset: Dataset, task: Task) -> list[object]:
    """Read every label, through the list that torchvision's data sets keep where there is one."""
    n = len(dataset)  # type: ignore[arg-type]
    targets = getattr(dataset, "targets", None)
    if targets is not None and len(targets) == n:
        return [task.encode_label(t) for t in targets]
    return [task.encode_label(task.targets(dataset[i])) for i in range(n)]
