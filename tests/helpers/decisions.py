"""Scores of single decisions, and small projects and campaigns whose samples have several."""

import copy
import math

import lightning as L
import torch
from lightning.pytorch.callbacks import Callback
from torch.nn import functional as F
from torch.utils.data import DataLoader

from lightning_al import ActiveLearningLoop, DatasetOracle, Loaders
from lightning_al.acquisition import Entropy, LeastConfidence, Margin
from tests.helpers.projects import make_trainer

CLASSES = 3


def entropy(z):
    return -(z.softmax(0) * z.log_softmax(0)).sum()


def least_confidence(z):
    return 1 - z.softmax(0).max()


def margin(z):
    first, second = z.softmax(0).sort(descending=True).values[:2]
    return second - first


def own_label_loss(z):
    return -z.log_softmax(0)[z.argmax()]


DECISIONS = {Entropy: entropy, LeastConfidence: least_confidence, Margin: margin}


class Project(L.LightningModule):
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def training_step(self, batch, batch_idx):
        return F.cross_entropy(self(batch[0]), batch[1])

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.training_step(batch, batch_idx))


def images(n, seed=0):
    return torch.randn(n, 3, 4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def bound(acquisition, task):
    acquisition.bind(task, DatasetOracle([], task))
    return acquisition


def scores(acquisition, task, net, batch):
    return bound(acquisition, task).rows(net.eval(), batch)["score"]


class Watch(Callback):
    """Keeps the model that each query is made with."""

    def __init__(self):
        self.models = []

    def on_query_start(self, trainer, pl_module, loop):
        self.models.append(copy.deepcopy(pl_module).eval())


def campaign(folder, model, task, acquisition, dataset):
    watch = Watch()
    loaders = Loaders(DataLoader(dataset, batch_size=4), DataLoader(dataset, batch_size=6), pool=dataset)
    options = {"initial": 6, "query_size": 4, "rounds": 2, "task": task, "dirpath": folder / "c"}
    loop = ActiveLearningLoop(model, loaders, **options)
    history = loop.run(make_trainer(folder, watch, acquisition=acquisition))
    assert [r.labelled for r in history] == [6, 10, 14]
    assert len(set(loop.pool.labelled.tolist())) == 14
    return history, watch.models


def gradient(net, loss):
    return torch.autograd.grad(loss, list(net.parameters()))


def norm(grads, kind="global"):
    lengths = [float(g.norm()) for g in grads]
    return sum(lengths) if kind == "tensor_sum" else math.hypot(*lengths)


def sharpest(net, loss_of, rho):
    """Plain loop: the loss of one sample at its own worst-case weights, and at the weights as they are."""
    plain = loss_of(net)
    grads = gradient(net, plain)
    step = rho / (norm(grads) + 1e-12)
    moved = copy.deepcopy(net)
    with torch.no_grad():
        for weight, grad in zip(moved.parameters(), grads, strict=True):
            weight += step * grad
        return number(loss_of(moved)), number(plain)


def number(value):
    return float(value.detach()) if isinstance(value, torch.Tensor) else value
