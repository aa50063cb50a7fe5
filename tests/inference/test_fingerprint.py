"""A model's fingerprint: another one after anything that its outputs may depend on, the same after a look at it."""

import copy

import pytest
import torch
from torch import nn

from lightning_al.inference.fingerprint import fingerprint
from tests.helpers.projects import Net


class Scaled(nn.Module):
    temperature = 1.0

    def __init__(self):
        super().__init__()
        self.temperature, self.calls, self.kind = 1.0, 0, "plain"
        self.linear = nn.Linear(3, 2)
        self.register_buffer("mean", torch.zeros(3), persistent=False)

    def forward(self, x):
        self.calls += 1
        return self.linear(x - self.mean) / self.temperature


def _step(model):
    with torch.no_grad():
        model.linear.weight[0, 0] += 1e-6


CHANGES = {
    "a weight": _step,
    "a buffer that is not saved": lambda model: model.mean.add_(1e-6),
    "a number": lambda model: setattr(model, "temperature", 1.001),
    "a word": lambda model: setattr(model, "kind", "other"),
    "a number of a layer": lambda model: setattr(model, "drop", nn.Dropout(0.2)),
    "a type": lambda model: model.double(),
    "a layer frozen in another class": lambda model: setattr(model, "linear", nn.Identity()),
    "how matrices are multiplied": lambda model: torch.set_float32_matmul_precision("high"),
}


@pytest.fixture(autouse=True)
def _precision():
    yield
    torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_what_outputs_may_depend_on_changes_it(change):
    torch.manual_seed(0)
    model = Scaled()
    before = fingerprint(model)
    change(model)
    assert fingerprint(model) != before


def test_a_look_or_a_copy_leaves_it():
    torch.manual_seed(0)
    model = Scaled()
    before = fingerprint(model)
    model(torch.zeros(1, 3))
    model.train(mode=False)
    assert fingerprint(model) == fingerprint(copy.deepcopy(model)) == before


def test_it_does_not_depend_on_where_objects_are():
    one, other = Net(), Net()
    one.loss, other.loss = nn.CrossEntropyLoss(), nn.CrossEntropyLoss()
    one.call = other.call = None
    assert fingerprint(one) == fingerprint(other)
