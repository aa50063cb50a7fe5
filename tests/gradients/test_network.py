"""What becomes of a model's parameters: layers with rules, layers through torch.func, parameters that fit nowhere."""

import pytest
import torch
from torch import nn
from torch.nn.utils.parametrizations import orthogonal, spectral_norm, weight_norm

from lightning_al.gradients import Rule, register_rule
from lightning_al.gradients.network import Network
from lightning_al.gradients.rules.base import find_rule
from tests.helpers.exact import BRIEF, FEW, SCORES, Probe, assert_exact, assert_exact_otherwise, messages, probe
from tests.helpers.marks import slow
from tests.helpers.models import B, C, randn, seeded
from tests.helpers.ways import WAYS, only


class Model(nn.Module):
    """Layers by name, and a forward made of them."""

    def __init__(self, forward, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.run = forward

    def forward(self, x):
        return self.run(self, x)


def tied(forward, **layers):
    def build():
        model = Model(forward, **{k: v() for k, v in layers.items()})
        model.second.weight = model.first.weight
        return model

    return seeded(build)


WORDS = torch.randint(6, (B, 4), generator=torch.Generator().manual_seed(2))


def test_layers_used_twice_and_tied_weights():
    def square():
        return nn.Linear(4, 4)

    twice = seeded(lambda: Model(lambda m, x: m.head(m.first(m.first(x).tanh())), first=square(), head=nn.Linear(4, C)))
    assert_exact(twice, randn(B, 4))
    both = tied(
        lambda m, x: m.head(m.second(m.first(x).tanh())), first=square, second=square, head=lambda: nn.Linear(4, C)
    )
    assert_exact(both, randn(B, 3, 4).mean(1), FEW)
    language = tied(
        lambda m, x: m.second(m.first(x).tanh().mean(1)),
        first=lambda: nn.Embedding(6, 4),
        second=lambda: nn.Linear(4, 6),
    )
    assert_exact(language, WORDS, FEW)
    across = tied(
        lambda m, x: m.head(m.second(m.first(x.flatten(2).transpose(1, 2)).transpose(1, 2)).flatten(1)),
        first=lambda: nn.LayerNorm(4),
        second=lambda: nn.BatchNorm1d(4),
        head=lambda: nn.Linear(12, C),
    )
    assert_exact(across, randn(B, 4, 3), FEW)


def test_a_layer_under_two_names():
    def build():
        layer = nn.Linear(4, 4)
        return nn.Sequential(layer, nn.Tanh(), layer, nn.Linear(4, C))

    assert_exact(seeded(build), randn(B, 4), FEW)


def test_frozen_parts_and_parts_without_gradient():
    def model(freeze):
        net = seeded(
            lambda: nn.Sequential(
                nn.Linear(4, 4),
                nn.Tanh(),
                nn.Linear(4, 4),
                nn.LayerNorm(4),
                nn.MultiheadAttention(4, 2),
                nn.Linear(4, C),
            )
        )
        freeze(net)
        net[4] = nn.Sequential()  # keeps numbers
        return net

    def some(net):
        net[0].requires_grad_(False)
        net[2].bias.requires_grad_(False)
        net[3].weight.requires_grad_(False)

    assert_exact(model(some), randn(B, 4))
    assert_exact(model(lambda net: net[2:].requires_grad_(False)), randn(B, 4), FEW)
    assert_exact(model(lambda net: net[:5].requires_grad_(False)), randn(B, 4), FEW)
    unused = seeded(lambda: Model(lambda m, x: m.head(x), head=nn.Linear(4, C), never=nn.GRU(2, 2)))
    assert_exact(unused, randn(B, 4), FEW)
    detached = seeded(
        lambda: Model(lambda m, x: m.head(x) + m.side(x).detach(), head=nn.Linear(4, C), side=nn.Linear(4, C))
    )
    assert_exact(detached, randn(B, 4), FEW)
    nothing = seeded(lambda: nn.Linear(4, C))
    for name in FEW:
        score, loop, options = SCORES[name]
        with messages() as engine:
            got = score(nothing, randn(B, 4), forward=lambda m, x: m(x).detach(), **options)
        assert not engine.fell_back
        if name == "tensor_sum":
            assert torch.equal(got, torch.zeros(B, dtype=torch.float64))


@pytest.mark.parametrize("shared", [False, True])
def test_a_layer_that_runs_without_gradients(shared):
    """Its own weights have no gradient then; where they have one from another call, they move in both."""

    def forward(m, x):
        with torch.no_grad():
            aside = m.side(x)
        return m.head(m.first(x).tanh() + aside + (m.side(x) if shared else 0))

    net = seeded(lambda: Model(forward, first=nn.Linear(4, 4), side=nn.Linear(4, 4), head=nn.Linear(4, C)))
    assert_exact(net, randn(B, 4), FEW)


class Scale(nn.Module):
    """A layer of one's own, by shape and by keyword."""

    def __init__(self, d=4):
        super().__init__()
        self.scale, self.shift = nn.Parameter(torch.rand(d)), nn.Parameter(torch.rand(()))

    def forward(self, x, plus=None):
        y = x * self.scale + self.shift
        return y if plus is None else y + plus.mean(0)


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


def test_a_parametrized_norm():
    def build():
        norm = nn.LayerNorm(4)
        nn.utils.parametrize.register_parametrization(norm, "weight", nn.Softplus())
        return nn.Sequential(nn.Linear(4, 4), norm, nn.Linear(4, C))

    assert_exact(seeded(build), randn(B, 4), FEW)


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


def test_a_layers_own_forward_of_the_instance_stays():
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, C)))
    same = nn.Sequential(net[0], nn.Tanh(), net[1])
    want = {name: SCORES[name][0](same, randn(B, 4), **SCORES[name][2]) for name in FEW}
    own = net[0].forward

    def replaced(x):
        return own(x).tanh()

    net[0].forward = replaced
    for name in FEW:
        with messages() as engine:
            torch.testing.assert_close(SCORES[name][0](net, randn(B, 4), **SCORES[name][2]), want[name])
        assert not engine.fell_back
        assert net[0].forward is replaced


def test_parameters_tied_across_a_layer_with_and_one_without_a_rule():
    def build():
        net = nn.Sequential(nn.Linear(4, 4), nn.LayerNorm(4), Scale(), nn.Linear(4, C))
        net[2].scale = net[1].weight
        return net

    assert_exact(seeded(build), randn(B, 4), FEW)


def test_a_rule_of_ones_own():
    class Gate(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.rand(4))

        def forward(self, x):
            return x * self.scale

    class Derived(Gate):
        pass

    @register_rule(Gate)
    class GateRule(Rule):
        def gradients(self, x, e):
            assert self.module.scale.dtype == x.dtype
            assert not self.module.scale.requires_grad
            return {"scale": self.sum_rows((e * x).flatten(1, -2).sum(1) if x.ndim > 2 else e * x)}

        def perturbed(self, x, weights):
            return x * self.per_row(weights["scale"], x)

    for kind in (Gate, Derived):
        assert find_rule(kind()) is GateRule
        net = seeded(lambda: nn.Sequential(nn.Linear(4, 4), kind(), nn.Linear(4, C)))
        assert not Network(net, dict(net.named_parameters()), {}).traced
        assert_exact(net, randn(B, 4))
        assert_exact(probe(kind), randn(B, 3, 4), BRIEF)


def test_a_wrong_rule_is_found_out():
    """A factor of 1 + 1e-5 is below what a comparison in float32 sees."""

    class Slightly(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.rand(4))

        def forward(self, x):
            return x * self.scale

    @register_rule(Slightly)
    class WrongRule(Rule):
        def gradients(self, x, e):
            return {"scale": self.sum_rows(e * x) * (1 + 1e-5)}

        def perturbed(self, x, weights):
            return x * self.per_row(weights["scale"], x)

    net = seeded(lambda: Probe(Slightly())).float()
    with messages() as engine:
        SCORES["tensor_sum"][0](net, randn(B, 4).float(), loss="pseudo_label")
    assert "where the plain loop gives" in engine.fell_back[0]


class Asking(nn.Module):
    """Does something else where a weight is no parameter, and so do layers with and without a rule in it."""

    class Scale(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.Parameter(torch.rand(4))

        def forward(self, x):
            return x * self.scale if isinstance(self.scale, nn.Parameter) else x

    def __init__(self):
        super().__init__()
        self.first, self.scale, self.head = nn.Linear(4, 4), self.Scale(), nn.Linear(4, C)
        self.own = nn.Parameter(torch.rand(4))

    def forward(self, x):
        h = self.first(x)
        h = h.sin() if isinstance(self.first.weight, nn.Parameter) else h
        h = h * self.own if isinstance(self.own, nn.Parameter) else h
        return self.head(self.scale(h).tanh())


@pytest.mark.parametrize("way", WAYS)
def test_models_that_ask_whether_a_weight_is_a_parameter(way, monkeypatch):
    max_bytes = only(way, monkeypatch)
    net, x = seeded(Asking), randn(B, 4)
    for name in FEW:
        score, loop, options = SCORES[name]
        got = score(net, x, max_bytes=max_bytes, **options)
        torch.testing.assert_close(got, loop(net, x, **options), rtol=1e-9, atol=1e-9)
