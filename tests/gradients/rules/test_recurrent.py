"""Recurrent layers: weights of the input and of the state, and a step between them."""

import itertools
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lightning_al import functional as F_al
from lightning_al.gradients import perturbed_losses
from lightning_al.gradients.rules import recurrences
from lightning_al.gradients.rules.linear import LinearRule
from lightning_al.gradients.rules.recurrences import RECURRENCES, Sequences, product_of
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
    along, seen = LinearRule.product_along, []
    monkeypatch.setattr(LinearRule, "product_along", lambda *args, **options: seen.append(1) or along(*args, **options))
    monkeypatch.setattr(LinearRule, "_of_matrices", None)
    net = classifier(kind, 2, 24, bias=bias, batch_first=True)
    for name, p in net.named_parameters():
        p.requires_grad_(frozen not in name)
    assert_by_rules(net, randn(B, 2, 3), ("sam", "groups"))
    assert seen


@pytest.mark.few(3)
@pytest.mark.parametrize("frozen", ["nothing", "hh", "ih_l1"])
@pytest.mark.parametrize("by_kernel", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_steps_by_torchs_kernel_and_of_our_own(kind, by_kernel, frozen, monkeypatch):
    monkeypatch.setattr(recurrences, "prefers_kernel_of_steps", lambda *sizes, **options: by_kernel)
    net = classifier(kind, num_layers=2, bidirectional=True, batch_first=True)
    for name, p in net.layer.named_parameters():
        p.requires_grad_(frozen not in name)
    assert_by_rules(net, randn(B, 3, 3), FEW)


@examples(15)
@given(kind=st.sampled_from(list(RECURRENCES)), n=st.integers(1, 4), steps=st.integers(1, 5), size=st.integers(1, 4))
def test_what_was_between_the_steps_of_a_kernel(kind, n, steps, size):
    """Of each unit's own bias as well, which is the same for all here."""
    gates = {"LSTM": 4, "GRU": 3}.get(kind, 1) * size
    of_inputs, weight, bias = randn(n, steps, gates), randn(gates, size, seed=1), randn(gates, seed=2)
    state = tuple(randn(n, size, seed=3 + i) for i in range(1 + (kind == "LSTM")))
    recurrence, product = RECURRENCES[kind], product_of(weight, bias)
    one = recurrence.steps(of_inputs.clone(), product, state, keep=True)
    before = torch.cat([state[0].unsqueeze(1), one.outputs[:, :-1]], 1)
    of_states = nn.functional.linear(before, weight, bias)
    other = recurrence.steps_of_kernel(of_inputs, of_states, state, one.outputs)
    each = recurrence.steps(of_inputs.clone(), product._replace(bias=bias.expand(n, -1)), state, keep=True)
    forgotten = recurrence.steps(of_inputs.clone(), product, state, keep=False)
    torch.testing.assert_close(forgotten[:2], one[:2], rtol=1e-12, atol=1e-12)
    for steps_of in (other, each):
        for kind_of in ("outputs", "others", "kept"):
            torch.testing.assert_close(getattr(steps_of, kind_of), getattr(one, kind_of), rtol=1e-12, atol=1e-12)


@pytest.fixture
def calls_of_units(monkeypatch):
    """How many sequences each call of torch's kernel for one unit was of."""
    kernel, calls = Sequences.unit_by_unit, []

    def noted(self, weights, units):
        calls.append(len(self.x) // units)
        return kernel(self, weights, units)

    monkeypatch.setattr(Sequences, "unit_by_unit", noted)
    return calls


ENDS = ["nothing", "bias", "bias_ih", "weight_ih", "weight_hh", "ih_l0", "hh_l0", "_l1", "_l0"]


@pytest.mark.few(4)
@pytest.mark.parametrize("frozen", ENDS)
@pytest.mark.parametrize(("both", "bias"), list(itertools.product((False, True), repeat=2)))
def test_each_unit_by_a_call_of_the_kernel_equals_the_loop(both, bias, frozen, monkeypatch, calls_of_units):
    monkeypatch.setattr(perturbed_losses, "prefers_own_kernel", lambda *sizes: True)
    net = classifier("LSTM", num_layers=2, bidirectional=both, bias=bias, batch_first=True)
    for name, p in net.layer.named_parameters():
        p.requires_grad_(frozen not in name)
    assert_by_rules(net, randn(B, 3, 3), (*FEW, "asam"))
    assert bool(calls_of_units) == any("hh" in name and p.requires_grad for name, p in net.layer.named_parameters())


@pytest.mark.parametrize("many", [0, 2**30])
def test_a_state_goes_on_and_a_group_has_several_sequences(many, monkeypatch, calls_of_units):
    """Weights that two calls share, a first state that follows from the sample, and weights too many to be kept."""
    monkeypatch.setattr(perturbed_losses, "prefers_own_kernel", lambda *sizes: True)
    monkeypatch.setattr(perturbed_losses, "CACHED_WEIGHTS", many)

    def forward(m, x):
        first = m.first(x[:, 0]).unsqueeze(0)
        _, state = m.layer(x, (first, first.cos()))
        return m.head(m.other(m.layer(x.flip(1), state)[0])[0].mean(1))

    layers = {"layer": nn.LSTM(3, 4, batch_first=True), "other": nn.LSTM(4, 4, batch_first=True)}
    net = seeded(lambda: Model(forward, first=nn.Linear(3, 4), **layers, head=nn.Linear(4, C)))
    assert_by_rules(net, randn(B, 3, 3), (*FEW, "asam", "groups"))
    assert set(calls_of_units) > {1}


def test_long_sequences_go_by_calls_of_the_kernel_where_it_is_fast(calls_of_units):
    """What costs less is known by counting; in float64 torch has no fast kernel."""
    net, x = classifier("LSTM", 96, 8, batch_first=True), randn(12, 96, 3)
    exact = F_al.saal(net, x, rho=0.05)
    assert not calls_of_units
    rough = F_al.saal(net.float(), x.float(), rho=0.05)
    assert bool(calls_of_units) == torch.backends.mkldnn.is_available()
    torch.testing.assert_close(rough.double(), exact, rtol=1e-4, atol=1e-5)
    calls_of_units.clear()
    net.layer.weight_hh_l0.requires_grad_(False)
    net.layer.bias_hh_l0.requires_grad_(False)
    F_al.saal(net, x.float(), rho=0.05)
    assert not calls_of_units  # a frozen state's weights are one layer for all


def test_a_layer_that_is_called_on_no_batch_is_told_of():
    def forward(m, x):
        return m.head(torch.cat([m.layer(m.query)[0].mean(1).expand(len(x), 4), x.mean(1)], 1))

    net = seeded(lambda: Model(forward, layer=nn.LSTM(3, 4, batch_first=True), head=nn.Linear(7, C)))
    net.register_buffer("query", randn(1, 4, 3))
    assert_exact_otherwise(net, randn(B, 4, 3), "a recurrent layer called on")


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


@pytest.mark.few(3)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_layer_gives_is_written_to(kind, dtype):
    def forward(m, x):
        hs = m.layer(x)[0]
        hs[:, 0] = 0
        return m.head(hs.mul_(2).mean(1))

    net = seeded(lambda: Model(forward, layer=KINDS[kind](3, 4, batch_first=True), head=nn.Linear(4, C))).to(dtype)
    x = randn(B, 5, 3).to(dtype)
    with messages() as engine:
        got = F_al.saal(net, x, rho=0.05)
    assert not engine.fell_back
    want = reference.saal(net.double(), x.double(), rho=0.05)
    torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_gradient_towards_what_a_layer_is_called_on(kind):
    """Of few samples only: others prove nothing."""

    def forward(m, x):
        with torch.enable_grad():
            h = m.first(x).tanh()
            h = h if h.requires_grad else h.requires_grad_()
            hs = m.layer(h)[0]
            (slope,) = torch.autograd.grad(hs.square().sum() + 0 * h.sum(), h, retain_graph=True)
        on = (x.abs().amax((1, 2)) > 1).to(x)
        return m.head(hs.mean(1)) * (1 + on * slope.detach().abs().amax((1, 2))).unsqueeze(1)

    layers = {"first": nn.Linear(3, 3), "head": nn.Linear(4, C)}
    net = seeded(lambda: Model(forward, layer=KINDS[kind](3, 4, batch_first=True), **layers))
    x = torch.rand(6, 5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for of in (0.9 * x, 3 * x):
        torch.testing.assert_close(F_al.saal(net, of, rho=0.3), reference.saal(net, of, rho=0.3), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_prove_nothing_where_the_last_layer_is_frozen(kind):
    def forward(m, x):
        return m.layer(m.first(x).tanh())[0].mean(1) * x[:, 0, :1].abs()

    net = seeded(lambda: Model(forward, layer=KINDS[kind](3, 4, num_layers=2, batch_first=True), first=nn.Linear(3, 3)))
    for name, p in net.layer.named_parameters():
        p.requires_grad_("l0" in name)
    x = randn(B, 5, 3)
    x[:, 0, 0] = 0
    with messages() as engine:
        assert (F_al.gradient_norm(net, x) == 0).all()
    assert engine.fell_back
    assert_by_rules(net, randn(B, 5, 3), FEW)


def test_a_gradient_inside_the_forward_pass():
    def forward(m, x):
        hs = m.layer(x)[0]
        with torch.enable_grad():
            (slope,) = torch.autograd.grad(hs.square().sum(), hs, retain_graph=True)
        first = torch.autograd.grad(hs.sum(), m.layer.bias_ih_l0, retain_graph=True, allow_unused=True)[0]
        return m.head((hs + slope.detach()).mean(1)) + (0 if first is None else first.detach().sum() * 0)

    net = seeded(lambda: Model(forward, layer=nn.LSTM(3, 4, batch_first=True), head=nn.Linear(4, C)))
    x = randn(B, 5, 3)
    torch.testing.assert_close(F_al.gradient_norm(net, x), reference.gradient_norm(net, x), rtol=1e-9, atol=1e-12)
