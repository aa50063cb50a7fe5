"""The first labelled set, before any training."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from lightning.pytorch.utilities.rank_zero import rank_zero_info

from lightning_al.acquisition.base import Acquisition
from lightning_al.data.pool import Pool
from lightning_al.data.readable import readable
from lightning_al.data.validation import spread_over
from lightning_al.distributed.randomness import generator
from lightning_al.distributed.ranks import Ranks
from lightning_al.loop.project import Project
from lightning_al.loop.question import Question, question_of
from lightning_al.loop.session import Session
from lightning_al.loop.settings import Settings
from lightning_al.oracle.answers import sort_answers
from lightning_al.oracle.truth import Truth
from lightning_al.scoring.company import check_company
from lightning_al.scoring.pick import Candidates, Pick, pick
from lightning_al.stages import stage
from lightning_al.tasks.mask_png import is_blank
from lightning_al.words import cut


def choose_initial(initial: int | Sequence[int], method: str, pool: Pool, *, truth: Truth, seed: int) -> list[int]:
    """Return the dataset indices to label before round 0.

    Args:
        initial: A count, or the indices themselves.
        method: ``"random"``, or ``"balanced"``: as many of each class as the count allows, classes that get one more
            drawn at random. Reads all labels, so it is for simulated campaigns.
        pool: What may be asked for is unlabelled.
        truth: Has the labels.
        seed: The campaign's seed.

    Raises:
        IndexError: If a given index is outside the dataset.
        ValueError: If a given index is repeated.
    """
    if not isinstance(initial, int):
        return pool.check(list(initial))
    draws = generator(seed, "initial")
    if method == "random":
        return pool.candidates(initial, generator=draws).tolist()
    order = pool.candidates(generator=draws).tolist()
    by_class: dict[str, list[int]] = defaultdict(list)
    labels = truth.encoded()
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


def choose_by_name(project: Project, settings: Settings, method: str) -> list[int]:
    """Return the initial set that is given, drawn at random or balanced."""
    pool = project.data.new_pool()
    initial = len(pool.unlabelled) if isinstance(settings.initial, str) else settings.initial
    return choose_initial(initial, method, pool, truth=project.truth, seed=settings.seed)


def choose_by_scores(project: Project, settings: Settings, ranks: Ranks, chooser: Acquisition) -> list[int]:
    """Return the initial set that an acquisition picks from all samples, the same on every rank."""
    pool = project.data.new_pool()
    return _pick_initial(chooser, project, settings, ranks=ranks, pool=pool, purpose=("initial",)).indices


def another_initial_set(session: Session, count: int | None = None) -> Question:
    """Return the question for a first labelled set, where nothing is labelled and nothing pending.

    All of the initial samples were skipped; or ``initial=0`` counted on a training set beside the pool, and that is
    empty. Chosen by ``initial_by`` if that is an acquisition, else drawn at random. The same on every rank.

    Args:
        session: Of the campaign.
        count: How many, where ``initial`` does not say; default ``query_size``.

    Raises:
        RuntimeError: If there are no others.
    """
    pool, project, settings = session.pool, session.project, session.settings
    purpose = ("initial", len(pool.skipped))
    if len(pool.unlabelled) == 0:
        raise RuntimeError(f"All {len(pool)} samples were skipped, so there is nothing to train on.")
    if not settings.has_initial_set:
        can_pay = session.budget.count(pool.unlabelled)
        if can_pay == 0:
            raise RuntimeError(f"Nothing is labelled yet, and `budget={settings.budget}` pays for no label.")
        count = min(settings.first_count if count is None or settings.asks_for_regions else count, can_pay)
    else:
        count = min(settings.initial_count(len(pool)), len(pool.unlabelled))
    if not settings.has_initial_set and len(pool.skipped) == 0:
        rank_zero_info(f"Nothing is labelled yet, so that {count} samples are asked for before anything is trained.")
    if isinstance(settings.initial_by, Acquisition):
        chooser, settings = settings.initial_by, replace(settings, initial=count)
        return _pick_initial(chooser, project, settings, ranks=session.campaign.ranks, pool=pool, purpose=purpose)
    indices = pool.candidates(count, generator=generator(settings.seed, *purpose)).tolist()
    return question_of(project, session.campaign.ranks, Pick.unscored(indices))


def _pick_initial(
    chooser: Acquisition,
    project: Project,
    settings: Settings,
    *,
    ranks: Ranks,
    pool: Pool,
    purpose: tuple[int | str, ...],
) -> Question:
    """Let an acquisition choose from what is unlabelled in ``pool``; ``purpose`` says what it draws for."""
    chooser.bind(project.task, project.oracle)
    try:
        chooser.check_pool(len(project.data.samples))
        check_company(project, chooser, seed=settings.seed)
        indices = pool.candidates(generator=generator(settings.seed, *purpose))
        labelled = project.data.samples.labelled_of(pool)
        candidates = Candidates(indices, labelled, settings.seed, 0, purpose=(*purpose, "select"))
        with stage("initial set"):
            picked = pick(project, ranks, chooser, candidates, min(settings.initial_count(len(indices)), len(indices)))
        return question_of(project, ranks, picked)
    finally:
        if chooser not in project.trainer.callbacks:  # one may do both
            chooser.unbind()


def initial_labels(project: Project, initial: list[int]) -> dict[int, Any]:
    """Take the initial labels on trial, before there is a campaign that starting over would be refused for."""
    data, task, samples, truth = project.data, project.task, project.data.samples, project.truth
    if samples.size == 0:
        return {}
    # Without an initial set: what may be asked for first.
    some = initial or readable(truth.dataset, spread_over(samples.size))
    answers = sort_answers({i: truth.label(i) for i in some}, task)
    answers.check()
    if answers.labels and all(map(is_blank, answers.labels.values())):
        raise ValueError(
            f"No pixel of the {len(some)} masks that were looked at has a class, so nothing could be learnt of them: "
            "all is what the task has for `ignore_index`. Give another `ignore_index=`; or, where masks are not known "
            "yet, have them told: `oracle=AwaitTell()`."
        )
    view = samples.view(torch.tensor(some[: 1 if data.goes_one_by_one else 2]), answers.labels)
    samples.pool.check_augment(view)
    if not data.has_pool:  # Batches were refused already.
        return {index: task.decode_label(value) for index, value in answers.labels.items()}
    batch = data.collate([view[position] for position in range(len(view))])
    try:
        task.inputs(batch), task.targets(batch)
    except (TypeError, KeyError, IndexError) as error:
        raise TypeError(
            f"The train loader's `collate_fn` makes batches in which the {type(task).__name__} finds no inputs or no "
            f"targets: {cut(error)}"
        ) from None
    return {index: task.decode_label(value) for index, value in answers.labels.items()}
