"""Datasets whose samples move between starts, with or without names."""

import torch
from torch.utils.data import Dataset

from tests.helpers.projects import Data, make_data


def input_of(sample: str) -> torch.Tensor:
    """Samples are texts; one input for each, or for all that begin alike before a "~"."""
    return torch.tensor([float(ord(letter)) for letter in sample.split("~")[0].rjust(12)])


class Nameless(Dataset):
    """Samples in some order; of a name nothing is known."""

    def __init__(self, samples, labels=None):
        self.order = list(samples)
        self.own = labels or {}
        self.drawn: list[int] = []

    def __len__(self):
        return len(self.order)

    def __getitem__(self, index):
        self.drawn.append(index)
        return input_of(self.order[index]), self.own.get(self.order[index], -1)


class Named(Nameless):
    def sample_key(self, index):
        return self.order[index]


class Paths(Nameless):
    @property
    def files(self):
        return self.order


class Noisy(Nameless):
    def __getitem__(self, index):
        x, y = super().__getitem__(index)
        return x + torch.randn(()), y


class NoisyNamed(Named, Noisy):
    pass


X, Y = make_data(80)


class Rows(Nameless):
    """Rows of the usual data, by their number there, in some order."""

    def __getitem__(self, index):
        row = self.order[index]
        return X[row], int(Y[row]) if self.own is None else self.own.get(row, -1)


class MovingData(Data):
    """The usual data module over some rows in some order.

    Args:
        order: Rows of the usual data.
        own: The dataset's own labels by row; None: the usual ones; {}: none are known.
        kind: Of the dataset.
    """

    def __init__(self, order, own=None, kind=Rows):
        super().__init__()
        self.order, self.own, self.kind = list(order), own, kind

    def setup(self, stage):
        super().setup(stage)
        self.train = self.kind(self.order)
        self.train.own = self.own
