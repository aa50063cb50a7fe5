"""Monte-Carlo dropout: dropout that is added, memory, what is left behind, and what is refused."""

import copy
import warnings

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_al import functional as F_al
from tests.helpers import reference
from tests.helpers.dropout import EXACT, Residual, alone, by_hand, keep, passes
from tests.helpers.models import B, C, Model, Notes, randn, seeded


def test_dropout_is_added_before_the_last_linear_layer_that_runs():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.unused, self.b, self.a = nn.Linear(4, 4), nn.Linear(4, C), nn.Linear(4, 4)

        def forward(self, x):
            return self.b(self.a(self.a(x).tanh()).tanh())

    net, x = seeded(Net), randn(B, 4)

    def one(sample, number):
        return net.b(net.a(net.a(sample).tanh()).tanh() * keep((4,), 0.5, "b (input)", number) * 2)

    torch.testing.assert_close(passes(net, x, add_dropout=0.5), by_hand(one, x), **EXACT)
    reused = seeded(lambda: nn.Sequential(*[nn.Linear(C, C)] * 2))  # the last time that it runs

    def two(sample, number):
        return reused[0](reused[0](sample) * keep((C,), 0.5, "0 (input)", number, call=1) * 2)

    torch.testing.assert_close(passes(reused, x[:, :C], add_dropout=0.5), by_hand(two, x[:, :C]), **EXACT)


def test_dropout_is_added_to_what_the_model_has():
    net, x = seeded(Residual), randn(B, 4)

    def one(sample, number):
        h = sample + net.a(sample).tanh() * keep((4,), 0.3, "drop", number) / 0.7
        return net.b(h * keep((4,), 0.5, "b (input)", number) * 2)

    torch.testing.assert_close(passes(net, x, add_dropout=0.5), by_hand(one, x), **EXACT)


def test_an_input_given_by_name():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(4, C)

        def forward(self, x):
            return self.last(input=x)

    net, x = seeded(Net), randn(B, 4)
    want = by_hand(lambda s, t: net.last(s * keep((4,), 0.5, "last (input)", t) * 2), x)
    torch.testing.assert_close(passes(net, x, add_dropout=0.5), want, **EXACT)


class Counted(nn.Module):
    """Notes how many rows come by; runs out of memory past some."""

    def __init__(self, limit=10**9):
        super().__init__()
        self.seen, self.limit = Notes(), limit

    def forward(self, x):
        if len(x) > self.limit:
            raise torch.OutOfMemoryError("CUDA out of memory")
        self.seen.append(len(x))
        return x


def test_what_comes_before_the_first_dropout_is_computed_once():
    before, after = Counted(), Counted()
    net = nn.Sequential(before, nn.Linear(4, 4), nn.Dropout(0.5), after, nn.Linear(4, C))
    F_al.mc_dropout(net, torch.randn(50, 4), passes=10)
    assert max(before.seen) == 50
    assert before.seen.count(50) == 1
    assert max(after.seen) == 500


def test_where_both_meet_the_inputs_are_repeated():
    net = seeded(Residual)
    before = Counted()
    F_al.mc_dropout(nn.Sequential(before, net), randn(50, 4), passes=10)
    assert max(before.seen) == 500


def test_as_many_passes_at_once_as_fit():
    class Shallow(nn.Module):
        def __init__(self):
            super().__init__()
            self.counted, self.drop, self.last = Counted(), nn.Dropout(0.5), nn.Linear(4, C)

        def forward(self, x):
            return self.last(x + self.drop(self.counted(x)))

    row = 4 * 4 * 8  # bytes of four results of four numbers
    for budget, most in [(1, 10), (row * 10 * 3, 30), (row * 10.0 * 3, 30), (row * 10 * 100, 70), (float("inf"), 70)]:
        net = Shallow().double()
        F_al.mc_dropout(net, randn(10, 4), passes=7, max_bytes=budget)
        assert max(net.counted.seen) == most
        assert sum(n for n in net.counted.seen if n >= 10) == 70


def test_fewer_passes_at_once_where_memory_runs_out():
    net, x = seeded(Residual), randn(10, 4)
    counted = Counted(limit=25)
    found = passes(nn.Sequential(counted, net), x, passes=9)
    torch.testing.assert_close(found, torch.cat([passes(nn.Sequential(nn.Identity(), net), x, passes=9)]), **EXACT)
    assert sum(n for n in counted.seen if n >= 10) == 90
    with pytest.raises(torch.OutOfMemoryError):
        passes(nn.Sequential(Counted(limit=9), net), x)


class Batchy(nn.Module):
    """BatchNorm and dropout of every sort, some of it switched to a mode by hand."""

    def __init__(self):
        super().__init__()
        self.a, self.norm, self.drop = nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.5)
        self.mix, self.b = nn.MultiheadAttention(6, 2, dropout=0.2, batch_first=True), nn.Linear(6, C)
        self.register_buffer("calls", torch.zeros(()))
        nn.init.normal_(self.norm.running_mean)
        self.failing = None

    def forward(self, x):
        self.calls += 1
        h = self.drop(self.norm(self.a(x)).relu()).unsqueeze(1)
        h = self.mix(h, h, h)[0].squeeze(1)
        if self.failing is not None and len(x) >= 5:
            raise self.failing
        return self.b(h)


@pytest.mark.parametrize("error", [None, ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("mode", [True, False])
def test_everything_is_as_before(mode, error):
    net, x = seeded(Batchy).train(mode), randn(B, 4)
    net.norm.train(not mode)
    net.a.weight.grad = torch.ones_like(net.a.weight)
    net.failing = error
    before, fused, kept = reference.snapshot(net), torch.backends.mha.get_fastpath_enabled(), x.clone()
    if error is None:
        passes(net, x)
    else:
        with pytest.raises(error):
            passes(net, x)
    assert reference.snapshot(net) == before
    assert torch.backends.mha.get_fastpath_enabled() == fused
    assert torch.equal(x, kept)
    assert torch.equal(F.dropout(x, 0.5, training=False), x)  # nothing catches this any more


def test_batch_norm_keeps_to_its_running_statistics_whatever_the_mode():
    net, x = seeded(Batchy), randn(B, 4)
    assert torch.equal(passes(net.train(), x), passes(copy.deepcopy(net).eval(), x))
    torch.testing.assert_close(passes(net, x), alone(net, x), **EXACT)


def test_full_precision_under_autocast_and_from_half_weights():
    net, x = seeded(Residual).float(), randn(B, 4).float()
    want = passes(net, x)
    assert want.dtype == torch.float32
    with torch.autocast("cpu", dtype=torch.bfloat16), torch.inference_mode():
        assert torch.equal(passes(net, x.clone()), want)
    half = passes(net.bfloat16(), x.bfloat16())
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, want, rtol=0, atol=0.05)


@pytest.mark.slow
def test_a_compiled_model_is_scored_as_it_is_written():
    net, x = seeded(Residual), randn(B, 4)
    assert torch.equal(passes(torch.compile(net), x), passes(net, x))


@pytest.mark.parametrize(
    "net",
    [
        nn.Linear(4, C),
        nn.Sequential(nn.Dropout(0.0), nn.Linear(4, C)),
        nn.Sequential(nn.LSTM(4, C, dropout=0.0), Model(lambda m, x: x[0])),
        Model(lambda m, x: m.last(F.dropout(x, 0.5) if m.training else x), last=nn.Linear(4, C)),
    ],
)
def test_a_model_without_dropout(net):
    with pytest.raises(ValueError, match=r"`add_dropout=0\.5`"):
        passes(net.double(), randn(B, 4))


LOOP = Model(
    lambda m, x: torch.cat([m.last(m.drop(s)) for s in x.split(1)]), drop=nn.Dropout(0.5), last=nn.Linear(4, C)
)
MINOR = Model(
    lambda m, x: m.last(m.drop(x.T.reshape(-1, 1)).reshape(4, -1).T), drop=nn.Dropout(0.5), last=nn.Linear(4, C)
)
REFUSED = {
    "a loop over samples": (LOOP, randn(B, 4), r"'drop'.*no loop"),
    "samples flattened in another order": (MINOR, randn(B, 4), "another order than sample by sample"),
    "other noise": (
        Model(lambda m, x: m.drop(m.last(x)) + torch.randn(len(x), C), drop=nn.Dropout(0.5), last=nn.Linear(4, C)),
        randn(B, 4),
        "draws at random",
    ),
    "channels of no batch": (
        Model(lambda m, x: m.last(m.drop(x)), drop=nn.Dropout1d(0.5), last=nn.Linear(4, C)),
        randn(B, 4),
        r"'drop'.*without a batch",
    ),
    "the batch where channels are": (
        Model(lambda m, x: m.last(m.drop(x.transpose(0, 1)).mean(0)), drop=nn.Dropout1d(0.5), last=nn.Linear(4, C)),
        randn(B, 3, 4),
        r"channels.*dimension 1",
    ),
    "packed sequences": (
        Model(
            lambda m, x: m.last(m.cells(nn.utils.rnn.pack_padded_sequence(x, [3] * len(x), True))[1][0][-1]),
            cells=nn.LSTM(4, 4, 2, dropout=0.5),
            last=nn.Linear(4, C),
        ),
        randn(B, 3, 4),
        r"'cells'.*packed",
    ),
    "probabilities that are none": (
        Model(lambda m, x: m.last(F.dropout(x, 1.5, m.training)), last=nn.Linear(4, C)),
        randn(B, 4),
        "between 0 and 1",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_made_consistent_is_refused(name):
    net, x, message = REFUSED[name]
    net = net.double()
    before = reference.snapshot(net)
    with pytest.raises(ValueError, match=message):
        passes(net, x)
    assert reference.snapshot(net) == before


def test_no_linear_layer_to_add_dropout_before():
    net = nn.Sequential(nn.Conv2d(2, C, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()).double()
    with pytest.raises(ValueError, match="none runs"):
        passes(net, randn(B, 2, 3, 3), add_dropout=0.5)


def test_dropout_layers_that_do_not_run_are_warned_of():
    class Net(nn.Module):
        """Switches its dropout by itself, as some attention blocks do."""

        def __init__(self):
            super().__init__()
            self.inside, self.drop, self.last = nn.Dropout(0.1), nn.Dropout(0.5), nn.Linear(4, C)

        def forward(self, x):
            return self.last(self.drop(self.inside(x) if self.training else x))

    net, x = seeded(Net), randn(B, 4)
    with pytest.warns(UserWarning, match="stay switched off: inside"):
        passes(net, x)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        passes(seeded(Residual), x)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"passes": 1}, "`passes`.*1"),
        ({"add_dropout": 0.0}, "`add_dropout`"),
        ({"add_dropout": 1.0}, "`add_dropout`"),
    ],
)
def test_options_out_of_range(options, message):
    with pytest.raises(ValueError, match=message):
        passes(seeded(Residual), randn(B, 4), **options)


def test_no_samples_and_outputs_that_are_no_logits():
    with pytest.raises(ValueError, match="at least one"):
        passes(seeded(Residual), randn(0, 4))
    with pytest.raises(TypeError, match="tuple"):
        passes(seeded(Residual), randn(B, 4), forward=lambda model, x: (model(x),))
