import itertools

import pytest
import torch
from torch import nn

from tests.helpers.exact import BRIEF, FEW, SCORES, assert_exact, assert_exact_otherwise, probe
from tests.helpers.marks import slow
from tests.helpers.models import B, C, randn, seeded

T, S = 3, 4


def causal(dtype):
    mask = torch.ones(T, T, dtype=torch.bool).triu(1)
    return mask if dtype is bool else torch.zeros(T, T).masked_fill(mask, -torch.inf)


class Padding:
    """The last positions of every other sample."""

    def __new__(cls, x, length):
        mask = torch.zeros(len(x), length, dtype=torch.bool)
        mask[x.flatten(1).sum(1) > 0, -1] = True
        return mask


def self_attention(**options):
    def call(layer, x):
        given = {k: v(x) if callable(v) else v for k, v in options.items()}
        if layer.batch_first:
            return layer(x, x, x, **given)[0]
        x = x.transpose(0, 1)
        return layer(x, x, x, **given)[0].transpose(0, 1)

    return call


MASKS = {
    "none": {},
    "boolean": {"attn_mask": causal(bool)},
    "float": {"attn_mask": causal(float).double()},
    "causal": {"attn_mask": causal(bool), "is_causal": True},
    "padding": {"key_padding_mask": lambda x: Padding(x, T)},
    "both": {"attn_mask": causal(float).double(), "key_padding_mask": lambda x: Padding(x, T).double() * -9.0},
    "one for each head": {"attn_mask": lambda x: causal(bool).expand(2 * len(x), T, T)},
}


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("mask", "batch_first", "need_weights"),
    [
        case if case[1:] == (True, False) or case[0] == "both" else slow(*case)
        for case in itertools.product(MASKS, (True, False), (True, False))
    ],
)
def test_self_attention(mask, batch_first, need_weights):
    net = probe(
        lambda: nn.MultiheadAttention(4, 2, batch_first=batch_first, dropout=0.2),
        self_attention(need_weights=need_weights, **MASKS[mask]),
    )
    assert_exact(net, randn(B, T, 4), FEW if mask == "both" else BRIEF, single=mask not in ("float", "both"))


@pytest.mark.few(3)
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_every_score_equals_the_loop(batch_first, bias):
    net = probe(lambda: nn.MultiheadAttention(4, 2, batch_first=batch_first, bias=bias), self_attention())
    assert_exact(net, randn(B, T, 4), tuple(SCORES) if batch_first and bias else BRIEF)


class Cross(nn.Module):
    def __init__(self, kdim=None, vdim=None, batch_first=True):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, kdim=kdim, vdim=vdim, batch_first=batch_first)
        self.head = nn.Linear(4, C)

    def forward(self, inputs):
        mixed, weights = self.attention(*(t if self.attention.batch_first else t.transpose(0, 1) for t in inputs))
        return self.head(mixed.mean(int(self.attention.batch_first))) + weights.square().sum((1, 2))[:, None]


@pytest.mark.few(1)
@pytest.mark.parametrize("batch_first", [True, False])
@pytest.mark.parametrize(("kdim", "vdim"), [(None, None), (3, 5), (None, 2)])
def test_cross_attention(kdim, vdim, batch_first):
    inputs = [randn(B, T, 4), randn(B, S, kdim or 4, seed=2), randn(B, S, vdim or 4, seed=3)]
    assert_exact(seeded(lambda: Cross(kdim, vdim, batch_first)), inputs, FEW if batch_first else BRIEF)


class Latents(nn.Module):
    """Learnt queries attend to the inputs; the same layer then attends to itself."""

    def __init__(self, again):
        super().__init__()
        self.queries = nn.Parameter(torch.randn(2, 4))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.head = nn.Linear(4, C)
        self.again = again

    def forward(self, x):
        q = self.queries.expand(len(x), -1, -1)
        h = self.attention(q, x, x, need_weights=False)[0]
        if self.again:
            h = self.attention(h, h, h)[0]
        return self.head(h.mean(1))


def test_learnt_queries():
    assert_exact(seeded(lambda: Latents(False)), randn(B, T, 4), FEW)


def test_one_layer_as_cross_and_as_self_attention_goes_another_way():
    """The two calls use overlapping rows of the input projection."""
    assert_exact_otherwise(seeded(lambda: Latents(True)), randn(B, T, 4), "overlapping rows of")


def test_one_layer_twice():
    def twice(layer, x):
        h = layer(x, x, x)[0]
        return layer(h, h, h)[0]

    assert_exact(probe(lambda: nn.MultiheadAttention(4, 2, batch_first=True), twice), randn(B, T, 4), FEW)


@pytest.mark.few(2)
@pytest.mark.parametrize("part", ["in_proj_weight", "in_proj_bias", "out_proj.weight", "out_proj.bias"])
def test_a_frozen_part(part):
    net = probe(lambda: nn.MultiheadAttention(4, 2, batch_first=True), self_attention())
    net.layer.get_parameter(part).requires_grad_(False)
    assert_exact(net, randn(B, T, 4), BRIEF)


def test_a_frozen_layer_before_one_that_is_not():
    net = probe(lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True))
    net.layer.self_attn.requires_grad_(False)
    assert_exact(net, randn(B, T, 4), FEW)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "build",
    [
        lambda: nn.TransformerEncoderLayer(4, 2, 8, dropout=0.3, batch_first=True),
        lambda: nn.TransformerEncoderLayer(4, 2, 8, batch_first=True, norm_first=True, activation="gelu", bias=False),
        lambda: nn.TransformerEncoder(nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), 2, norm=nn.LayerNorm(4)),
    ],
)
def test_encoders(build):
    assert_exact(probe(build), randn(B, T, 4), FEW)


@pytest.mark.few(1)
@pytest.mark.parametrize("masked", [False, True])
def test_sequence_first(masked):
    """The layout that ``batch_first=False``, torch's default, asks for."""

    def call(layer, x):
        padding = Padding(x, T) if masked else None
        return layer(x.transpose(0, 1), src_key_padding_mask=padding).transpose(0, 1)

    assert_exact(probe(lambda: nn.TransformerEncoderLayer(4, 2, 8), call), randn(B, T, 4), FEW)


@pytest.mark.slow
@pytest.mark.parametrize("batch_first", [True, False])
def test_a_whole_transformer(batch_first):
    def call(layer, x):
        source, target = x[:, :2], x[:, 2:]
        if batch_first:
            return layer(source, target)
        return layer(source.transpose(0, 1), target.transpose(0, 1)).transpose(0, 1)

    net = probe(lambda: nn.Transformer(4, 2, 1, 1, 8, batch_first=batch_first), call)
    assert_exact(net, randn(B, 5, 4), FEW)


@pytest.mark.parametrize("options", [{"add_bias_kv": True}, {"add_zero_attn": True}], ids=str)
def test_options_without_a_rule_go_another_way(options):
    net = probe(lambda: nn.MultiheadAttention(4, 2, batch_first=True, **options), self_attention())
    assert_exact_otherwise(net, randn(B, T, 4), "attention with bias_k")


def test_options_by_position_go_another_way():
    net = probe(lambda: nn.MultiheadAttention(4, 2, batch_first=True), lambda layer, x: layer(x, x, x, None, False)[0])
    assert_exact_otherwise(net, randn(B, T, 4), "options by position")


def test_a_changed_output_layer():
    net = probe(lambda: nn.MultiheadAttention(4, 2, batch_first=True), self_attention())
    nn.utils.parametrizations.weight_norm(net.layer.out_proj)
    assert_exact(net, randn(B, T, 4), FEW)
