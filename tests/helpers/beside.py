"""The usual data in two parts: rows that are labelled already, and rows beside them without a label."""

from collections import namedtuple

import torch
from torch.utils.data import Dataset

from tests.helpers.moving import Rows, X, Y
from tests.helpers.projects import Data

KNOWN = [3, 14, 15, 9, 26, 5, 41, 58]
BESIDE = [row for row in range(60) if row not in KNOWN]
Pair = namedtuple("Pair", "x y")

FORMS = {
    "bare": lambda x: x,
    "one": lambda x: (x,),
    "none": lambda x: (x, None),
    "placeholder": lambda x: (x, -1),
}
"""What an unlabelled sample may look like beside training samples (x, y)."""


class Unlabelled(Dataset):
    """Rows in some order, in some form, without labels."""

    def __init__(self, rows, form="bare"):
        self.order, self.form = list(rows), FORMS.get(form, form)

    def __len__(self):
        return len(self.order)

    def __getitem__(self, index):
        return self.form(X[self.order[index]])


class Split(Data):
    """Some rows are the training set, others are beside it.

    Args:
        known: Rows of the training set.
        beside: Rows that may be asked for.
        form: Of these; None: they have their labels, as in a simulation.
    """

    def __init__(self, known=KNOWN, beside=BESIDE, form=None, **options):
        super().__init__(**options)
        self.known, self.order, self.form = list(known), list(beside), form

    def setup(self, stage):
        super().setup(stage)
        self.train = Rows(self.known)
        self.train.own = None

    def unlabelled_dataset(self):
        if self.form is not None:
            return Unlabelled(self.order, self.form)
        rows = Rows(self.order)
        rows.own = None
        return rows


def rows_picked(data, history):
    return [[data.order[i] for i in result.picked] for result in history]


def row_of(x):
    """The row of the usual data that an input is."""
    return int((x.cpu() == X).all(1).nonzero())


def labels_of(data, indices):
    return [int(Y[data.order[i]]) for i in indices]


def trained_rows(loop):
    """The rows of the batches of an epoch, batch by batch, and that each has its label."""
    batches = []
    for x, y in loop.datamodule.train_dataloader():
        rows = [row_of(one) for one in x]
        assert torch.equal(y, Y[rows])
        batches.append(rows)
    return batches
