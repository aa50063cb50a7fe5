"""Small ledgers, written event by event."""

from lightning_al import Campaign


def begin(path, size=10, **options):
    return Campaign(path, Campaign.create(path, size=size, options={"seed": 0, **options}))


def record(campaign, kind, **fields):
    campaign.apply(campaign.write(kind, **fields))


def asked(campaign, number, indices, scores=()):
    record(
        campaign, "asked", round=number, indices=indices, keys=[f"k{i}" for i in indices], scores=list(scores),
        seconds={"score": 1.0, "select": 0.5},
    )  # fmt: skip


def answered(campaign, indices, labels):
    record(campaign, "answered", indices=indices, keys=[f"k{i}" for i in indices], labels=labels, annotator="x")


def fitted(campaign, number, metric):
    record(
        campaign, "fitted", round=number, labelled=len(campaign.pool.labelled), digest=campaign.label_digest,
        metrics={"acc": metric}, seconds={"fit": 2.0, "evaluate": 0.25}, steps={"optimizer": 5, "logged": 5},
    )  # fmt: skip


def a_campaign(path):
    campaign = begin(path)
    asked(campaign, -1, [3, 1])
    answered(campaign, [3, 1], [0, 2])
    fitted(campaign, 0, 0.5)
    asked(campaign, 0, [7, 5], [0.9, 0.8])
    answered(campaign, [5], [1])
    record(campaign, "skipped", indices=[7], annotator="x")
    fitted(campaign, 1, 0.75)
    return campaign
