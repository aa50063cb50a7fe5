"""Diagnoses of samples of several decisions: pixels of which some have no class, labels, one logit."""

import inspect

import lightning as L
import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from lightning_al import ActiveLearningLoop, BinaryTask, Loaders, MultiLabelTask, SegmentationTask
from lightning_al.acquisition import Random
from lightning_al.cli.diagnose import OPEN
from lightning_al.report.diagnostics import landscape, norms, open_campaign
from tests.helpers.models import randn, seeded
from tests.helpers.projects import make_trainer

IMAGES, ROWS = randn(24, 1, 5, 6), randn(24, 4)
MASKS = (IMAGES[:, 0] > 0).long() + (IMAGES[:, 0] > 1).long()
MASKS[:, :1] = 255


def pixels(z, y):
    return F.cross_entropy(z, y, ignore_index=255, reduction="none").flatten(1).sum(1) / (y != 255).flatten(1).sum(1)


def labels(z, y):
    return F.binary_cross_entropy_with_logits(z, y.to(z.dtype), reduction="none").reshape(len(z), -1).mean(1)


CASES = {
    "segmentation": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 3, 1)),
        pixels,
        (IMAGES, MASKS),
        lambda: SegmentationTask(num_classes=3),
    ),
    "several labels": (
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)),
        labels,
        (ROWS, (ROWS[:, :3] > 0).double()),
        MultiLabelTask,
    ),
    "one logit": (
        lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 1), nn.Flatten(0)),
        labels,
        (ROWS, (ROWS[:, 0] > 0).double()),
        BinaryTask,
    ),
}


class Module(L.LightningModule):
    def __init__(self, net, loss):
        super().__init__()
        self.net, self.loss = seeded(net), loss

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return self.loss(self(batch[0]), batch[1]).mean()

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.loss(self(batch[0]), batch[1]).mean())

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_every_diagnosis_of(case, tmp_path):
    net, loss, data, make_task = CASES[case]
    samples = TensorDataset(*data)

    def project():
        loaders = Loaders(DataLoader(samples, batch_size=4, shuffle=True), DataLoader(samples, 4), pool=samples)
        return Module(net, loss), loaders

    options = {"initial": 6, "query_size": 3, "rounds": 1, "task": make_task(), "keep_weights": True}
    ActiveLearningLoop(*project(), dirpath=tmp_path / "c", **options).run(make_trainer(tmp_path, acquisition=Random()))
    with open_campaign(tmp_path / "c", *project(), task=make_task()) as kept:
        for function in OPEN.values():
            few = {"samples": 5, "points": 3, "steps": 10, "held_out": 5}
            takes = inspect.signature(function).parameters
            for diagnosis in function([kept], **{name: value for name, value in few.items() if name in takes}):
                assert diagnosis.rows
        last = kept.rounds[-1]
        model = kept.at(last)
        x, y = (part[last.labelled] for part in data)
        assert landscape([kept], points=3)[0].rows[0][4] == pytest.approx(float(loss(model(x), y).mean()), rel=1e-6)
        first = kept.rounds[0]
        model = kept.at(first)
        sizes = []
        for i in first.scored.tolist():
            model.zero_grad()
            loss(model(data[0][i : i + 1]), data[1][i : i + 1]).sum().backward()
            sizes.append(float(sum(p.grad.square().sum() for p in model.parameters()).sqrt()))
        model.zero_grad()
        assert norms([kept])[0].rows[0][8] == pytest.approx(sum(sizes) / len(sizes), rel=1e-6)
