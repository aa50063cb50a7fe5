"""A ``training_step``, or a hook after it, that changes its batch: both passes see it as it came."""

from dataclasses import dataclass
from types import SimpleNamespace
from typing import NamedTuple

import pytest
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities import CombinedLoader
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_sequence
from torch.utils.data import DataLoader

from lightning_al.training import AutoSAMMixin, SAMMixin
from tests.helpers.sam_reference import EXACT, distance, hand_sam, network, rows, sgd, trainer

MEAN, SCALE = 0.5, 0.25
MIXINS = [SAMMixin, AutoSAMMixin]


@dataclass
class Cells:
    x: Tensor
    y: Tensor
    names: list

    def to(self, device):
        return Cells(self.x.to(device), self.y.to(device), self.names)


class Graph:
    """As graph libraries have it: a store behind attributes, and moves by a method."""

    def __init__(self, **store):
        self.__dict__["store"] = store

    def __getattr__(self, name):
        try:
            return self.__dict__["store"][name]
        except KeyError:
            raise AttributeError(name) from None

    def __setattr__(self, name, value):
        self.store[name] = value

    def to(self, device):
        return Graph(**{k: v.to(device) for k, v in self.store.items()})


class Pair(NamedTuple):
    x: Tensor
    y: Tensor


def stacked(samples):
    return torch.stack([x for x, _ in samples]), torch.stack([y for _, y in samples])


def scaled(x):
    return x.sub_(MEAN).div_(SCALE)


def in_place(batch):
    return scaled(batch[0]), batch[1]


def through_data(batch):
    batch[0].data.sub_(MEAN).div_(SCALE)
    return batch[0], batch[1]


def through_numpy(batch):
    array = batch[0].numpy()
    array -= MEAN
    array /= SCALE
    return batch[0], batch[1]


def popped(batch):
    return scaled(batch.pop("x")), batch.pop("y")


def emptied(batch):
    y, x = batch.pop(), batch.pop()
    batch.append("done")
    return scaled(x), y


def replaced(batch):
    batch.x = (batch.x - MEAN) / SCALE
    x, batch.y = batch.x, 1 - batch.y  # so that a second look would find other labels
    return x, 1 - batch.y


def cells(batch):
    assert batch.names.pop() == "last"
    return replaced(batch)


def overlapping(batch):
    batch["all"][:, :-1].sub_(MEAN).div_(SCALE)
    return batch["x"].contiguous(), batch["y"].long()


def table(samples):
    x, y = stacked(samples)
    everything = torch.cat([x, y[:, None].double()], 1)
    return {"all": everything, "x": everything[:, :-1], "y": everything[:, -1]}


def nested(batch):
    return scaled(batch["views"][0].pop("x")), batch["y"].pop(0)


def sequences(batch):
    packed, y = batch
    scaled(packed.data)
    assert packed.batch_sizes.tolist() == [len(y)]
    return packed.data[packed.unsorted_indices], y


CASES = {
    "in place": (stacked, in_place),
    "through .data": (stacked, through_data),
    "through NumPy": (stacked, through_numpy),
    "named tuple": (lambda s: Pair(*stacked(s)), in_place),
    "dict.pop": (lambda s: dict(zip("xy", stacked(s))), popped),
    "list.pop": (lambda s: list(stacked(s)), emptied),
    "data class": (lambda s: Cells(*stacked(s), ["first", "last"]), cells),
    "graph": (lambda s: Graph(**dict(zip("xy", stacked(s)))), replaced),
    "namespace": (lambda s: SimpleNamespace(**dict(zip("xy", stacked(s)))), replaced),
    "views of one tensor": (table, overlapping),
    "nested": (lambda s: {"views": ({"x": stacked(s)[0]},), "y": [stacked(s)[1]]}, nested),
    "packed sequence": (lambda s: (pack_sequence([x[None] for x, _ in s], False), stacked(s)[1]), sequences),
}


def sam(mixin, read, **hooks):
    class Net(mixin, LightningModule):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.net = network()

        def training_step(self, batch, batch_idx):
            x, y = read(batch)
            return F.cross_entropy(self.net(x), y)

        def configure_optimizers(self):
            return sgd(self.parameters())

    return type("Net", (Net,), hooks)


def by_hand(n=1, shift=0.0):
    net = network()
    batches = [stacked(list(map(rows().__getitem__, range(i, min(i + 4, 22))))) for i in range(0, 22, 4)]
    hand_sam(net, [((x - MEAN) / SCALE + shift, y) for x, y in batches], sgd, n=n)
    return net


@pytest.mark.few(4)
@pytest.mark.parametrize("mixin", MIXINS)
@pytest.mark.parametrize(("collate", "read"), CASES.values(), ids=CASES)
def test_both_passes_see_the_batch_as_it_came(mixin, collate, read):
    model = sam(mixin, read)()
    trainer(max_epochs=1).fit(model, DataLoader(rows(), batch_size=4, collate_fn=collate))
    clean = sam(mixin, lambda batch: ((batch[0] - MEAN) / SCALE, batch[1]))()
    trainer(max_epochs=1).fit(clean, DataLoader(rows(), batch_size=4))
    assert distance(model.net, clean.net) == 0
    assert distance(model.net, by_hand()) < EXACT


@pytest.mark.parametrize("mixin", MIXINS)
def test_hooks_after_the_step_may_empty_batches_that_a_window_still_needs(mixin):
    def on_train_batch_end(self, outputs, batch, batch_idx):
        seen.append(batch["x"].mean().item())  # as the first pass left it
        batch.clear()

    def read(batch):
        return scaled(batch["x"]), batch["y"]

    seen = []
    options = {"accumulate_grad_batches": 3}
    model = sam(mixin, read, on_train_batch_end=on_train_batch_end)(**(options if mixin is SAMMixin else {}))
    data = DataLoader(rows(), batch_size=4, collate_fn=CASES["dict.pop"][0])
    trainer(max_epochs=1, **({} if mixin is SAMMixin else options)).fit(model, data)
    assert distance(model.net, by_hand(n=3)) < EXACT
    expected = [((batch["x"] - MEAN) / SCALE).mean().item() for batch in data]
    assert seen == pytest.approx(expected)


@pytest.mark.parametrize("mixin", MIXINS)
def test_what_hooks_before_the_step_did_is_in_both_passes_once(mixin):
    def on_before_batch_transfer(self, batch, dataloader_idx):
        batch[0].add_(0.5)
        return batch

    def on_after_batch_transfer(self, batch, dataloader_idx):
        return [batch[0].add_(0.5), batch[1]]

    model = sam(
        mixin,
        in_place,
        on_before_batch_transfer=on_before_batch_transfer,
        on_after_batch_transfer=on_after_batch_transfer,
    )()
    trainer(max_epochs=1).fit(model, DataLoader(rows(), batch_size=4))
    assert distance(model.net, by_hand(shift=1 / SCALE)) < EXACT


@pytest.mark.parametrize("mixin", MIXINS)
def test_several_loaders(mixin):
    def read(batch):
        x, y = batch.pop("labelled")
        scaled(x).add_(batch.pop("shift")[0].fill_(2.0).mean())
        return x, y

    model = sam(mixin, read)()
    loaders = {"labelled": DataLoader(rows(), batch_size=4), "shift": DataLoader(rows(), batch_size=4)}
    trainer(max_epochs=1).fit(model, CombinedLoader(loaders, "min_size"))
    assert distance(model.net, by_hand(shift=2.0)) < EXACT
