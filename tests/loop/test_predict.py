"""What the model says of the samples that it picked, beside a plain call of it."""

import pytest
import torch
from torch import nn

from lightning_al import AwaitTell, MultiLabelTask, RegressionTask
from lightning_al.acquisition import Random
from lightning_al.loop.label import open_question
from lightning_al.oracle import DatasetOracle
from tests.helpers.marks import slow
from tests.helpers.moving import MovingData, X, Y
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


class People(AwaitTell):
    """They are shown predictions."""

    wants_predictions = True


def test_of_all_questions_that_are_open_wherever_their_samples_are(tmp_path):
    rows = list(range(60))

    def opened():
        loop = loop_in(tmp_path, Frozen(), MovingData(rows), oracle=People(), rounds=None)
        return loop, make_trainer(tmp_path, max_epochs=1)

    def check(loop, pending):
        question = open_question(loop.campaign, loop.session.project)
        assert [rows[index] for index in question] == pending
        for index, row in zip(question, pending, strict=True):
            said, probabilities = question.prediction(index), Frozen().eval()(X[[row]]).softmax(1)
            assert said.label == int(probabilities.argmax())
            assert said.confidence == pytest.approx(float(probabilities.max()), abs=1e-6)

    loop, trainer = opened()
    first = loop.ask(trainer)
    assert loop.ask(trainer, more=False) == first
    loop.tell(first, Y[first].tolist())
    asked = loop.ask(trainer, 2) + loop.ask(trainer, 2)
    check(loop, asked)
    loop.tell(asked[:1], Y[asked[:1]].tolist())
    asked = asked[1:] + loop.ask(trainer, 1)  # of another fit
    check(loop, asked)
    rows = [*range(60, 70), *reversed(range(60))]
    loop, trainer = opened()
    loop.ask(trainer, more=False)
    check(loop, asked)
    answered = [rows.index(row) for row in asked[:3]]  # all of the first two questions
    loop.tell(answered, Y[asked[:3]].tolist())
    loop.ask(trainer, 1)
    assert len(list(tmp_path.rglob("predictions_*"))) == 2
