"""Candidates scored, and a batch of them picked: the step that a campaign's queries and scores without one share."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lightning_al.acquisition.base import Acquisition, learns
from lightning_al.acquisition.query import LocalRows, Query, Rows, RowSource
from lightning_al.campaign.states import State
from lightning_al.distributed.randomness import derive_seed, generator
from lightning_al.distributed.ranks import Ranks
from lightning_al.inference.bars import steps_shown
from lightning_al.scoring.placing import Placing, placed
from lightning_al.scoring.pool_pass import rows_of, rows_of_each
from lightning_al.scoring.subject import Subject
from lightning_al.stages import stage
from lightning_al.words import counted, shown


@dataclass(frozen=True)
class Candidates:
    """Samples to pick from.

    Args:
        indices: Dataset indices, in the order in which ties are taken.
        labelled: Dataset indices of the labelled samples.
        seed: With the round it decides all draws.
        round: Which round; 0 without a campaign.
        purpose: What the draws of the selection are for, beside the seed.
    """

    indices: Tensor
    labelled: Tensor
    seed: int
    round: int
    purpose: tuple[int | str, ...]

    @property
    def scoring_seed(self) -> int:
        """Seed of whatever draws in a pass over samples."""
        return derive_seed(self.seed, self.round, "score")

    @property
    def draws(self) -> torch.Generator:
        """A fresh source of the selection's random numbers."""
        return generator(self.seed, *self.purpose)


@dataclass(frozen=True)
class Pick:
    """What an acquisition picked.

    Args:
        indices: Dataset indices, best first.
        scores: Their scores; empty for acquisitions that score nothing.
        seconds: What it took to ``learn``, ``score`` and ``select``.
        all_scores: The scores of all candidates in their order, on the first rank; None for acquisitions that score
            nothing, and on other ranks.
        forward: Whether the forward passes that it took were ``"shared"``, the model's as it is, its ``"own"``, or
            there were ``"none"``.
    """

    indices: list[int]
    scores: list[float]
    seconds: Mapping[str, float]
    all_scores: Tensor | None = None
    forward: str = "none"

    @classmethod
    def unscored(cls, indices: list[int]) -> "Pick":
        """Return the pick of samples that were chosen without a look at them."""
        return cls(indices, scores=[], seconds={})


def learn(
    subject: Subject,
    acquisition: Acquisition,
    candidates: Candidates,
    *,
    keep: Callable[[str, Callable[[], State]], State],
    refit: Callable[[int, bool], State],
) -> dict[str, float]:
    """Let an acquisition learn what it needs beside the model.

    Args:
        subject: What is scored.
        acquisition: Bound to its task.
        candidates: What is to be picked from.
        keep: As in :class:`~lightning_al.acquisition.query.Query`.
        refit: As there.

    Returns:
        The seconds it took, as ``learn``; nothing where there is nothing to learn.
    """
    if not learns(acquisition):
        return {}
    data, start = subject.data, time.perf_counter()

    def score_all(source: RowSource, indices: Tensor) -> Rows:
        return rows_of(subject, source, indices, seed=candidates.scoring_seed, gather=True)

    query = Query(
        trainer=subject.trainer,
        model=subject.model,
        round=candidates.round,
        size=len(data.pool_set),  # type: ignore[arg-type]
        seed=derive_seed(candidates.seed, *candidates.purpose, "learn"),
        candidates=candidates.indices,
        labelled=candidates.labelled,
        loader=data.plain_dataloader,
        to_device=lambda batch, device: data.to_device(batch, subject.model, device),
        score=score_all,
        keep=keep,
        refit=refit,
    )
    with stage(f"learning with {in_words(acquisition)}"):
        acquisition.learn(query)
    return {"learn": time.perf_counter() - start}


def pick(subject: Subject, ranks: Ranks, acquisition: Acquisition, candidates: Candidates, k: int) -> Pick:
    """Score candidates and select ``k`` of them; as :func:`picks` of one acquisition."""
    return picks(subject, ranks, [acquisition], candidates, k)[0]


def picks(
    subject: Subject, ranks: Ranks, acquisitions: Sequence[Acquisition], candidates: Candidates, k: int
) -> list[Pick]:
    """Score candidates and let each acquisition select ``k`` of them, where they have learnt what they need.

    Args:
        subject: What is scored.
        ranks: Of the launch.
        acquisitions: Bound to their task. Those that can share passes over the samples.
        candidates: What to pick from.
        k: How many, at most as many as there are; 0: there is nothing to select.

    Returns:
        The picks of each, those that it has alone; the same on every rank. Seconds of ``score`` are those of the pass;
        of several acquisitions, those of each in it, the first of which bear the forward passes that they share.
    """
    start = time.perf_counter()
    seed = candidates.scoring_seed
    # Who takes features goes first: the model's outputs are seen in the same forward pass.
    order = sorted(range(len(acquisitions)), key=lambda number: not takes_features(acquisitions[number]))
    sources = [Placing(acquisitions[number], subject.task) for number in order]
    labelled_rows: dict[int, dict[str, Tensor]] = {}
    with stage(f"scoring with {in_words(*acquisitions)}"):
        rows = dict(zip(order, rows_of_each(subject, sources, candidates.indices, seed=seed), strict=True))
        if len(candidates.labelled) > 0:
            # Either both stay where they are, or every process has all of both.
            for gather in (False, True):
                some = [n for n in order if acquisitions[n].uses_labelled and isinstance(rows[n], LocalRows) != gather]
                of_some = [acquisitions[number] for number in some]
                made = rows_of_each(subject, of_some, candidates.labelled, seed=seed, gather=gather)
                labelled_rows.update(zip(some, made, strict=True))
    of_pass = time.perf_counter() - start
    said = [(_forward(acquisitions[n], source), source.seconds) for n, source in zip(order, sources, strict=True)]
    said_of = dict(zip(order, ranks.first(lambda: said), strict=True))
    return [
        _pick(
            subject,
            ranks,
            acquisition,
            candidates,
            k,
            rows=rows[number],
            labelled_rows=labelled_rows.get(number, {}),
            seconds=of_pass if len(acquisitions) == 1 else said_of[number][1],
            forward=said_of[number][0],
        )
        for number, acquisition in enumerate(acquisitions)
    ]


def _forward(acquisition: Acquisition, source: Placing) -> str:
    """Return in a word whose forward passes an acquisition took."""
    if not source.sees_samples:
        return "none"
    return "shared" if source.shares and not acquisition.needs_of_campaign else "own"


def in_words(*acquisitions: Acquisition) -> str:
    """Return what a few acquisitions are called, or how many there are."""
    return type(acquisitions[0]).__name__ if len(acquisitions) == 1 else counted(len(acquisitions), "acquisition")


def takes_features(acquisition: Acquisition) -> bool:
    """Whether an acquisition works with features of the model."""
    return "features" in acquisition.requires or acquisition.selection == "badge"


def _pick(
    subject: Subject,
    ranks: Ranks,
    acquisition: Acquisition,
    candidates: Candidates,
    k: int,
    *,
    rows: Rows,
    labelled_rows: Rows,
    seconds: float,
    forward: str,
) -> Pick:
    """Let an acquisition select ``k`` of the candidates, of which these rows are."""
    indices, scoring = candidates.indices, seconds
    has_scores = "score" in rows and acquisition.gathers

    def place() -> None:
        nonlocal rows
        rows = placed(rows, subject.task, generator(candidates.seed, *candidates.purpose, "place"))

    ranks.first(place)

    def select() -> tuple[list[int], list[float], float]:
        begin = time.perf_counter()
        positions: Any = []
        if k > 0:
            with stage(f"selecting with {in_words(acquisition)}"), steps_shown(subject.trainer, subject.model):
                positions = acquisition.select(rows, k, labelled_rows=labelled_rows, generator=candidates.draws)
        chosen = check_positions(positions, k, len(indices), acquisition)
        scores = rows["score"][chosen].tolist() if has_scores else []
        return indices[chosen].tolist(), scores, time.perf_counter() - begin

    if acquisition.gathers:
        picked, scores, seconds = ranks.first(select)
    else:
        selected = select()  # rows stay in the process that made them, so that every process selects
        picked, scores, seconds = ranks.first(lambda: selected)
    return Pick(
        indices=picked,
        scores=scores,
        seconds={"score": scoring, "select": seconds},
        all_scores=rows["score"] if has_scores and ranks.is_first else None,
        forward=forward,
    )


def check_positions(positions: Any, k: int, n: int, acquisition: Acquisition) -> Tensor:
    """Return what an acquisition's ``select`` gave as a LongTensor (k,), refusing what it must not give.

    Raises:
        TypeError: If they are not integers.
        ValueError: If they are not ``k`` distinct positions of ``n`` candidates.
    """
    name = type(acquisition).__name__
    try:
        chosen = torch.as_tensor(positions).flatten().cpu()
    except (TypeError, ValueError, RuntimeError, OverflowError):  # by what it is that torch makes no tensor of
        raise TypeError(
            f"`{name}.select` must return integer positions, a tensor or a list, got {shown(positions)}."
        ) from None
    if chosen.numel() and not _are_integers(chosen):
        raise TypeError(f"`{name}.select` must return integer positions, got {chosen.dtype}.")
    chosen = chosen.long()
    if len(chosen) != k or len(chosen.unique()) != k or (k and not 0 <= int(chosen.min()) <= int(chosen.max()) < n):
        raise ValueError(
            f"`{name}.select` must return {k} distinct positions between 0 and {n - 1}, got {chosen.tolist()[:20]}."
        )
    return chosen


def _are_integers(tensor: Tensor) -> bool:
    return not (tensor.is_floating_point() or tensor.is_complex() or tensor.dtype == torch.bool)
