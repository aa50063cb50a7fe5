"""Dropout inside functions, attention and recurrent layers, against masks put on by hand."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.helpers.dropout import EXACT, T, alpha, by_hand, keep, passes, plain
from tests.helpers.models import B, C, randn, seeded


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
