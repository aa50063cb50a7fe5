"""From answers to labels: what an oracle or a person says goes to the ledger first."""

from collections.abc import Callable

from lightning_al.campaign.campaign import Campaign
from lightning_al.campaign.events import Event
from lightning_al.oracle.answers import Answers, sort_answers
from lightning_al.oracle.base import Oracle, costs
from lightning_al.tasks.base import Task

KeyOf = Callable[[int], str | None]


def write_answers(
    campaign: Campaign, answers: Answers, annotator: str, key_of: KeyOf, oracle: Oracle | None = None
) -> list[Event]:
    """Put answers on disk, then take note of them.

    Args:
        campaign: The open campaign.
        answers: What was said.
        annotator: By whom.
        key_of: The key of a dataset index, or None where it is not known.
        oracle: Has the prices of labels; default 1 each.

    Returns:
        The events.
    """
    events = []
    if answers.told:
        keys = [campaign.keys.get(i) or key_of(i) for i in answers.told]
        labels = list(answers.told.values())
        fields = {"indices": list(answers.told), "keys": keys, "labels": labels, "annotator": annotator}
        prices = [1.0] * len(labels) if oracle is None else costs(oracle, list(answers.told)).tolist()
        if any(price != 1 for price in prices):
            fields["costs"] = prices
        events.append(campaign.write("answered", **fields))
        campaign.apply(events[-1])
    if answers.skipped:
        events.append(campaign.write("skipped", indices=answers.skipped, annotator=annotator))
        campaign.apply(events[-1])
    return events


def collect_answers(campaign: Campaign, oracle: Oracle, task: Task, key_of: KeyOf) -> None:
    """Ask the oracle, on rank 0, for all that is pending, and take what answers there are on every rank.

    Raises:
        TypeError: For labels that cannot be taken, once the others are on disk.
        OSError: If the campaign's folder cannot be written to; nobody is asked then.
    """

    def collect() -> list[Event]:
        campaign.check_writable()
        oracle.request(campaign.pool.pending.tolist())
        found = oracle.poll()
        if not isinstance(found, dict):
            raise TypeError(
                f"`{type(oracle).__name__}.poll` must return a dict of labels by dataset index (empty while there are "
                f"none), got {type(found).__name__}."
            )
        indices = campaign.pool.check(list(found))
        answers = sort_answers(dict(zip(indices, found.values(), strict=True)), task)
        events = write_answers(campaign, answers, oracle.annotator, key_of, oracle)
        answers.check()
        return events

    events = campaign.ranks.first(collect)
    if not campaign.ranks.is_first:
        for event in events:
            campaign.apply(event)
