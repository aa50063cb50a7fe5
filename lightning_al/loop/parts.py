"""What of an answer is taken where a part of a sample was asked for, and what it costs."""

from collections.abc import Mapping
from typing import Any

from lightning_al.campaign.campaign import Campaign
from lightning_al.campaign.regions import merged, pixels_told
from lightning_al.oracle.answers import Answers
from lightning_al.oracle.base import Oracle, costs
from lightning_al.tasks.base import Task


def of_asked(campaign: Campaign, answers: Answers) -> Answers:
    """Return the answers with, of samples that were asked for in parts, what was said of the pixels asked for so far.

    It is put into the label so far, so that a label holds all that was told. An answer to a question that says nothing
    of a sample which has no label yet is ``void``. Samples of which no part was asked for keep what was said.

    Args:
        campaign: Knows what was asked for, and the labels so far.
        answers: Of which a label may be a mask of a whole sample.
    """
    labels: dict[int, Any] = {}
    void, refused = [], dict(answers.refused)
    for index, label in answers.labels.items():
        asked = campaign.regions.all(index)
        if asked is None:
            labels[index] = label
            continue
        try:
            label, told = merged(label, campaign.labels.get(index), asked)
        except ValueError as error:
            refused[index] = str(error)
            continue
        if told:
            labels[index] = label
        elif campaign.pool.is_pending(index):
            void.append(index)
    return answers._replace(labels=labels, void=void, refused=refused)


def prices_of(oracle: Oracle, task: Task, labels: Mapping[int, Any]) -> list[float]:
    """Return what labels cost: the oracle's prices, which are of each pixel that has a class where these are asked for.

    Args:
        oracle: Of the loop.
        task: Of the loop.
        labels: As the ledger has them, by dataset index.
    """
    prices = costs(oracle, list(labels)).tolist()
    if task.region_kind is None:
        return prices
    return [price * pixels_told(label) for price, label in zip(prices, labels.values(), strict=True)]
