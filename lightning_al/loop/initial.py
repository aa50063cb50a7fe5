"""The first labelled set, before any training."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils.data import Dataset

from lightning_al.acquisition.base import Acquisition
from lightning_al.campaign.results import INITIAL_ROUND
from lightning_al.data.pool import Pool
from lightning_al.distributed.randomness import generator
from lightning_al.distributed.ranks import Ranks
from lightning_al.loop.project import Project
from lightning_al.loop.query import _pick
from lightning_al.loop.session import Session
from lightning_al.loop.settings import Settings
from lightning_al.oracle.answers import sort_answers
from lightning_al.tasks.base import Task


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


def another_initial_set(session: Session) -> dict[str, Any]:
    """Return the question for as many other samples, where all of the initial ones were declined.

    Chosen by ``initial_by`` if that is an acquisition, else drawn at random. The same on every rank.

    Raises:
        RuntimeError: If there are no others.
    """
    pool, settings = session.pool, session.settings
    purpose = ("initial", len(pool.skipped))
    count = settings.initial if isinstance(settings.initial, int) else len(settings.initial)
    indices = pool.candidates(count, generator=generator(settings.seed, *purpose)).tolist()
    if not indices:
        raise RuntimeError(f"All {len(pool)} samples were declined, so there is nothing to train on.")
    if isinstance(settings.initial_by, Acquisition):
        return {"round": INITIAL_ROUND, **pick_initial(session.project, settings, pool, count, *purpose)}
    keys = [session.project.data.key(i) for i in indices]
    return {"round": INITIAL_ROUND, "indices": indices, "keys": keys, "scores": [], "seconds": {}}


def choose(project: Project, settings: Settings, ranks: Ranks, size: int) -> list[int]:
    """Return the initial set, the same on every rank."""
    data, task = project.data, project.task
    chooser = settings.initial_by
    if not isinstance(chooser, Acquisition):
        dataset = data.train_set
        return ranks.first(
            lambda: choose_initial(settings.initial, chooser, Pool(size), dataset, task, seed=settings.seed),
        )
    assert isinstance(settings.initial, int)
    return list(pick_initial(project, settings, Pool(size), settings.initial, "initial")["indices"])


def initial_labels(project: Project, initial: list[int]) -> dict[int, Any]:
    """Take the initial labels on trial, before there is a campaign that starting over would be refused for."""
    dataset, task = project.data.train_set, project.task
    samples = {i: dataset[i] for i in initial}
    answers = sort_answers({i: task.targets(sample) for i, sample in samples.items()}, task)
    answers.check()
    for index, value in list(answers.told.items())[:1]:
        task.with_label(samples[index], task.decode_label(value))
    batch = project.data.collate([samples[i] for i in initial[:2]])
    try:
        task.inputs(batch), task.targets(batch)
    except (TypeError, KeyError, IndexError) as error:
        raise TypeError(
            f"The train loader's `collate_fn` makes batches in which the {type(task).__name__} finds no inputs or no "
            f"targets: {error}"
        ) from None
    return {index: task.decode_label(value) for index, value in answers.told.items()}


def pick_initial(project: Project, settings: Settings, pool: Pool, k: int, *purpose: int | str) -> dict[str, Any]:
    """Let ``initial_by``, an acquisition, choose ``k`` samples that are unlabelled in ``pool``; see :func:`pick`."""
    chooser = settings.initial_by
    assert isinstance(chooser, Acquisition)
    chooser.bind(project.task, project.oracle)
    try:
        chooser.check_pool(len(pool))
        candidates = pool.candidates(generator=generator(settings.seed, *purpose))
        k = min(k, len(candidates))
        return _pick(project, chooser, candidates, k, seed=settings.seed, purpose=(*purpose, "select"))
    finally:
        if chooser not in project.trainer.callbacks:  # one may do both
            chooser.unbind()
