"""Layers without a rule: through torch.func, the rest of the model by the rules."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

from tests.helpers.exact import BRIEF, FEW, SCORES, assert_exact, assert_exact_otherwise, messages
from tests.helpers.marks import slow
from tests.helpers.models import B, C, Model, Scale, randn, seeded


class Doubled(nn.Linear):
    def forward(self, x):
        return 2 * super().forward(x)


class Listed(nn.Module):
    def __init__(self):
        super().__init__()
        self.weights = nn.ParameterList([torch.rand(4, 4), torch.rand(4)])
        self.extra = nn.ParameterDict({"scale": torch.rand(4)})

    def forward(self, x):
        return (x @ self.weights[0] + self.weights[1]) * self.extra["scale"]


WITHOUT_RULE = {
    "own layer": Scale,
    "derived layer": lambda: Doubled(4, 4),
    "list of parameters": Listed,
    "bilinear": lambda: Model(lambda m, x: m.layer(x, x.flip(-1)), layer=nn.Bilinear(4, 4, 4)),
    "activation with a weight": lambda: nn.PReLU(),
    "weight norm": lambda: weight_norm(nn.Linear(4, 4)),
    "spectral norm": lambda: spectral_norm(nn.Linear(4, 4)),
    "orthogonal": lambda: orthogonal(nn.Linear(4, 4), orthogonal_map="cayley"),
}


NAMES = {"own layer": "Scale", "derived layer": "Doubled", "list of parameters": "Listed", "bilinear": "Bilinear"}


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("name", "layout"),
    [
        *((name, "batch first") for name in WITHOUT_RULE),
        *(
            (name, layout) if name in ("own layer", "weight norm") else slow(name, layout)
            for name in WITHOUT_RULE
            for layout in ("batch second", "merged")
        ),
    ],
)
def test_layers_without_a_rule_go_through_torch_func(name, layout):
    """The rest of the model does not."""

    def forward(m, x):
        h = m.first(x)
        if layout == "batch second":
            h = m.layer(h.transpose(0, 1)).transpose(0, 1)
        elif layout == "merged":
            h = m.layer(h.flatten(0, 1)).unflatten(0, (len(x), -1))
        else:
            h = m.layer(h)
        return m.head(h.tanh().mean(1))

    net = seeded(lambda: Model(forward, first=nn.Linear(4, 4), layer=WITHOUT_RULE[name](), head=nn.Linear(4, C)))
    x = randn(B, B, 4) if name in NAMES else randn(B, 3, 4)  # as many positions as samples: easily mistaken
    with messages() as engine:
        SCORES["sam"][0](net, x)
    [said] = engine.said
    assert said.startswith("No rule for ")
    assert said.endswith(": their parameters go through torch.func.")
    assert NAMES.get(name, "") in said
    with messages() as engine:
        SCORES["sam"][0](net, x)
    assert engine.said == []  # once
    assert_exact(net, x, tuple(SCORES) if (name, layout) == ("own layer", "batch first") else BRIEF)


def run(cell, x):
    """A recurrent cell, step by step."""
    state = None
    for step in x.unbind(1):
        state = cell(step, state)
    return state[0] if isinstance(state, tuple) else state


RECURRENT = {
    "GRU": lambda: Model(lambda m, x: m.layer(x)[0].mean(1), layer=nn.GRU(4, 4, batch_first=True)),
    "LSTM": lambda: Model(lambda m, x: m.layer(x)[1][0][-1], layer=nn.LSTM(4, 4, num_layers=2, batch_first=True)),
    "RNN, time first": lambda: Model(lambda m, x: m.layer(x.transpose(0, 1))[0][-1], layer=nn.RNN(4, 4)),
    "both ways": lambda: Model(
        lambda m, x: m.layer(x)[0].mean(1), layer=nn.GRU(4, 2, bidirectional=True, batch_first=True)
    ),
    "from a state": lambda: Model(
        lambda m, x: m.layer(x, x[:, :1].transpose(0, 1).contiguous())[0][:, -1], layer=nn.GRU(4, 4, batch_first=True)
    ),
    "projected": lambda: Model(lambda m, x: m.layer(x)[0].sum(1), layer=nn.LSTM(4, 6, proj_size=4, batch_first=True)),
    "GRU cell": lambda: Model(lambda m, x: run(m.layer, x), layer=nn.GRUCell(4, 4)),
    "LSTM cell": lambda: Model(lambda m, x: run(m.layer, x), layer=nn.LSTMCell(4, 4)),
    "transposed convolution": lambda: Model(
        lambda m, x: m.layer(x.transpose(1, 2)).mean(2), layer=nn.ConvTranspose1d(4, 4, 2, stride=2)
    ),
}


@pytest.mark.few(2)
@pytest.mark.parametrize("name", RECURRENT)
def test_recurrent_layers_leave_the_rest_to_the_rules(name):
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 4), nn.Tanh(), RECURRENT[name](), nn.LayerNorm(4), nn.Linear(4, C)))
    assert_exact(net, randn(B, 3, 4), FEW if name == "LSTM" else BRIEF)


def test_numbers_of_a_layer_that_are_each_samples_own():
    class Counts(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.rand(4))

        def forward(self, x):
            y = x.exp() * self.scale
            return y, y.amax().item()

    def forward(m, x):
        y, largest = m.layer(x)
        return m.head(y / largest)

    net = seeded(lambda: Model(forward, layer=Counts(), head=nn.Linear(4, C)))
    assert_exact_otherwise(net, randn(B, 4), "for one sample and")


def test_hooks_on_a_layer_without_a_rule_run_once():
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 4), Scale(), nn.Linear(4, C)))
    net[1].register_forward_hook(lambda m, args, y: 3 * y)
    net[0].register_forward_pre_hook(lambda m, args: (args[0] + 1,))
    assert_exact(net, randn(B, 4), FEW)


def test_arguments_that_have_no_batch_are_not_cut():
    """Beside one that has: they may be as long as the batch by chance."""
    plus = randn(B, 4, seed=7)
    net = seeded(lambda: Model(lambda m, x: m.head(m.layer(x, plus=plus)), layer=Scale(), head=nn.Linear(4, C)))
    assert_exact(net, randn(B, 4), FEW, single=False)
