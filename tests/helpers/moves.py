"""A campaign over a dataset whose samples move between openings, without a loop."""

from lightning_al import Campaign, ClassificationTask
from lightning_al.campaign.moves import Search
from lightning_al.data.keys import SampleKeys
from tests.helpers.ledger import record

TASK = ClassificationTask()


def search(campaign, dataset):
    """Return a search for the campaign's samples among those of a dataset."""
    keys = SampleKeys(dataset, dataset, TASK)
    own_label = lambda index: TASK.encode_label(dataset[index][1])  # noqa: E731
    return Search(campaign, keys, own_label=own_label, keeps_target=lambda index: True)


def reopen(campaign, dataset):
    """Find the samples again, as at an opening, and have the ledger say so."""
    campaign = Campaign.load(campaign.dirpath)
    move = search(campaign, dataset).move()
    if move is not None:
        record(campaign, "moved", **move)
    return campaign


def start(path, dataset):
    """Begin a campaign over a dataset."""
    keys = SampleKeys(dataset, dataset, TASK)
    return Campaign(path, Campaign.create(path, size=len(dataset), options={}, root=keys.root))


def ask(campaign, dataset, samples, number=None):
    """Ask for samples, by what they are."""
    keys = SampleKeys(dataset, dataset, TASK)
    indices = [dataset.order.index(s) for s in samples]
    record(
        campaign, "asked", round=campaign.next_round if number is None else number, indices=indices,
        keys=[keys.key(i) for i in indices], scores=[float(i) for i in range(len(indices))], seconds={},
    )  # fmt: skip


def answer(campaign, dataset, labels, annotator="tell"):
    """Tell labels of samples, by what they are."""
    keys = SampleKeys(dataset, dataset, TASK)
    indices = [dataset.order.index(s) for s in labels]
    known = [campaign.keys.get(i) or keys.key(i) for i in indices]
    record(campaign, "answered", indices=indices, keys=known, labels=list(labels.values()), annotator=annotator)


def labels_of(campaign, dataset):
    """Return the labels, by what their samples are."""
    return {dataset.order[i]: label for i, label in campaign.labels.items()}
