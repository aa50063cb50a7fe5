"""Decisions without a target: pixels of 255, labels of -1."""

import lightning as L
import pytest
import torch
from torch import nn

from lightning_al import ActiveLearningLoop, ClassificationTask, MultiLabelTask
from lightning_al.acquisition import SAAL
from lightning_al.oracle import DatasetOracle
from lightning_al.tasks.ignored import IGNORED
from tests.helpers.pair_task import PairTask
from tests.helpers.projects import make_trainer


class Pixels(PairTask):
    """A class for each pixel; knows nothing of pixels without one."""

    def decode_label(self, value):
        return torch.tensor(value)


class Largest(Pixels):
    def reduce(self, values):
        return values.flatten(1).amax(1)


class PixelClassifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Conv2d(2, 4, 3, padding=1), nn.Tanh(), nn.Conv2d(4, 3, 1)).double()

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, _):
        return nn.functional.cross_entropy(self(batch[0]), batch[1], ignore_index=255)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def batch(value):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(3, 2, 4, 4, generator=g, dtype=torch.float64)
    y = torch.randint(0, 3, (3, 4, 4), generator=g)
    y[0, :2] = value
    y[1, 0, 1] = value
    return x, y


def bound(acquisition, task, dataset=()):
    acquisition.bind(task, DatasetOracle(dataset, task))
    return acquisition


@pytest.mark.parametrize("value", IGNORED)
@pytest.mark.parametrize("task", [Pixels(), Largest()])
def test_pixels_without_a_class_are_left_out(value, task):
    model, (x, y) = PixelClassifier().eval(), batch(value)
    got = bound(SAAL(rho=0.1, labels="true"), task).score_batch(model, (x, y))
    reduce = torch.amax if isinstance(task, Largest) else torch.mean
    weights = list(model.parameters())
    for i in range(3):

        def loss(i=i):
            each = nn.functional.cross_entropy(model(x[i : i + 1]), y[i : i + 1], ignore_index=value, reduction="none")
            return reduce(each[y[i : i + 1] != value])

        grads = torch.autograd.grad(loss(), weights)
        norm = torch.sqrt(sum((g**2).sum() for g in grads))
        with torch.no_grad():
            for w, g in zip(weights, grads, strict=True):
                w += 0.1 * g / norm
            torch.testing.assert_close(got[i], loss(), rtol=1e-9, atol=1e-12)
            for w, g in zip(weights, grads, strict=True):
                w -= 0.1 * g / norm


def test_a_mask_without_any_class_scores_nothing():
    x, y = batch(255)
    y[2] = 255
    scores = bound(SAAL(labels="true"), Pixels()).score_batch(PixelClassifier(), (x, y))
    assert scores[2] == 0
    assert bool((scores[:2] > 0).all())


def test_labels_that_are_not_known():
    torch.manual_seed(0)
    model, x = nn.Linear(4, 3).double(), torch.randn(2, 4, dtype=torch.float64)
    y = torch.tensor([[1.0, -1.0, 0.0], [1.0, 0.0, 1.0]])
    task = MultiLabelTask()
    got = task.loss_of_known(task.logits(model, x), y)
    each = nn.functional.binary_cross_entropy_with_logits(model(x), y.double().clamp(min=0), reduction="none")
    torch.testing.assert_close(got, torch.stack([each[0, [0, 2]].mean(), each[1].mean()]))
    assert bool(torch.isfinite(bound(SAAL(labels="true"), task).score_batch(model, (x, y))).all())


def test_true_labels_that_are_not_there_are_refused():
    model, x = nn.Linear(4, 3), torch.randn(2, 4)
    saal = bound(SAAL(labels="true"), ClassificationTask())
    with pytest.raises(ValueError, match=r'some samples have none: their target is -1. Use `labels="pseudo"`'):
        saal.score_batch(model, (x, torch.tensor([1, -1])))
    with pytest.raises(ValueError, match="their target is None"):
        saal.score_batch(model, (x, None))


def test_a_campaign(tmp_path):
    g = torch.Generator().manual_seed(0)
    masks = torch.randint(0, 3, (12, 4, 4), generator=g).masked_fill(torch.rand(12, 4, 4, generator=g) < 0.2, 255)
    data = torch.utils.data.TensorDataset(torch.randn(12, 2, 4, 4, generator=g, dtype=torch.float64), masks)
    datamodule = L.LightningDataModule.from_datasets(data, batch_size=4)
    loop = ActiveLearningLoop(
        PixelClassifier(), datamodule, initial=4, query_size=3, rounds=1, task=Pixels(), evaluate=None, dirpath=tmp_path
    )
    history = loop.run(make_trainer(tmp_path, acquisition=SAAL(labels="true")))
    assert len(history[0].picked) == 3
