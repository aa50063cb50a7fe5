"""A small project whose model gives one logit, or real values."""

import lightning as L
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_al import ActiveLearningLoop, Loaders
from lightning_al.acquisition import Random
from lightning_al.training import LossPredictionMixin
from tests.helpers.projects import make_data, make_trainer

SIZE = 40


class Values(L.LightningModule):
    """4 features into some outputs, in float64."""

    def __init__(self, outputs=1, squeeze=False, loss=F.mse_loss):
        super().__init__()
        torch.manual_seed(7)
        layers = [nn.Linear(4, 8), nn.Tanh(), nn.Dropout(0.3), nn.Linear(8, outputs)]
        self.net = nn.Sequential(*layers).double()
        self.squeeze, self.loss = squeeze, loss

    def forward(self, x):
        return self.net(x).squeeze(1) if self.squeeze else self.net(x)

    def training_step(self, batch, batch_idx):
        return self.loss_of(*batch)

    def loss_of(self, x, y):
        values = self(x)
        return self.loss(values, y.reshape(values.shape).to(values))

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss_of(*batch))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.05)


class Learner(LossPredictionMixin, Values):
    """Learns to predict its loss."""

    loss_width, loss_layers = 6, ("net.1",)


def real_targets(n=SIZE, outputs=1):
    x, _ = make_data(n)
    return torch.stack([x.sum(1) + m * x[:, 0].square() for m in range(outputs)], 1)


def loop_over(folder, acquisition, model, targets, task, *callbacks, **options):
    """A loop over the small table with these targets, and its Trainer."""
    train = TensorDataset(make_data(len(targets))[0], targets)
    loaders = Loaders(DataLoader(train, batch_size=4), DataLoader(train, batch_size=8), pool=train)
    defaults = {"initial": 8, "query_size": 4, "rounds": 1, "task": task, "dirpath": folder / "c"}
    loop = ActiveLearningLoop(model, loaders, **{**defaults, **options})
    return loop, make_trainer(folder, *callbacks, acquisition=acquisition, max_epochs=1)


class Picks(L.Callback):
    """Has several acquisitions pick from the same weights, in a campaign that is otherwise Random's."""

    def __init__(self, acquisitions, pick):
        self.acquisitions, self.pick, self.picked, self.scores = acquisitions, pick, {}, {}

    def on_query_start(self, trainer, pl_module, loop):
        with torch.no_grad():
            loop.task.check(pl_module.eval(), next(iter(loop.datamodule.datamodule.val_dataloader())))  # counts classes
        for name, made in self.acquisitions.items():
            made.bind(loop.task, loop.oracle)
            question = self.pick(loop.session, made, loop.pool.unlabelled, 6, purpose=("both", 0))
            self.picked[name], self.scores[name] = question.indices, question.scores


def picks_of(folder, acquisitions, pick, model, targets, task):
    """What each acquisition picks of the same fit."""
    picks = Picks(acquisitions, pick)
    loop, trainer = loop_over(folder, Random(), model, targets, task, picks)
    loop.run(trainer)
    return picks
