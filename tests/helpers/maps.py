"""A small segmentation project whose images show their own masks, so that a mask of another draw is seen at once."""

import random

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lightning_al import ClassificationTask, Oracle
from tests.helpers.pair_task import PairTask

SIZE, CLASSES = 40, 3


def mask(index):
    return torch.randint(CLASSES, (6, 5), generator=torch.Generator().manual_seed(index))


def flipped(sample):
    """Image and mask together, every second time."""
    return tuple(part.flip(-1) for part in sample) if random.random() < 0.5 else tuple(sample)


def told(index):
    """What people say: another mask than the dataset's."""
    return (mask(index) + 1) % CLASSES


class Maps(Dataset):
    """Images and their masks; ``transform`` gets both."""

    def __init__(self, transform=None, size=SIZE, first=0, hidden=False):
        self.transform, self.size, self.first, self.hidden = transform, size, first, hidden

    def __len__(self):
        return self.size

    def __getitem__(self, i):
        if i >= self.size:
            raise IndexError(i)
        y = mask(self.first + i)
        sample = y[None].double(), torch.zeros_like(y) if self.hidden else y
        return sample if self.transform is None else self.transform(sample)


class MapTask(PairTask):
    def encode_label(self, label):
        return label.tolist()

    def decode_label(self, value):
        return torch.tensor(value)


class MapNet(L.LightningModule):
    """Notes what it trained on: each image, and whether its mask was another's."""

    def __init__(self, shift=0, loaders=None):
        super().__init__()
        torch.manual_seed(3)
        self.net = nn.Conv2d(1, CLASSES, 1).double()
        self.shift = shift  # of the labels, beside the image
        self.pairs = []  # a list goes on from round to round, where numbers begin again

    @property
    def seen(self):
        return len(self.pairs)

    @property
    def wrong(self):
        return sum(is_wrong for _, is_wrong in self.pairs)

    @property
    def distinct(self):
        return {own for own, _ in self.pairs}

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        own = (x[:, 0].long() + self.shift) % CLASSES
        self.pairs += [(str(a.tolist()), not torch.equal(a, b)) for a, b in zip(own, y, strict=True)]
        return nn.functional.cross_entropy(self(x), y)

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", nn.functional.cross_entropy(self(batch[0]), batch[1]), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)


class MapData(L.LightningDataModule):
    """Without a pool; subclasses add one."""

    def __init__(self, train=None, **loader):
        super().__init__()
        self.train = Maps(flipped) if train is None else train
        self.loader = loader

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=4, shuffle=True, **self.loader)

    def val_dataloader(self):
        return DataLoader(Maps(size=8, first=100), batch_size=4)


class Tells(Oracle):
    """Answers at once, with labels that the dataset does not have."""

    def __init__(self, label=told):
        self.label, self.asked = label, []

    def request(self, indices):
        self.asked = list(indices)

    def poll(self):
        return {i: self.label(i) for i in self.asked}


class Flipped(Dataset):
    """Points of the classification project, their inputs turned around every second time."""

    def __init__(self, x, y):
        self.x, self.y = x, y

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        if i >= len(self.x):
            raise IndexError(i)
        return (self.x[i].flip(0) if random.random() < 0.5 else self.x[i]), self.y[i]


CLASS_TASK = ClassificationTask()
