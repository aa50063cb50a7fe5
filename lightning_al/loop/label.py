"""From answers to labels: what an oracle or a person says goes to the ledger first."""

from collections.abc import Callable, Iterable
from typing import Any

from lightning_al.campaign.campaign import Campaign
from lightning_al.campaign.events import Event
from lightning_al.data.pool import Indices
from lightning_al.oracle.answers import Answers, sort_answers
from lightning_al.oracle.base import Oracle, costs
from lightning_al.tasks.base import Task
from lightning_al.words import shown

KeyOf = Callable[[int], str | None]
"""Gives the key of a dataset index, or None where it is not known."""


def write_answers(
    campaign: Campaign, answers: Answers, *, annotator: str, key_of: KeyOf, oracle: Oracle
) -> list[Event]:
    """Put answers on disk, then take note of them, and return their events.

    Args:
        campaign: The open campaign.
        answers: What was said.
        annotator: By whom.
        key_of: For samples that were never asked for.
        oracle: Has the prices of labels.
    """
    events = []
    if answers.labels:
        indices, labels = list(answers.labels), list(answers.labels.values())
        keys = [campaign.keys.get(i) or key_of(i) for i in indices]
        fields = {"indices": indices, "keys": keys, "labels": labels, "annotator": annotator}
        prices = costs(oracle, indices).tolist()
        if any(price != 1 for price in prices):
            fields["costs"] = prices
        events.append(campaign.write("answered", **fields))
        campaign.apply(events[-1])
    if answers.skipped:
        events.append(campaign.write("skipped", indices=answers.skipped, annotator=annotator))
        campaign.apply(events[-1])
    return events


def answers_of(campaign: Campaign, indices: Indices, labels: Iterable[Any], task: Task) -> Answers:
    """Return what is told of samples, refusing all of it if some cannot be taken; errors as of the loop's ``tell``."""
    units = campaign.pool.check(indices)
    if not isinstance(labels, Iterable):
        raise TypeError(f"Expected a list of labels, one for each index, got {shown(labels)}.")
    values = list(labels)
    if len(units) != len(values):
        raise ValueError(f"`tell` got {len(units)} indices and {len(values)} labels.")
    answers = sort_answers(dict(zip(units, values, strict=True)), task)
    answers.check()
    labelled = [i for i in answers.skipped if campaign.pool.is_labelled(i)]
    if labelled:
        raise ValueError(f"`SKIP` cannot take back a label that was told: {labelled[:10]}. Tell another label.")
    return answers


def release(campaign: Campaign, indices: Indices) -> None:
    """Put on disk that pending samples are given back.

    Raises:
        ValueError: If one of them is not pending; nothing is written then.
    """
    units = campaign.pool.check(indices)
    campaign.pool.check_pending(units)
    campaign.apply(campaign.write("released", indices=units))


def collect_answers(campaign: Campaign, oracle: Oracle, task: Task, key_of: KeyOf) -> None:
    """Ask the oracle, on rank 0, for all that is pending, and take what answers there are on every rank.

    Raises:
        TypeError: For labels that cannot be taken, once the others are on disk.
        OSError: If the campaign's folder cannot be written to; nobody is asked then.
    """

    def ask_and_write() -> list[Event]:
        campaign.check_writable()
        answers = _answers(campaign, oracle, task)
        events = write_answers(campaign, answers, annotator=oracle.annotator, key_of=key_of, oracle=oracle)
        answers.check()
        return events

    events = campaign.ranks.first(ask_and_write)
    if not campaign.ranks.is_first:
        for event in events:
            campaign.apply(event)


def _answers(campaign: Campaign, oracle: Oracle, task: Task) -> Answers:
    oracle.request(campaign.pool.pending.tolist())
    answers = oracle.poll()
    if not isinstance(answers, dict):
        raise TypeError(
            f"`{type(oracle).__name__}.poll` must return a dict of labels by dataset index (empty while there are "
            f"none), got {type(answers).__name__}."
        )
    indices = campaign.pool.check(list(answers))
    return sort_answers(dict(zip(indices, answers.values(), strict=True)), task)
