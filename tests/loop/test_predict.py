"""What the model says of the samples that it picked, beside a plain call of it."""

import pytest
import torch
from torch import nn

from lightning_al import MultiLabelTask
from lightning_al.loop.label import open_question
from lightning_al.oracle import DatasetOracle
from tests.helpers.marks import slow
from tests.helpers.processes import Frozen, fork
from tests.helpers.projects import Data, Net, loop_in, make_data, make_trainer


class Shown(DatasetOracle):
    """A dataset's labels, of which those of the last question never come; it keeps that question's predictions."""

    wants_predictions = True
    annotator = "people"

    def poll(self):
        return {} if len(self._asked) == 4 else super().poll()


@pytest.mark.parametrize("processes", [1, slow(2)])
def test_as_a_plain_call(tmp_path, processes):
    strategy, devices = fork(processes) if processes > 1 else ("auto", 1)
    loop = loop_in(tmp_path, model=Frozen(), oracle=Shown())
    loop.run(make_trainer(tmp_path, strategy=strategy, devices=devices))
    asked = open_question(loop.campaign, _project_of(loop))
    assert len(asked) == 4
    probabilities = Frozen().eval()(make_data()[0][list(asked)]).softmax(1).detach()
    for index, row in zip(asked, probabilities, strict=True):
        said = asked.prediction(index)
        assert said.label == int(row.argmax())
        assert said.confidence == pytest.approx(float(row.max()), abs=1e-6)


def _project_of(loop):
    class Project:
        data, task = loop.datamodule, loop.task

    return Project


class Labels(Net):
    """Three yes-or-no labels."""

    def training_step(self, batch, batch_idx):
        return nn.functional.binary_cross_entropy_with_logits(self(batch[0]), batch[1].double())

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.training_step(batch, batch_idx))


class Multi(Data):
    def setup(self, stage):
        super().setup(stage)
        x, y = make_data(self.n)
        self.train = torch.utils.data.TensorDataset(x, nn.functional.one_hot(y, 3))
        self.held_out = self.train


def test_several_labels(tmp_path):
    loop = loop_in(tmp_path, model=Labels(), data=Multi(), task=MultiLabelTask(), oracle=Shown())
    loop.run(make_trainer(tmp_path, max_epochs=1))
    asked = open_question(loop.campaign, _project_of(loop))
    probabilities = loop.model.eval()(make_data()[0][list(asked)]).sigmoid().detach()
    for index, row in zip(asked, probabilities, strict=True):
        said = asked.prediction(index)
        assert said.label.tolist() == (row > 0.5).double().tolist()
        assert said.confidence == pytest.approx(float(torch.maximum(row, 1 - row).mean()), abs=1e-6)
