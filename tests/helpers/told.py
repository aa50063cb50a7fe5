"""Small ledgers that people label for, without torch or a model."""

from lightning_al.campaign import Standing, tell_campaign
from lightning_al.oracle import read_labels
from tests.helpers.ledger import record

PETS = {"kind": "class", "classes": ["cat", "dog", "catfish"], "count": 3, "priced": False}


def asked(path, keys, annotations=PETS):
    """A campaign that asked for the samples of these keys, of a pool with one more."""
    from lightning_al import Campaign

    events = Campaign.create(path, size=len(keys) + 1, options={"seed": 0, "budget": 9}, annotations=annotations)
    campaign = Campaign(path, events)
    record(campaign, "asked", round=0, indices=[*range(len(keys))], keys=list(keys), scores=[], seconds={})
    return path


def tell(path, *files, **options):
    """Tell files, and return what came of it."""
    return tell_campaign(path, [read_labels(file) for file in files], **options)


def said(path):
    """What the campaign has of each sample, in words."""
    standing = Standing(path)
    return {standing.name(unit): standing.annotation(unit) for unit in standing.samples}
