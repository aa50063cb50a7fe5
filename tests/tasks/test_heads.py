"""Models with several outputs: which one a task looks at, and whose last layer is meant."""

from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_al import AwaitTell, BinaryTask, ClassificationTask, MultiLabelTask, RegressionTask
from lightning_al import functional as F_al
from lightning_al.acquisition import BADGE
from lightning_al.distributed.randomness import generator
from lightning_al.inference.layers import HEADS, last_layer
from tests.helpers.projects import make_data

Pair = namedtuple("Pair", "kind size")
X = make_data(6)[0]


@dataclass
class Outputs:
    kind: torch.Tensor
    size: torch.Tensor


class Heads(nn.Module):
    """The head that is meant runs first, the other one has layers of its own."""

    def __init__(self, make=dict, outputs=3):
        super().__init__()
        torch.manual_seed(1)
        self.body = nn.Linear(4, 8)
        self.kind = nn.Linear(8, outputs)
        self.size = nn.Sequential(nn.Linear(8, 5), nn.ReLU(inplace=True), nn.Linear(5, 1))
        self.make = make
        self.double()

    def forward(self, x):
        h = self.body(x).relu_()
        return self.make(kind=self.kind(h), size=self.size(h))


def as_tuple(kind, size):
    return kind, size


KINDS = {
    "dict": (dict, "kind"),
    "ordered": (OrderedDict, "kind"),
    "named tuple, by name": (Pair, "kind"),
    "named tuple, by position": (Pair, 0),
    "tuple": (as_tuple, 0),
    "tuple, from the end": (as_tuple, -2),
    "list": (lambda kind, size: [kind, size], 0),
    "object": (Outputs, "kind"),
}


@pytest.mark.parametrize(("make", "output"), KINDS.values(), ids=KINDS)
def test_which_output(make, output):
    net = Heads(make).eval()
    task = ClassificationTask(output=output)
    expected = net.kind(net.body(X).relu())
    assert torch.equal(task.logits(net, X), expected)
    task.check(net, (X, torch.zeros(6)))
    assert task.num_classes == 3


@pytest.mark.parametrize("task", [ClassificationTask, MultiLabelTask, BinaryTask, RegressionTask])
def test_every_task_can_say_it(task):
    net = Heads(outputs=2).eval()
    of_size = task(output="size" if task in (BinaryTask, RegressionTask) else "kind")
    of_size.check(net, (X, torch.zeros(6, 1)))
    assert len(of_size.outputs(net, X)) == 6


@pytest.mark.parametrize(
    ("task", "make", "words"),
    [
        (ClassificationTask(), dict, r"a dict of 'kind', 'size'. Say which of 'kind', 'size': `.*\(output='kind'\)`"),
        (RegressionTask(), as_tuple, r"got a tuple of 2. Say which of 0, 1: `task=RegressionTask\(output=0\)`"),
        (BinaryTask(), Outputs, r"got a Outputs. Say which of 'kind', 'size': `task=BinaryTask"),
        (BinaryTask(), lambda kind, size: 3, r"got a int. Return the tensor from `forward`, or say where.*forward="),
        (
            ClassificationTask(output="sort"),
            dict,
            r"`.*output='sort'\)`: the model gives a dict of .*There is 'kind', 's",
        ),
        (ClassificationTask(output="kinds"), dict, r"the model gives a dict of .*\(did you mean 'kind'\?\). There is"),
        (BinaryTask(output=2), as_tuple, r"output=2\)`: the model gives a tuple of 2. There is 0, 1"),
        (MultiLabelTask(output="kind"), as_tuple, r"gives a tuple of 2. There is 0, 1"),
        (RegressionTask(output=0), lambda kind, size: size, r"gives one tensor, \(6, 1\). Leave `output=` out"),
    ],
)
def test_outputs_that_are_not_there(task, make, words):
    with pytest.raises(TypeError, match=words):
        task.check(Heads(make), (X, torch.zeros(6)))


def test_what_is_no_entry():
    with pytest.raises(TypeError, match=r"`output` must be the name or position .*, got \[0\]"):
        ClassificationTask(output=[0])


# --------------------------------------------------------------------------- the last layer is the one of its own head


@pytest.mark.parametrize("layers", ["kind", "size.2"])
def test_the_last_linear_layer_of_an_output(layers):
    net = Heads().eval()
    head = layers.split(".")[0]
    assert last_layer(net, X[:1], lambda model, x: model(x)[head], HEADS) == layers
    with torch.inference_mode():
        assert last_layer(net, X[:1].clone(), lambda model, x: model(x)[head].float(), HEADS) == layers
    assert all(p.grad is None for p in net.parameters())


def test_there_may_be_no_choice():
    assert last_layer(nn.Linear(4, 1), X[:1].float(), lambda m, x: m(x), HEADS) is None
    broken = nn.Sequential(nn.Linear(4, 3), nn.Linear(2, 1)).double()
    assert last_layer(broken, X[:1], lambda m, x: m(x), HEADS) is None
    ignores = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 1)).double()
    assert last_layer(ignores, X[:1], lambda m, x: m(x).detach(), HEADS) is None


@pytest.mark.parametrize("outputs", [{"output": "kind"}, {"forward": lambda model, x: model(x)["kind"]}])
def test_features_and_gradients_are_of_the_head_that_is_meant(outputs):
    net, task = Heads().eval(), ClassificationTask(**outputs)
    h = net.body(X).relu().detach()
    torch.testing.assert_close(task.features(net, X), h)
    made = BADGE()
    made.bind(task, AwaitTell())
    rows = made.rows(net, (X,))
    for i in range(len(X)):
        z = net(X[i : i + 1])["kind"]
        loss = F.cross_entropy(z, z.argmax(1))
        [expected] = torch.autograd.grad(loss, net.kind.weight)
        torch.testing.assert_close(torch.outer(rows["residuals"][i], rows["features"][i]), expected)
    size = RegressionTask(output="size")  # of the same model, another head
    torch.testing.assert_close(size.features(net, X), net.size[:2](h).detach())


def test_dropout_is_put_before_the_last_layer_of_the_head_that_is_meant():
    net, task = Heads().eval(), ClassificationTask(output="kind")
    got = F_al.mc_dropout(net, X, passes=3, seed=5, add_dropout=0.5, forward=task.logits)
    for i in range(len(X)):
        h = net.body(X[i]).relu().detach()
        for t in range(3):
            mask = torch.rand(8, generator=generator(5, "kind (input)", 0, t)) >= 0.5
            torch.testing.assert_close(got[i, t], net.kind(h * mask / 0.5).log_softmax(0).detach())
