"""Ledgers and curves made for the tests of reports."""

from lightning_al import Campaign
from lightning_al.report import Curve


def fitted(campaign, **fields):
    return campaign.write("fitted", digest=campaign.label_digest, steps={}, **fields)


def write_campaign(folder, values, initial=20, query=10, metric="test_acc", extra=(), fit=2.0, score=1.0, options={}):
    """A real ledger of len(values) trainings."""
    folder.mkdir(parents=True)
    campaign = Campaign(folder, Campaign.create(folder, size=1000, options=options))
    for number, value in enumerate(values):
        metrics = {metric: value, **dict.fromkeys(extra, 0.5)}
        seconds = {"fit": fit + number, "evaluate": 0.1}
        labelled = initial + query * number
        campaign.apply(fitted(campaign, round=number, labelled=labelled, metrics=metrics, seconds=seconds))
        if number < len(values) - 1:
            indices = list(range(number * query, (number + 1) * query))
            campaign.apply(
                campaign.write(
                    "asked",
                    round=number,
                    indices=indices,
                    keys=[str(i) for i in indices],
                    scores=[0.5] * query,
                    seconds={"score": score, "select": 0.5},
                )
            )
    return folder


def curve(values, labels=None, path="a", metric="test_acc", **fields):
    return Curve(path, metric, labels or [20 + 10 * i for i in range(len(values))], list(values), **fields)


def repeats(*of_seeds, seeds=None, **fields):
    """The curves of one method, one for each seed."""
    seeds = range(len(of_seeds)) if seeds is None else seeds
    return [curve(values, path=f"x/seed_{seed}", seed=seed, **fields) for values, seed in zip(of_seeds, seeds)]
