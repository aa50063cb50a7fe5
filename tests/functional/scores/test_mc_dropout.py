"""Masks drawn and put on by hand, one sample at a time in float64; samples in any company get the same."""

import copy
import itertools
import math
import warnings

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lightning_al import functional as F_al
from lightning_al.distributed.randomness import generator
from lightning_al.zoo import TextClassifier, ViT
from tests.helpers import reference
from tests.helpers.models import B, C, Notes, randn, seeded

T, SEED = 4, 3
EXACT = {"rtol": 1e-10, "atol": 1e-12}


def keep(shape, p, layer, number, call=0, seed=SEED):
    """The mask of a pass, as the docstring says that it follows."""
    return (torch.rand(shape, generator=generator(seed, layer, call, number)) >= p).double()


def passes(model, x, **options):
    return F_al.mc_dropout(model, x, **{"passes": T, "seed": SEED, **options}).detach()


def alone(model, x, **options):
    """Every sample by itself, pass by pass."""
    return torch.cat([passes(model, x[i : i + 1], max_bytes=1, **options) for i in range(len(x))])


def by_hand(model, x):
    """``model(x, number)`` is one pass on one sample."""
    with torch.no_grad():
        return torch.stack([torch.stack([model(s, t) for t in range(T)]) for s in x]).log_softmax(2)


# ------------------------------------------------------------------------------------------------- each kind of dropout


def plain(x, m, p):
    return x * m / (1 - p) if p < 1 else x * 0


def alpha(x, m, p):
    """Klambauer et al., 2017, section "new dropout technique"."""
    low = -1.0507009873554805 * 1.6732632423543772
    a = ((1 - p) * (1 + p * low**2)) ** -0.5
    return a * (x * m + low * (1 - m)) - a * low * p


KINDS = {
    "dropout": (nn.Dropout, (6,), (6,), plain),
    "dropout of maps": (nn.Dropout, (3, 4), (3, 4), plain),
    "dropout 1d": (nn.Dropout1d, (3, 4), (3, 1), plain),
    "dropout 2d": (nn.Dropout2d, (3, 2, 4), (3, 1, 1), plain),
    "dropout 3d": (nn.Dropout3d, (3, 2, 2, 4), (3, 1, 1, 1), plain),
    "alpha": (nn.AlphaDropout, (3, 4), (3, 4), alpha),
    "feature alpha": (nn.FeatureAlphaDropout, (3, 2, 4), (3, 1, 1), alpha),
}


class Before(nn.Module):
    """Features, dropout, logits."""

    def __init__(self, drop, shape):
        super().__init__()
        self.first, self.drop, self.shape = nn.Linear(5, math.prod(shape)), drop, shape
        self.last = nn.Linear(math.prod(shape), C)

    def features(self, x):
        return self.first(x).tanh().unflatten(1, self.shape)

    def forward(self, x):
        return self.last(self.drop(self.features(x)).flatten(1))


@pytest.mark.parametrize("p", [0.3, 0.75, 1.0])
@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_by_hand(kind, p):
    layer, shape, mask, apply = KINDS[kind]
    if apply is alpha and p == 1.0:
        apply = plain  # as torch has it
    net, x = seeded(lambda: Before(layer(p), shape)), randn(B, 5)

    def one(sample, number):
        dropped = apply(net.features(sample[None])[0], keep(mask, p, "drop", number), p)
        return net.last(dropped.flatten())

    torch.testing.assert_close(passes(net, x), by_hand(one, x), **EXACT)
    if p < 1:
        assert float(passes(net, x).std(1).min()) > 0


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_does_to_a_tensor_what_torch_does(kind):
    """Which gives every entry one of two values: kept or dropped."""
    layer, shape, mask, apply = KINDS[kind]
    x = randn(50, *shape)
    own = layer(0.3).train()(x)
    kept, dropped = (apply(x, torch.full(mask, float(m)).double(), 0.3) for m in (1, 0))
    is_kept, is_dropped = torch.isclose(own, kept), torch.isclose(own, dropped)
    assert bool((is_kept | is_dropped).all())
    assert 0.5 < float(is_kept.double().mean()) < 0.9


class Functional(nn.Module):
    """Dropout in code of one's own, by every name that torch has for it."""

    def __init__(self, call):
        super().__init__()
        self.call, self.first, self.last = call, nn.Linear(5, 6), nn.Linear(6, C)

    def forward(self, x):
        h = self.call(self, self.first(x).tanh().unsqueeze(2)).flatten(1)
        return self.last(h)


CALLS = {
    "F.dropout": (plain, lambda m, x: F.dropout(x, 0.4, m.training)),
    "F.dropout by name": (plain, lambda m, x: F.dropout(input=x, p=0.4, training=m.training)),
    "F.dropout, always on": (plain, lambda m, x: F.dropout(x, p=0.4)),
    "F.dropout, in place": (plain, lambda m, x: (F.dropout(x, 0.4, m.training, inplace=True), x)[1]),
    "torch.dropout": (plain, lambda m, x: torch.dropout(x, 0.4, m.training)),
    "torch.dropout by name": (plain, lambda m, x: torch.dropout(x, p=0.4, train=m.training)),
    "torch.dropout_": (plain, lambda m, x: (torch.dropout_(x, 0.4, m.training), x)[1]),
    "torch.feature_dropout": (plain, lambda m, x: torch.feature_dropout(x, 0.4, m.training)),
    "torch.feature_dropout_": (plain, lambda m, x: (torch.feature_dropout_(x, 0.4, m.training), x)[1]),
    "F.alpha_dropout": (alpha, lambda m, x: F.alpha_dropout(x, 0.4, m.training)),
    "torch.alpha_dropout": (alpha, lambda m, x: torch.alpha_dropout(x, 0.4, m.training)),
    "torch.alpha_dropout_": (alpha, lambda m, x: (torch.alpha_dropout_(x, 0.4, m.training), x)[1]),
    "F.feature_alpha_dropout": (alpha, lambda m, x: F.feature_alpha_dropout(x, 0.4, m.training)),
    "torch.feature_alpha_dropout": (alpha, lambda m, x: torch.feature_alpha_dropout(x, 0.4, m.training)),
}


@pytest.mark.parametrize("name", CALLS)
def test_functions_in_code_of_one_s_own(name):
    apply, call = CALLS[name]
    net, x = seeded(lambda: Functional(call)), randn(B, 5)

    def one(sample, number):
        return net.last(apply(net.first(sample).tanh(), keep((6,), 0.4, "", number), 0.4))

    torch.testing.assert_close(passes(net, x), by_hand(one, x), **EXACT)


def test_a_layer_called_twice_drops_twice_and_two_layers_drop_differently():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b, self.last = nn.Dropout(0.5), nn.Dropout(0.5), nn.Linear(8, C)

        def forward(self, x):
            return self.last(self.b(self.a(self.a(x))))

    net, x = seeded(Twice), randn(B, 8)

    def one(sample, number):
        masks = [keep((8,), 0.5, layer, number, call) for layer, call in (("a", 0), ("a", 1), ("b", 0))]
        assert not torch.equal(masks[0], masks[1]) or not torch.equal(masks[0], masks[2])
        return net.last(sample * masks[0] * masks[1] * masks[2] * 8)

    torch.testing.assert_close(passes(net, x), by_hand(one, x), **EXACT)


@pytest.mark.parametrize("weights", [True, False])
@pytest.mark.parametrize("batch_first", [True, False])
def test_attention_by_hand(weights, batch_first):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.mix, self.last = nn.MultiheadAttention(4, 2, dropout=0.4, batch_first=batch_first), nn.Linear(4, C)

        def forward(self, x):
            x = x if batch_first else x.transpose(0, 1)
            y = self.mix(x, x, x, need_weights=weights, key_padding_mask=padding[: x.shape[0 if batch_first else 1]])[0]
            return self.last(y.mean(1 if batch_first else 0))

    net, x = seeded(Net), randn(B, 3, 4)
    padding = torch.zeros(200, 3, dtype=torch.bool)
    padding[:, 2] = True

    def one(sample, number):
        q, k, v = (sample @ net.mix.in_proj_weight.T + net.mix.in_proj_bias).chunk(3, 1)
        mask, heads = keep((2, 3, 3), 0.4, "mix", number), []
        for h in range(2):
            part = slice(2 * h, 2 * h + 2)
            scores = q[:, part] @ k[:, part].T / 2**0.5
            scores[:, 2] = -torch.inf
            heads.append(scores.softmax(1) * mask[h] / 0.6 @ v[:, part])
        return net.last(net.mix.out_proj(torch.cat(heads, 1)).mean(0))

    nn.init.normal_(net.mix.in_proj_bias)
    torch.testing.assert_close(passes(net, x), by_hand(one, x), **EXACT)


@pytest.mark.parametrize(
    "options", [{}, {"is_causal": True}, {"scale": 0.3}, {"attn_mask": "bool"}, {"attn_mask": "add"}]
)
def test_scaled_dot_product_attention_is_torch_s_own(options):
    """At a probability that drops nothing of what is there: 2^-25 is below the draws' resolution."""
    options = dict(options)
    if "attn_mask" in options:
        mask = torch.tensor([[True, False, True], [True, True, False], [False, False, True]])
        add = randn(3, 3, seed=9)
        options["attn_mask"] = mask if options["attn_mask"] == "bool" else add

    class Net(nn.Module):
        def forward(self, x):
            q = x.unflatten(2, (2, 2)).transpose(1, 2)
            return F.scaled_dot_product_attention(q, q * 2, q + 1, dropout_p=self.p, **options).flatten(1)[:, :C]

    net, x = Net(), randn(B, 3, 4)
    net.p = 2.0**-40
    found = passes(net, x)
    net.p = 0.0
    torch.testing.assert_close(found, net(x).log_softmax(1)[:, None].expand(-1, T, -1), **EXACT)


@pytest.mark.parametrize("cell", [nn.LSTM, nn.GRU, nn.RNN])
@pytest.mark.parametrize("both", [False, True])
def test_recurrent_layers_by_hand(cell, both):
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.cells = cell(4, 3, num_layers=3, dropout=0.4, batch_first=True, bidirectional=both)
            self.last = nn.Linear(6 if both else 3, C)

        def forward(self, x):
            return self.last(self.cells(x)[0][:, -1])

    net, x = seeded(Net), randn(B, 5, 4)
    width = 6 if both else 3

    def one(sample, number):
        h = sample[None]
        for layer in range(3):
            single = cell(h.shape[2], 3, batch_first=True, bidirectional=both).double()
            own = {k: v for k, v in net.cells.state_dict().items() if f"_l{layer}" in k}
            single.load_state_dict({k.replace(f"_l{layer}", "_l0"): v for k, v in own.items()})
            h = single(h)[0]
            if layer < 2:
                h = h * keep((5, width), 0.4, "cells", number, layer) / 0.6
        return net.last(h[0, -1])

    torch.testing.assert_close(passes(net, x), by_hand(one, x), **EXACT)


def test_the_last_states_of_recurrent_layers_are_those_of_each_layer():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.cells, self.last = nn.LSTM(4, 3, num_layers=2, dropout=1e-12), nn.Linear(12, C)

        def forward(self, x):
            _, (h, c) = self.cells(x.transpose(0, 1))
            return self.last(torch.cat([*h, *c], 1))

    net, x = seeded(Net), randn(B, 5, 4)
    torch.testing.assert_close(passes(net, x)[:, 0], net.eval()(x).log_softmax(1), **EXACT)


# -------------------------------------------------------------------------------------------- all masks, enumerated


def test_passes_are_draws_from_all_masks_the_same_for_every_sample():
    net = seeded(lambda: nn.Sequential(nn.Linear(3, 3), nn.Tanh(), nn.Dropout(0.25), nn.Linear(3, C)))
    x = randn(6, 3)
    masks = [torch.tensor(m).double() for m in itertools.product([0.0, 1.0], repeat=3)]
    chances = [0.75 ** float(m.sum()) * 0.25 ** float(3 - m.sum()) for m in masks]
    with torch.no_grad():
        outcomes = torch.stack([net[3](net[:2](x) * m / 0.75).log_softmax(1) for m in masks])  # (8, B, C)
    count = 2000
    found = passes(net, x, passes=count).transpose(0, 1)
    same = torch.isclose(found.unsqueeze(1), outcomes, rtol=1e-9, atol=1e-12).all(3).all(2)  # (T, 8)
    assert bool((same.sum(1) == 1).all())
    for share, chance in zip(same.double().mean(0).tolist(), chances, strict=True):
        assert abs(share - chance) < 4.5 * (chance * (1 - chance) / count) ** 0.5
    # The scores come out as those over all masks.
    p = (outcomes.exp() * torch.tensor(chances).double()[:, None, None]).sum(0)
    entropy = -(p * p.log()).sum(1)
    inner = -(outcomes.exp() * outcomes).sum(2)
    information = entropy - (inner * torch.tensor(chances).double()[:, None]).sum(0)
    torch.testing.assert_close(F_al.mean_entropy(found.transpose(0, 1)), entropy, rtol=0, atol=0.02)
    torch.testing.assert_close(F_al.bald(found.transpose(0, 1)), information, rtol=0, atol=0.02)


# ------------------------------------------------------------------------------------- whatever company a sample is in


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.drop, self.b = nn.Linear(4, 4), nn.Dropout(0.3), nn.Linear(4, C)

    def forward(self, x):
        return self.b(x + self.drop(self.a(x).tanh()))


class Heads(nn.Module):
    """Parts of a sample in the batch dimension, sample by sample."""

    def __init__(self):
        super().__init__()
        self.a, self.drop, self.b = nn.Linear(4, 4), nn.Dropout1d(0.3), nn.Linear(4, C)

    def forward(self, x):
        parts = self.a(x).flatten(0, 1).unsqueeze(2)
        return self.b(self.drop(parts).squeeze(2).unflatten(0, (len(x), -1)).mean(1))


class TimeFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.drop, self.b = nn.Linear(4, 4), nn.Dropout(0.3), nn.Linear(4, C)

    def forward(self, x):
        return self.b(self.drop(self.a(x.transpose(0, 1))).mean(0))


class ChannelsLast(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.drop, self.b = nn.Conv2d(2, 4, 3, padding=1), nn.Dropout2d(0.3), nn.Conv2d(4, 4, 3)
        self.last = nn.Linear(4, C)

    def forward(self, x):
        x = x.to(memory_format=torch.channels_last)
        return self.last(self.b(self.drop(self.a(x)).tanh()).mean((2, 3)))


class Noted(nn.Module):
    """Goes by the number of rows that came in, which must not mix passes."""

    def __init__(self):
        super().__init__()
        self.a, self.drop, self.b = nn.Linear(4, 4), nn.Dropout(0.3), nn.Linear(4, C)

    def forward(self, x):
        each = self.drop(self.a(x)).reshape(len(x), -1, 4)
        return self.b(each - each.mean(1, keepdim=True) / 2).flatten(0, 1)


class Pooled(nn.Module):
    """Dropout over a dimension that is as large as the batch."""

    def __init__(self):
        super().__init__()
        self.a, self.drop, self.b = nn.Linear(4, B), nn.Dropout(0.3, inplace=True), nn.Linear(B, C)

    def forward(self, x):
        return self.b(self.drop(self.a(x)))


def _text():
    return torch.randint(1, 30, (B, 6), generator=torch.Generator().manual_seed(2))


COMPANY = {
    "residual": (Residual, lambda: randn(B, 4)),
    "heads": (Heads, lambda: randn(B, 3, 4)),
    "time first": (TimeFirst, lambda: randn(B, B, 4)),
    "channels last": (ChannelsLast, lambda: randn(B, 2, 5, 5)),
    "number of rows noted before": (Noted, lambda: randn(B, 4)),
    "as wide as the batch": (Pooled, lambda: randn(B, 4)),
    "vision transformer": (
        lambda: ViT(C, image_size=8, patch_size=4, dim=8, depth=2, heads=2, dropout=0.2),
        lambda: randn(B, 3, 8, 8),
    ),
    "text": (lambda: TextClassifier(C, vocabulary=30, dim=8, heads=2, depth=2, dropout=0.2), _text),
    "encoder": (
        lambda: nn.Sequential(
            nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, dropout=0.3, batch_first=True), 2),
            nn.Flatten(),
            nn.Linear(12, C),
        ),
        lambda: randn(B, 3, 4),
    ),
}


@pytest.mark.parametrize("name", COMPANY)
def test_a_sample_is_scored_the_same_in_any_batch_and_order(name):
    build, make = COMPANY[name]
    net, x = seeded(build), make()
    want = alone(net, x)
    assert float(want.std(1).amax(1).min()) > 1e-3  # the passes differ
    order = [3, 0, 4, 1, 2]
    torch.testing.assert_close(passes(net, x), want, **EXACT)
    torch.testing.assert_close(passes(net, x[order]), want[order], **EXACT)
    torch.testing.assert_close(passes(net, x[1:3]), want[1:3], **EXACT)
    torch.testing.assert_close(passes(net, x.repeat(3, *[1] * (x.ndim - 1))), want.repeat(3, 1, 1), **EXACT)
    for at_once in (1, 10**3, 10**5, 10**9):
        torch.testing.assert_close(passes(net, x, max_bytes=at_once), want, **EXACT)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 7),
    st.integers(2, 6),
    st.lists(st.integers(1, 6), min_size=1, max_size=3),
    st.floats(0.05, 0.95),
    st.integers(0, 2**31),
    st.integers(1, 20_000),
)
def test_a_sample_is_scored_the_same_in_any_batch_of_any_shape(size, count, shape, p, seed, at_once):
    width = math.prod(shape)
    layers = [nn.Flatten(), nn.Linear(width, width), nn.Unflatten(1, shape), nn.Dropout(p), nn.Flatten()]
    net = seeded(lambda: nn.Sequential(*layers, nn.Dropout(p), nn.Linear(width, C)), seed)
    x = randn(size, *shape, seed=seed)
    options = {"passes": count, "seed": seed}
    together = passes(net, x, max_bytes=at_once, **options)
    torch.testing.assert_close(together, alone(net, x, **options), **EXACT)
    more = passes(net, x, **{**options, "passes": count + 2})
    torch.testing.assert_close(more[:, :count], together, **EXACT)  # a pass is what its number says


def test_the_seed_decides():
    net, x = seeded(Residual), randn(B, 4)
    assert torch.equal(passes(net, x), passes(net, x))
    assert not torch.allclose(passes(net, x), passes(net, x, seed=SEED + 1))


def test_inputs_of_any_kind_and_a_forward_of_one_s_own():
    net, x = seeded(Residual), randn(B, 4)
    inputs = {"x": [x, None], "scale": 2.0}
    found = passes(net, inputs, forward=lambda model, batch: model(batch["x"][0] * batch["scale"]))
    torch.testing.assert_close(found, passes(net, 2 * x), **EXACT)


def test_dense_outputs():
    net = seeded(lambda: nn.Sequential(nn.Conv2d(2, 4, 1), nn.Dropout2d(0.4), nn.Conv2d(4, C, 1)))
    found = passes(net, randn(B, 2, 3, 2))
    assert found.shape == (B, T, C, 3, 2)
    pixel = passes(net, randn(B, 2, 3, 2)[:, :, 1:2, :1])
    torch.testing.assert_close(found[..., 1:2, :1], pixel, **EXACT)


# ---------------------------------------------------------------------------------------------- dropout that is added


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


# ---------------------------------------------------------------------------------------------------- memory and time


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
    for budget, most in [(1, 10), (row * 10 * 3, 30), (row * 10 * 100, 70)]:
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


# ------------------------------------------------------------------------------------------------ nothing left behind


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


def test_a_compiled_model_is_scored_as_it_is_written():
    net, x = seeded(Residual), randn(B, 4)
    assert torch.equal(passes(torch.compile(net), x), passes(net, x))


# ------------------------------------------------------------------------------------------------------ what is refused


class Named(nn.Module):
    def __init__(self, forward, **layers):
        super().__init__()
        for name, layer in layers.items():
            setattr(self, name, layer)
        self.run = forward

    def forward(self, x):
        return self.run(self, x)


@pytest.mark.parametrize(
    "net",
    [
        nn.Linear(4, C),
        nn.Sequential(nn.Dropout(0.0), nn.Linear(4, C)),
        nn.Sequential(nn.LSTM(4, C, dropout=0.0), Named(lambda m, x: x[0])),
        Named(lambda m, x: m.last(F.dropout(x, 0.5) if m.training else x), last=nn.Linear(4, C)),
    ],
)
def test_a_model_without_dropout(net):
    with pytest.raises(ValueError, match=r"`add_dropout=0\.5`"):
        passes(net.double(), randn(B, 4))


LOOP = Named(
    lambda m, x: torch.cat([m.last(m.drop(s)) for s in x.split(1)]), drop=nn.Dropout(0.5), last=nn.Linear(4, C)
)
MINOR = Named(
    lambda m, x: m.last(m.drop(x.T.reshape(-1, 1)).reshape(4, -1).T), drop=nn.Dropout(0.5), last=nn.Linear(4, C)
)
REFUSED = {
    "a loop over samples": (LOOP, randn(B, 4), r"'drop'.*no loop"),
    "samples flattened in another order": (MINOR, randn(B, 4), "another order than sample by sample"),
    "other noise": (
        Named(lambda m, x: m.drop(m.last(x)) + torch.randn(len(x), C), drop=nn.Dropout(0.5), last=nn.Linear(4, C)),
        randn(B, 4),
        "draws at random",
    ),
    "channels of no batch": (
        Named(lambda m, x: m.last(m.drop(x)), drop=nn.Dropout1d(0.5), last=nn.Linear(4, C)),
        randn(B, 4),
        r"'drop'.*without a batch",
    ),
    "the batch where channels are": (
        Named(lambda m, x: m.last(m.drop(x.transpose(0, 1)).mean(0)), drop=nn.Dropout1d(0.5), last=nn.Linear(4, C)),
        randn(B, 3, 4),
        r"channels.*dimension 1",
    ),
    "packed sequences": (
        Named(
            lambda m, x: m.last(m.cells(nn.utils.rnn.pack_padded_sequence(x, [3] * len(x), True))[1][0][-1]),
            cells=nn.LSTM(4, 4, 2, dropout=0.5),
            last=nn.Linear(4, C),
        ),
        randn(B, 3, 4),
        r"'cells'.*packed",
    ),
    "probabilities that are none": (
        Named(lambda m, x: m.last(F.dropout(x, 1.5, m.training)), last=nn.Linear(4, C)),
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
