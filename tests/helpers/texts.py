"""Samples of different lengths, padded to the longest of their batch, and models that look past the padding."""

import lightning as L
import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from torch.utils.data import DataLoader

from lightning_al import ActiveLearningLoop, ClassificationTask, DatasetOracle
from lightning_al.training import LossPredictionMixin
from tests.helpers.projects import make_trainer

WORDS = 30


def rows(count=60, seed=0):
    g = torch.Generator().manual_seed(seed)
    return [{"ids": torch.randint(1, WORDS, (2 + 7 * i % 13,), generator=g), "y": i % 3} for i in range(count)]


def collate(samples):
    """With all that some model wants to know of padding."""
    ids = [sample["ids"] for sample in samples]
    keep = pad_sequence([torch.ones_like(i) for i in ids], True)
    return {
        "ids": pad_sequence(ids, True),
        "keep": keep,
        "ignored": keep == 0,
        "lengths": torch.tensor([len(i) for i in ids]),
        "y": torch.tensor([sample["y"] for sample in samples]),
    }


class Texts(L.LightningDataModule):
    def train_dataloader(self):
        return DataLoader(rows(), 6, shuffle=True, collate_fn=collate)

    def val_dataloader(self):
        return DataLoader(rows(12, seed=1), 6, collate_fn=collate)


class Averages(nn.Module):
    """Two layers that run over padding, and an average that does not."""

    takes = ["ids", "keep"]
    layer = "net.hidden"

    def __init__(self, padding_idx=None):
        super().__init__()
        self.words = nn.Embedding(WORDS, 6, padding_idx=padding_idx)
        self.hidden = nn.Linear(6, 5)
        self.out = nn.Linear(5, 3)

    def average(self, h, keep):
        keep = keep.unsqueeze(2).to(h.dtype)
        return self.out((h * keep).sum(1) / keep.sum(1))

    def forward(self, ids, keep):
        return self.average(self.hidden(self.words(ids)).tanh(), keep)


class Inverted(Averages):
    takes = ["ids", "ignored"]

    def forward(self, ids, ignored):
        return super().forward(ids, ~ignored)


class Unnamed(Averages):
    """A mask as floats under a name that says nothing, inside of a dict."""

    takes = ["ids", "keep"]

    def forward(self, ids, keep):
        return self.inner({"a": ids, "b": keep})

    def __init__(self):
        super().__init__()
        self.inner = Inner(self)


class Inner(nn.Module):
    def __init__(self, outer):
        super().__init__()
        self.run = [outer]

    def forward(self, both):
        return Averages.forward(self.run[0], both["a"], both["b"])


class OfLengths(Averages):
    takes = ["ids", "lengths"]

    def forward(self, ids, lengths):
        return super().forward(ids, torch.arange(ids.shape[1]) < lengths.unsqueeze(1))


class OfPaddingIndex(Averages):
    takes = ["ids"]

    def __init__(self):
        super().__init__(padding_idx=0)

    def forward(self, ids):
        return super().forward(ids, ids != 0)


class Convolved(Averages):
    """Channels second; what comes before is set to 0 at padding, so that it does not leak."""

    layer = "net.convolution"

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv1d(6, 5, 3, padding=1)

    def forward(self, ids, keep):
        h = self.words(ids) * keep.unsqueeze(2)
        return self.average(self.convolution(h.transpose(1, 2)).transpose(1, 2).tanh(), keep)


class EachWord(Averages):
    """Its last linear layer runs over words."""

    layer = None

    def forward(self, ids, keep):
        keep = keep.unsqueeze(2)
        return (self.out(self.hidden(self.words(ids)).tanh()) * keep).sum(1) / keep.sum(1)


class Packed(Averages):
    """A recurrent layer with the batch second, which gives a packed sequence."""

    takes = ["ids", "lengths"]
    layer = "net.rnn"

    def __init__(self):
        super().__init__()
        self.rnn = nn.GRU(6, 5, bidirectional=True)
        self.out = nn.Linear(10, 3)

    def forward(self, ids, lengths):
        packed = pack_padded_sequence(self.words(ids).transpose(0, 1), lengths.cpu(), enforce_sorted=False)
        h = pad_packed_sequence(self.rnn(packed)[0])[0]
        return self.out(h.sum(0) / lengths.unsqueeze(1))


class Attends(Averages):
    """torch's encoder, with the batch second."""

    layer = "net.encoder"

    def __init__(self):
        super().__init__()
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(6, 2, 8, 0.0), 1, enable_nested_tensor=False)
        self.out = nn.Linear(6, 3)

    def forward(self, ids, keep):
        h = self.encoder(self.words(ids).transpose(0, 1), src_key_padding_mask=keep == 0)
        return self.average(h.transpose(0, 1), keep)


class Secret(Averages):
    """Finds the padding itself, and tells no module of it."""

    takes = ["ids"]

    def forward(self, ids):
        return super().forward(ids, ids != 0)


class Strided(Averages):
    """A layer whose positions are no longer those of the mask."""

    layer = "net.convolution"

    def __init__(self):
        super().__init__()
        self.convolution = nn.Conv1d(6, 5, 3, stride=2, padding=1)

    def forward(self, ids, keep):
        h = self.words(ids) * keep.unsqueeze(2)
        return self.out(self.convolution(h.transpose(1, 2)).amax(2))


KNOWN = [Averages, Inverted, Unnamed, OfLengths, OfPaddingIndex, Convolved, EachWord, Packed, Attends]
UNKNOWN = [Secret, Strided]


class Module(L.LightningModule):
    def __init__(self, kind):
        super().__init__()
        torch.manual_seed(3)
        self.net = kind().double()

    def forward(self, **inputs):
        return self.net(**inputs)

    def training_step(self, batch, batch_idx):
        return cross_entropy(self(**{name: batch[name] for name in self.net.takes}), batch["y"])

    def validation_step(self, batch, batch_idx):
        self.log("loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class Learner(LossPredictionMixin, Module):
    loss_width = 4


def picked(folder, kind, acquisition, size, model=Module, **options):
    """What a campaign of one round picks, scored in batches of this size."""
    task = ClassificationTask(inputs=kind.takes, target="y")
    loop = ActiveLearningLoop(
        model(kind),
        Texts(),
        task=task,
        oracle=DatasetOracle(),
        pool_batch_size=size,
        **{"initial": 8, "query_size": 6, "rounds": 1, "dirpath": folder / f"{kind.__name__}_{size}", **options},
    )
    loop.run(make_trainer(folder, acquisition=acquisition, max_epochs=1))
    return loop.pool.labelled[-6:].tolist()
