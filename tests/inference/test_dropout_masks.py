"""Masks of each kind of dropout, drawn and put on by hand; a sample gets the same ones in whatever company."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lightning_al import functional as F_al
from lightning_al.zoo import TextClassifier, ViT
from tests.helpers.dropout import EXACT, SEED, Residual, T, alone, alpha, by_hand, keep, passes, plain
from tests.helpers.extent import examples
from tests.helpers.models import B, C, randn, seeded

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


@pytest.mark.few(4)
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


@examples(40)
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
