"""The usual data in two parts: rows that are labelled already, and rows beside them without a label."""

from pathlib import Path

import torch
from torch.utils.data import Dataset

from tests.helpers.moving import Rows, X, Y
from tests.helpers.projects import Data

KNOWN = [3, 14, 15, 9, 26, 5, 41, 58]
BESIDE = [row for row in range(60) if row not in KNOWN]

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


class Folder(Dataset):
    """Files that each hold the number of a row; below ``root``, in folders of their classes where they have one."""

    def __init__(self, root, labelled):
        self.root, self.labelled = str(root), labelled
        self.samples = [(str(path), self.label(path)) for path in sorted(root.rglob("*.txt"))]

    @staticmethod
    def label(path):
        return int(path.parent.name) if path.parent.name.isdecimal() else None

    def __len__(self):
        return len(self.samples)

    def __getitem__(self, index):
        path, label = self.samples[index]
        x = X[int(Path(path).read_text())]
        return (x, label) if self.labelled else x


class Folders(Data):
    """``labelled/CLASS/*.txt`` beside ``unlabelled/*.txt``, as they are on disk today."""

    def __init__(self, root):
        super().__init__()
        self.root = root

    def setup(self, stage):
        super().setup(stage)
        self.train = Folder(self.root / "labelled", True)
        self.unlabelled = Folder(self.root / "unlabelled", False)

    def unlabelled_dataset(self):
        return self.unlabelled


def file_of(root, row, known):
    folder = root / "labelled" / str(int(Y[row])) if known else root / "unlabelled"
    return folder / f"{row}.txt"


def make_folders(root, known=KNOWN, beside=range(42, 58)):
    for row in [*known, *beside]:
        path = file_of(root, row, row in known)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(row))
    return Folders(root)
