"""A model's fingerprint: another one after anything that its outputs may depend on, the same after a look at it."""

import contextlib
import copy
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_al.inference.fingerprint import fingerprint
from lightning_al.inference.outputs import plain_outputs
from lightning_al.inference.replaced import kept
from tests.helpers.projects import Net


class Box:
    __slots__ = ("weight",)


class Packed(nn.Module):
    """Has its weights where nobody looks, and tells of them."""

    def __init__(self):
        super().__init__()
        self.box = Box()
        self.box.weight = torch.zeros(2)

    def get_extra_state(self):
        return self.box.weight


class Scaled(nn.Module):
    temperature, of_class = 1.0, 1.0

    def __init__(self):
        super().__init__()
        self.temperature, self.calls, self.kind = 1.0, 0, "plain"
        self.prior, self._private, self.most = torch.zeros(2), 1.0, 3
        self.options = {"a": [1.0, 2.0], "b": {"c": torch.zeros(2)}}
        self.config = SimpleNamespace(size=3, name="small")
        self.array = np.zeros(2)
        self.hidden = [nn.Linear(2, 2)]
        self.act = lambda x: x.clamp(max=3)
        self.linear = nn.Linear(3, 2)
        self.register_buffer("mean", torch.zeros(3), persistent=False)
        self.register_buffer("graph", torch.eye(2).to_sparse())
        self.packed = Packed()

    def forward(self, x):
        self.calls += 1
        return self.linear(x - self.mean) / self.temperature


def _forward(self, x):
    return Scaled.forward(self, x)


def _rewrite(model):
    """Another class of the same name and the same layers, as after an edit in a notebook."""
    kind = type("Scaled", (nn.Module,), {"forward": _forward, "__module__": Scaled.__module__, "__init__": None})
    model.__class__ = kind


def _of_class(model):
    Scaled.of_class = 2.0


def _step(model):
    with torch.no_grad():
        model.linear.weight[0, 0] += 1e-6


CHANGES = {
    "a weight": _step,
    "a buffer that is not saved": lambda model: model.mean.add_(1e-6),
    "a buffer that is sparse": lambda model: setattr(model, "graph", (torch.eye(2) * 1.001).to_sparse()),
    "a number": lambda model: setattr(model, "temperature", 1.001),
    "a whole number": lambda model: setattr(model, "most", 4),
    "a private number": lambda model: setattr(model, "_private", 1.001),
    "a number of the class": _of_class,
    "a tensor that is no buffer": lambda model: model.prior.add_(1e-6),
    "a number in a list": lambda model: model.options["a"].__setitem__(1, 2.001),
    "a tensor in a dict": lambda model: model.options["b"]["c"].add_(1e-6),
    "an array": lambda model: model.array.__iadd__(1e-6),
    "a configuration": lambda model: setattr(model.config, "size", 4),
    "weights in a list": lambda model: model.hidden[0].bias.data.add_(1e-6),
    "weights that are no parameters": lambda model: model.packed.box.weight.add_(1e-6),
    "a function": lambda model: setattr(model, "act", lambda x: x.clamp(max=4)),
    "a function of torch": lambda model: setattr(model, "act", F.relu),
    "the code of the class": _rewrite,
    "forward": lambda model: setattr(model, "forward", lambda x: x),
    "a word": lambda model: setattr(model, "kind", "other"),
    "a number of a layer": lambda model: setattr(model, "drop", nn.Dropout(0.2)),
    "a type": lambda model: model.double(),
    "a layer frozen in another class": lambda model: setattr(model, "linear", nn.Identity()),
    "how matrices are multiplied": lambda model: torch.set_float32_matmul_precision("high"),
    "how convolutions are": lambda model: setattr(torch.backends.cudnn.conv, "fp32_precision", "ieee"),
    "how recurrent layers are": lambda model: setattr(torch.backends.cudnn.rnn, "fp32_precision", "ieee"),
    "how matrices are on CUDA": lambda model: setattr(torch.backends.cuda.matmul, "fp32_precision", "tf32"),
    "how convolutions are on the CPU": lambda model: setattr(torch.backends.mkldnn.conv, "fp32_precision", "ieee"),
}


@pytest.fixture(autouse=True)
def _precision():
    backends = torch.backends
    places = (backends.cudnn.conv, backends.cudnn.rnn, backends.cuda.matmul, backends.mkldnn.conv)
    with contextlib.ExitStack() as stack:
        for place in places:
            stack.enter_context(kept(place, "fp32_precision"))
        yield
    torch.set_float32_matmul_precision("highest")
    Scaled.of_class = 1.0


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
    plain_outputs(model, torch.zeros(1, 3))
    assert not model.calls  # a look puts back what models count
    model.train(mode=False)
    assert fingerprint(model) == fingerprint(copy.deepcopy(model)) == before


def test_it_does_not_depend_on_where_objects_are():
    one, other = Net(), Net()
    one.loss, other.loss = nn.CrossEntropyLoss(), nn.CrossEntropyLoss()
    one.call = other.call = None
    assert fingerprint(one) == fingerprint(other)


_ELSEWHERE = """
import torch
from lightning_al.inference.fingerprint import fingerprint
from tests.inference.test_fingerprint import Scaled

class Words(Scaled):
    words = {"a", "b", "c", "d"}

    def forward(self, x):
        return x if self.kind in {"e", "f", "g", "h"} else super().forward(x)

torch.manual_seed(0)
print(fingerprint(Words()))
"""


@pytest.mark.slow
def test_it_is_the_same_in_another_process():
    said = {
        subprocess.check_output(
            [sys.executable, "-W", "ignore", "-c", _ELSEWHERE], env={**os.environ, "PYTHONHASHSEED": seed}
        )
        for seed in "12"
    }
    assert len(said) == 1
