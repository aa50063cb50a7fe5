"""One query: score the candidates, pick a batch of them, put the question on disk."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from lightning.pytorch.utilities.rank_zero import rank_zero_info
from torch import Tensor

from lightning_al.acquisition.base import Acquisition
from lightning_al.campaign.events import Event
from lightning_al.data.image_size import mask_size
from lightning_al.distributed.randomness import generator
from lightning_al.distributed.ranks import Ranks
from lightning_al.fitting.members import refit
from lightning_al.loop.predict import keep_predictions
from lightning_al.loop.project import Project
from lightning_al.loop.session import Session
from lightning_al.scoring.pick import Candidates, Pick, learn, pick
from lightning_al.scoring.scores import Scores, scores_file
from lightning_al.scoring.unreadable import find_unreadable, without

UNREADABLE = "unreadable"
"""Stands in the ledger for the annotator of samples that are skipped since they cannot be read."""


@dataclass(frozen=True)
class Question:
    """What the oracle is asked next.

    Args:
        indices: Dataset indices, best first.
        keys: Their samples' names, which outlive a reordering.
        scores: Their scores; empty for acquisitions that score nothing.
        seconds: What it took to ``learn``, ``score`` and ``select``.
        sizes: Width and height of their images, where labels are masks.
    """

    indices: list[int]
    keys: list[str | None]
    scores: list[float]
    seconds: Mapping[str, float]
    sizes: list[tuple[int, int] | None] = field(default_factory=list)

    def first(self, count: int) -> "Question":
        """Return the question for the best ``count`` of these."""
        of_each = {name: getattr(self, name)[:count] for name in ("indices", "keys", "scores", "sizes")}
        return replace(self, **of_each)

    def event(self, round_number: int) -> Event:
        """Return the fields of the event that puts it on disk."""
        return {
            "round": round_number,
            "indices": self.indices,
            "keys": self.keys,
            "scores": self.scores,
            "seconds": dict(self.seconds),
            **({"sizes": self.sizes} if any(self.sizes) else {}),
        }


@dataclass(frozen=True)
class Asking:
    """How a question is asked.

    Args:
        keep_scores: Whether the scores of all candidates are written beside the ledger.
        skip_unreadable: Whether candidates that cannot be read are skipped for good.
        more: Whether to ask for more while a question is open; else it is handed out again.
    """

    keep_scores: bool = False
    skip_unreadable: bool = False
    more: bool = True


AS_EVER = Asking()


def query(session: Session, k: int, how: Asking = AS_EVER) -> list[int]:
    """Score candidates, pick ``k`` of them and put the question on disk; return their dataset indices.

    Args:
        session: Of the campaign.
        k: How many.
        how: What else is done for it.
    """
    settings, campaign, budget = session.settings, session.campaign, session.budget
    number = campaign.next_round
    session.call_hooks("on_query_start")
    left = session.pool.candidates(generator=generator(settings.seed, number, "candidates"))
    indices = budget.affordable(left)[: settings.subpool_size]
    if settings.subpool_size is not None and len(indices) < settings.subpool_size:
        rank_zero_info(f"Only {len(indices)} of subpool_size={settings.subpool_size} candidates are left.")
    if how.skip_unreadable:
        indices = _readable(session, indices)
    k = min(k, budget.count(indices))
    acquisition = session.project.acquisition
    candidates = Candidates(indices, session.labelled, settings.seed, number, purpose=(number, "select"))
    picked = learn_and_pick(session, acquisition, candidates, k)
    question = question_of(session.project, campaign.ranks, picked)
    question = question.first(budget.count_in_order(question.indices))
    if how.keep_scores:
        scores = Scores.of(indices, picked.all_scores, question.indices, session.project.data.keys_of)
        campaign.ranks.first(lambda: scores.to_csv(campaign.dirpath / scores_file(number)))
    if session.project.oracle.wants_predictions and question.indices:
        keep_predictions(session.project, campaign, question.indices, seed=candidates.scoring_seed)
    event = campaign.record("asked", lambda: question.event(number))
    session.call_hooks("on_query_end")
    return list(event["indices"])


def learn_and_pick(session: Session, acquisition: Acquisition, candidates: Candidates, k: int) -> Pick:
    """Let the acquisition learn what it needs, then pick ``k`` of the candidates; the same on every rank."""
    campaign, number = session.campaign, candidates.round
    learnt = learn(
        session.project,
        acquisition,
        candidates,
        keep=lambda name, make: campaign.states.keep(campaign.round_file(name), make),
        refit=lambda member, redraw: refit(
            session.fits, number, member, weights=session.settings.weights, redraw=redraw
        ),
    )
    picked = pick(session.project, campaign.ranks, acquisition, candidates, k)
    return replace(picked, seconds={**learnt, **picked.seconds})


def _readable(session: Session, indices: Tensor) -> Tensor:
    """Return the candidates that can be read; the others are skipped from now on, and the ledger says so."""
    unreadable = find_unreadable(session.project, indices)
    if unreadable:
        names = session.project.data.sample_keys.name  # a hash is of what cannot be read
        session.campaign.record(
            "skipped",
            lambda: {
                "indices": list(unreadable),
                "keys": [session.campaign.keys.get(i) or names(i) for i in unreadable],
                "annotator": UNREADABLE,
            },
        )
        indices = without(indices, unreadable)
    if len(indices) == 0:
        raise ValueError(f"None of {len(unreadable)} candidates can be read, so there is nothing to ask for.")
    return indices


def question_of(project: Project, ranks: Ranks, picked: Pick) -> Question:
    """Return the question for what was picked; the same on every rank."""
    data, task = project.data, project.task
    keys, sizes = ranks.first(
        lambda: (
            [data.key(i) for i in picked.indices],
            [mask_size(data.pool_set, i, task) for i in picked.indices],
        )
    )
    return Question(picked.indices, keys=keys, scores=picked.scores, seconds=picked.seconds, sizes=sizes)
