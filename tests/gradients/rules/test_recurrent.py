"""Recurrent layers: weights of the input and of the state, and a step between them."""

import itertools
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lightning_al import functional as F_al
from lightning_al.gradients.rules.linear import LinearRule
from tests.helpers import reference
from tests.helpers.exact import BRIEF, FEW, SCORES, assert_exact, assert_exact_otherwise, messages
from tests.helpers.extent import examples
from tests.helpers.models import B, C, Model, randn, seeded

KINDS = {"LSTM": nn.LSTM, "GRU": nn.GRU, "tanh": nn.RNN, "relu": lambda *a, **k: nn.RNN(*a, nonlinearity="relu", **k)}


def whole(m, x):
    """All that a recurrent layer gives: the h of each step, and the last states."""
    hs, last = m.layer(x if m.layer.batch_first else x.transpose(0, 1))
    hs = hs if m.layer.batch_first else hs.transpose(0, 1)
    last = torch.cat(last if isinstance(last, tuple) else (last,), -1).transpose(0, 1)
    return m.head(torch.cat([hs.flatten(1), last.flatten(1)], 1))


def classifier(kind, steps=3, size=4, **options):
    def build():
        layer = KINDS[kind](3, size, **options)
        width = (steps + (2 if kind == "LSTM" else 1) * layer.num_layers) * size * (1 + layer.bidirectional)
        return Model(whole, layer=layer, head=nn.Linear(width, C))

    return seeded(build)


def assert_by_rules(net, x, names):
    with messages() as engine:
        SCORES["sam"][0](net, x)
    assert not [said for said in engine.said if said.startswith("No rule for ")]
    assert_exact(net, x, names)


@pytest.mark.few(2)
@pytest.mark.parametrize("kind", KINDS)
def test_one_layer_equals_the_loop(kind):
    assert_by_rules(classifier(kind, batch_first=True), randn(B, 3, 3), tuple(SCORES))


@pytest.mark.few(4)
@pytest.mark.parametrize(
    ("kind", "layers", "both", "bias", "batch_first"),
    list(itertools.product(KINDS, (1, 2), (False, True), (True, False), (True, False))),
)
def test_every_option_equals_the_loop(kind, layers, both, bias, batch_first):
    options = {"num_layers": layers, "bidirectional": both, "bias": bias, "batch_first": batch_first, "dropout": 0.3}
    if layers == 1:
        del options["dropout"]
    assert_by_rules(classifier(kind, **options), randn(B, 3, 3), FEW)


@examples(12)
@given(kind=st.sampled_from(list(KINDS)), samples=st.integers(2, 9), steps=st.integers(1, 7), size=st.integers(1, 6))
def test_any_shape_equals_the_loop(kind, samples, steps, size):
    net, x = classifier(kind, steps, size, batch_first=True), randn(samples, steps, 3)
    for name in BRIEF:
        score, loop, options = SCORES[name]
        torch.testing.assert_close(score(net, x, **options), loop(net, x, **options), rtol=1e-9, atol=1e-9)


@pytest.mark.few(3)
@pytest.mark.parametrize("frozen", ["nothing", "bias_hh"])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_few_steps_of_many_weights_go_by_the_factors_of_their_gradients(kind, bias, frozen, monkeypatch):
    """Two steps of 24 numbers: the perturbed weights of the state are never formed."""
    along, seen = LinearRule._along, []
    monkeypatch.setattr(LinearRule, "_along", lambda *args: seen.append(1) or along(*args))
    net = classifier(kind, 2, 24, bias=bias, batch_first=True)
    for name, p in net.named_parameters():
        p.requires_grad_(frozen not in name)
    assert_by_rules(net, randn(B, 2, 3), ("sam", "groups"))
    assert seen


@pytest.mark.few(2)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("trained", ["weight_ih", "weight_hh", "bias_hh", "no weights of the state", "one layer"])
def test_some_weights_are_frozen(kind, trained):
    net = classifier(kind, num_layers=2, batch_first=True)
    for name, p in net.layer.named_parameters():
        alone = {"no weights of the state": "hh" not in name, "one layer": "l1" in name}
        p.requires_grad_(alone.get(trained, trained in name))
    assert_by_rules(net, randn(B, 3, 3), FEW)


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", ["LSTM", "GRU"])
def test_a_first_state_that_follows_from_the_sample(kind):
    def forward(m, x):
        first = m.first(x[:, 0]).unsqueeze(0)
        return m.head(m.layer(x, (first, first.cos()) if kind == "LSTM" else first)[0][:, -1])

    layer = KINDS[kind]
    net = seeded(
        lambda: Model(forward, first=nn.Linear(3, 4), layer=layer(3, 4, batch_first=True), head=nn.Linear(4, C))
    )
    assert_by_rules(net, randn(B, 3, 3), FEW)


def test_a_layer_that_is_called_twice():
    """An encoder that decodes as well: the second call begins where the first one ended."""

    def forward(m, x):
        _, state = m.layer(x)
        return m.head(m.layer(x.flip(1), state)[0].mean(1))

    net = seeded(lambda: Model(forward, layer=nn.LSTM(3, 4, batch_first=True), head=nn.Linear(4, C)))
    assert_by_rules(net, randn(B, 3, 3), FEW)


def test_a_state_that_is_learnt():
    class Learnt(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Parameter(torch.rand(1, 1, 4))
            self.layer, self.head = nn.GRU(3, 4, batch_first=True), nn.Linear(4, C)

        def forward(self, x):
            return self.head(self.layer(x, self.first.expand(-1, len(x), -1).contiguous())[0][:, -1])

    net, x = seeded(Learnt), randn(B, 3, 3)
    for name in FEW:
        score, loop, options = SCORES[name]
        torch.testing.assert_close(score(net, x, **options), loop(net, x, **options), rtol=1e-9, atol=1e-9)


def test_packed_sequences_go_otherwise():
    def forward(m, x):
        packed = nn.utils.rnn.pack_padded_sequence(x, [3] * len(x), batch_first=True)
        return m.head(m.layer(packed)[1][0])

    net = seeded(lambda: Model(forward, layer=nn.GRU(3, 4, batch_first=True), head=nn.Linear(4, C)))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of torch.func, which asks users to report what it has no batching rule for
        assert_exact_otherwise(net, randn(B, 3, 3), "GRU called on a PackedSequence")


@pytest.mark.few(2)
@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_that_vanishes_and_one_that_explodes(kind):
    """Forty steps, with weights of the state that shrink or blow up what goes back through them."""
    for scale in (1e-3, 3.0):
        net, x = classifier(kind, 40, batch_first=True), randn(B, 40, 3)
        with torch.no_grad():
            net.layer.weight_hh_l0.mul_(scale)
        torch.testing.assert_close(
            F_al.gradient_norm(net, x), reference.gradient_norm(net, x), rtol=1e-9, atol=1e-9, msg=f"{kind}, {scale}"
        )
