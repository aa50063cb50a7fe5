"""What the model says of the samples that it picked, beside a plain call of it."""

import pytest
import torch
from torch import nn

from lightning_al import MultiLabelTask, RegressionTask
from lightning_al.acquisition import Random
from lightning_al.oracle import DatasetOracle
from tests.helpers.marks import slow
from tests.helpers.processes import Frozen, fork
from tests.helpers.projects import Data, Net, loop_in, make_data, make_trainer


class Shown(DatasetOracle):
    """A dataset's labels; the predictions of the first question, after the initial one, go to a file."""

    wants_predictions = True
    annotator = "people"

    def __init__(self, path):
        super().__init__()
        self.path = path

    def request(self, indices):
        super().request(indices)
        if indices.round == 0:
            said = {i: indices.prediction(i) for i in indices}
            torch.save({i: (torch.as_tensor(label), sure) for i, (label, sure) in said.items()}, self.path)


@pytest.mark.parametrize("processes", [1, slow(2)])
def test_as_a_plain_call(tmp_path, processes):
    strategy, devices = fork(processes) if processes > 1 else ("auto", 1)
    loop = loop_in(tmp_path, model=Frozen(), oracle=Shown(tmp_path / "said"), rounds=1)
    history = loop.run(make_trainer(tmp_path, strategy=strategy, devices=devices, max_epochs=1))
    said = torch.load(tmp_path / "said")
    assert list(said) == history[0].picked
    probabilities = Frozen().eval()(make_data()[0][list(said)]).softmax(1).detach()
    for (label, confidence), row in zip(said.values(), probabilities, strict=True):
        assert int(label) == int(row.argmax())
        assert confidence == pytest.approx(float(row.max()), abs=1e-6)


class Labels(Net):
    """Three yes-or-no labels, at weights that stay."""

    def training_step(self, batch, batch_idx):
        return nn.functional.binary_cross_entropy_with_logits(self(batch[0]), batch[1].double())

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=0.0)


class Multi(Data):
    def setup(self, stage):
        super().setup(stage)
        x, y = make_data(self.n)
        self.train = torch.utils.data.TensorDataset(x, nn.functional.one_hot(y, 3))
        self.held_out = self.train


def test_several_labels(tmp_path):
    oracle = Shown(tmp_path / "said")
    loop = loop_in(tmp_path, model=Labels(), data=Multi(), task=MultiLabelTask(), oracle=oracle, rounds=1)
    loop.run(make_trainer(tmp_path, max_epochs=1))
    said = torch.load(tmp_path / "said")
    probabilities = Labels().eval()(make_data()[0][list(said)]).sigmoid().detach()
    for (label, confidence), row in zip(said.values(), probabilities, strict=True):
        assert label.tolist() == (row > 0.5).double().tolist()
        assert confidence == pytest.approx(float(torch.maximum(row, 1 - row).mean()), abs=1e-6)


class Values(Labels):
    """Gives a number: the first of its outputs."""

    def forward(self, x):
        return super().forward(x)[:, 0]

    def training_step(self, batch, batch_idx):
        return nn.functional.mse_loss(self(batch[0]), batch[1].double())


def test_a_number(tmp_path):
    oracle = Shown(tmp_path / "said")
    task = RegressionTask()
    loop = loop_in(tmp_path, model=Values(), task=task, oracle=oracle, rounds=1)
    loop.run(make_trainer(tmp_path, acquisition=Random(), max_epochs=1))
    said = torch.load(tmp_path / "said")
    for index, (label, confidence) in said.items():
        assert float(label) == pytest.approx(float(Values().eval()(make_data()[0][[index]])), rel=1e-6)
        assert confidence is None
