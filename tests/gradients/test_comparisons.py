"""Batches that a model treats in another way than the first: noticed, whatever came before, and then right."""

import logging
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lightning_al import functional as F_al
from lightning_al.gradients import comparisons
from lightning_al.gradients.comparisons import farthest_apart, scores_withdrawn
from lightning_al.gradients.example_groups import measures_of
from tests.helpers import reference
from tests.helpers.exact import SCORES
from tests.helpers.extent import examples
from tests.helpers.marks import slow
from tests.helpers.models import randn, seeded

LENGTH, WIDTH, COUNT = 8, 4, 6


class Company(nn.Module):
    """Frames (B, T, D), treated by ``how``, mixed and averaged."""

    def __init__(self, how):
        super().__init__()
        self.mix, self.head, self.how = nn.Linear(WIDTH, 6), nn.Linear(6, 3), how

    def forward(self, x):
        return self.head(torch.tanh(self.mix(self.how(x))).mean(1))


def lengths(x):
    return (x != 0).any(2).sum(1)


def trims_right(x):
    return x[:, : int(lengths(x).max())]


def trims_left(x):
    return x[:, x.shape[1] - int(lengths(x).max()) :]


def trims_by_list(x):
    return x[:, : max(lengths(x).tolist())]


def trims_by_numpy(x):
    return x[:, : int(lengths(x).numpy().max())]


def guesses_the_largest(x):
    return x / 255 if x.max() > 1 else x


def guesses_the_smallest(x):
    return (x + 1) / 2 if x.min() < 0 else x


def guesses_by_the_mean(x):
    return x - 0.5 if x.mean() > 0.2 else x


def scales(x):
    return x / x.abs().amax().clamp(min=0.5)


def masks_if_any_is_padded(x):
    padded = (x != 0).any(2)
    return x + 0.3 if not padded.all() else x


def batch_statistics(x):
    return x - 0.1 * x.mean(0)


def first_decides(x):
    return x * (1 + (x[0] == 0).double().mean())


def sorts_by_length(x):
    order = F.one_hot(lengths(x).argsort(stable=True), len(x)).to(x.dtype)
    return (order @ x.flatten(1)).view(x.shape)  # and not back


def capacity(x):
    """Two samples of a batch and expert have room."""
    expert = F.one_hot((x[:, 0, 0] > 0).long(), 2)
    room = (expert.cumsum(0) * expert).sum(1) <= 2
    return x * (1 + room.to(x.dtype))[:, None, None]


def capacity_by_choice(x):
    """An expert takes the three samples that it likes most."""
    taken = torch.zeros(len(x), dtype=x.dtype).scatter(0, x[:, 0, 0].topk(min(3, len(x))).indices, 1.0)
    return x * (1 + taken)[:, None, None]


HOW = [
    trims_right,
    trims_left,
    trims_by_list,
    trims_by_numpy,
    guesses_the_largest,
    guesses_the_smallest,
    guesses_by_the_mean,
    scales,
    masks_if_any_is_padded,
    batch_statistics,
    first_decides,
    sorts_by_length,
    capacity,
    capacity_by_choice,
]


def easy(how, seed):
    """Samples that ``how`` does not mix."""
    x = randn(COUNT, LENGTH, WIDTH, seed=seed).abs().clamp(0.05, 1)
    x[:, 0, 0] = 1.0  # the same largest value, mean about .6
    if how is guesses_the_largest:
        x = (255 * x).round().clamp(min=2)
    if how in (capacity, capacity_by_choice):
        x = x[:2]
    return x


def mixed(how, seed):
    """Samples of many lengths, ranges and signs."""
    draw = torch.Generator().manual_seed(seed)
    x = randn(COUNT, LENGTH, WIDTH, seed=seed)
    for i in range(COUNT):
        kind = int(torch.randint(5, (), generator=draw))
        x[i] = (x[i].clamp(-1, 1), x[i].abs().clamp(0, 1), 100 * x[i], 0.01 * x[i].abs(), x[i])[kind]
        length = int(torch.randint(1, LENGTH + 1, (), generator=draw))
        if how is trims_left:
            x[i, : LENGTH - length] = 0
        else:
            x[i, length:] = 0
    return x


def assert_right(net, x, names=("tensor_sum", "sam")):
    for name in names:
        score, loop, options = SCORES[name]
        torch.testing.assert_close(score(net, x, **options), loop(net, x, **options), rtol=1e-6, atol=1e-9)


@pytest.mark.few(3)
@pytest.mark.parametrize("how", HOW, ids=lambda how: how.__name__)
@pytest.mark.parametrize("before", [1, *map(slow, (0, 3))])
def test_a_batch_of_another_kind_is_noticed_after_easy_ones(how, before):
    net = seeded(lambda: Company(how))
    for seed in range(before):
        assert_right(net, easy(how, seed))
    for seed in (20, 21):
        assert_right(net, mixed(how, seed))


@examples(8)
@given(st.sampled_from(HOW), st.lists(st.tuples(st.booleans(), st.integers(0, 99)), min_size=1, max_size=5))
def test_any_batches_in_any_order(how, batches):
    net = seeded(lambda: Company(how))
    for is_easy, seed in batches:
        assert_right(net, easy(how, seed) if is_easy else mixed(how, seed), ("tensor_sum",))


def test_either_end_alone_and_then_both():
    """Bright batches and dark ones are all easy by themselves."""
    net = seeded(lambda: Company(guesses_the_largest))
    bright, dark = easy(guesses_the_largest, 0), easy(scales, 1)
    for x in (bright, dark, torch.cat([bright[:3], dark[:3]])):
        assert_right(net, x)


def test_the_loss_may_look_at_its_batch_too():
    net = seeded(lambda: Company(lambda x: x))

    def loss(z):
        return z.square().sum(1) * (2.0 if z.shape[0] > 1 and z.abs().max() > 1 else 1.0)

    for x in (0.01 * randn(COUNT, LENGTH, WIDTH), 50 * randn(COUNT, LENGTH, WIDTH)):
        want = reference.gradient_norm(net, x, loss)
        torch.testing.assert_close(F_al.gradient_norm(net, x, loss=loss), want, rtol=1e-9, atol=1e-9)


@pytest.mark.few(2)
@pytest.mark.parametrize("padding", [0, 1, 17])
def test_words_padded_with_any_number(padding):
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.head = nn.Embedding(30, 6), nn.Linear(6, 3)

        def forward(self, x):
            return self.head(self.table(x[:, : int((x != padding).sum(1).max())]).tanh().mean(1))

    net, draw = seeded(Words), torch.Generator().manual_seed(0)
    words = torch.randint(18, 30, (6, 7), generator=draw)
    assert_right(net, words)
    for i, length in enumerate((7, 2, 7, 5, 7, 7)):
        words[i, length:] = padding
    assert_right(net, words)


def test_a_difference_is_said_once_with_what_was_given_before(caplog):
    net = seeded(lambda: Company(trims_right))
    F_al.gradient_norm(net, easy(trims_right, 0))
    with caplog.at_level(logging.WARNING, "lightning_al"), scores_withdrawn() as withdrawn:
        for seed in (20, 21):
            F_al.gradient_norm(net, mixed(trims_right, seed))
    [said] = [record.getMessage() for record in caplog.records if "scored in another way" in record.getMessage()]
    assert said.startswith("Company: its layers' rules gives")
    assert f"{COUNT} scores were given before" in said
    assert len(withdrawn) == 1


class Copies(torch.autograd.Function):
    """Changes nothing."""

    @staticmethod
    def forward(x):
        return x.clone()

    @staticmethod
    def setup_context(ctx, inputs, output):
        pass


class WrongUnderVmap(Copies):
    """A layer whose gradient is twice what it should be where many samples are differentiated at once."""

    generate_vmap_rule = False
    factor = 2.0

    @staticmethod
    def backward(ctx, g):
        return _Scaled.apply(g)

    @staticmethod
    def vmap(info, dims, x):
        return WrongUnderVmap.apply(x), dims[0]


class _Scaled(Copies):
    @staticmethod
    def backward(ctx, g):
        return g

    @staticmethod
    def vmap(info, dims, x):
        return WrongUnderVmap.factor * x, dims[0]


class Transposed(nn.Module):
    """A convolutional stem whose tokens are picked by an index, so that the rules give up."""

    def __init__(self):
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6)
        self.tokens, self.head = nn.LayerNorm(6), nn.Linear(6, 4)
        self.norm.running_mean.normal_()
        self.norm.running_var.uniform_(0.5, 2)

    def forward(self, x):
        h = self.tokens(self.norm(self.stem(x)).flatten(2).transpose(1, 2)).tanh()
        return self.head(h)[torch.arange(len(h)), 3]


def test_torch_func_is_compared_with_the_plain_loop():
    """torch 2.14's vmapped BatchNorm is wrong for gradients that come transposed."""
    assert_right(seeded(Transposed), randn(5, 3, 8, 8), ("tensor_sum", "sam", "asam", "groups"))


def picked(net):
    return lambda m, x: WrongUnderVmap.apply(net(x))[torch.arange(len(x))]


def test_a_wrong_gradient_under_vmap_goes_to_the_loop(caplog):
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)))
    x = randn(6, 4)
    with caplog.at_level(logging.INFO, "lightning_al"):
        got = F_al.gradient_norm(net, x, forward=picked(net))
    assert any("one group at a time" in record.getMessage() for record in caplog.records)
    torch.testing.assert_close(got, reference.gradient_norm(net, x), rtol=1e-9, atol=1e-9)


@pytest.mark.few(1)
@pytest.mark.parametrize("way", ["rules", "torch.func"])
def test_later_scores_are_compared_too(way, monkeypatch):
    """What goes wrong after the first batch is noticed by the comparisons that come now and then."""
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)))
    x = randn(100, 4)
    forward = picked(net) if way == "torch.func" else None
    monkeypatch.setattr(WrongUnderVmap, "factor", 1.0)
    want = reference.gradient_norm(net, x)
    torch.testing.assert_close(F_al.gradient_norm(net, x, forward=forward), want, rtol=1e-9, atol=1e-9)
    if way == "torch.func":
        monkeypatch.setattr(WrongUnderVmap, "factor", 2.0)
    else:
        room = sys.modules["lightning_al.functional.scores.gradient_norm"]
        norms = room.gradient_norms
        monkeypatch.setattr(room, "gradient_norms", lambda *a, **k: 2 * norms(*a, **k))
    with scores_withdrawn() as withdrawn:
        results = [F_al.gradient_norm(net, x, forward=forward) for _ in range(4)]
    assert len(withdrawn) == 1
    torch.testing.assert_close(results[-1], want, rtol=1e-9, atol=1e-9)
    wrong = [not torch.allclose(r, want) for r in results]
    assert wrong == [True, False, False, False]  # the 256th sample is in the third batch of all


class Rounds(nn.Module):
    """A ReLU, of which a batch moves a unit by a little where one sample alone, (0, 0, c), does not."""

    def __init__(self, by):
        super().__init__()
        self.first, self.last, self.by = nn.Linear(3, 4), nn.Linear(4, 3), by
        with torch.no_grad():
            self.first.weight[3], self.first.bias[3] = torch.ones(3), -1.0

    def forward(self, x):
        h = self.first(x)
        moved = self.by * (len(x) > 1) * (x[:, 0] == 0) * torch.eye(4, dtype=x.dtype)[3][:, None]
        return self.last((h + moved.T).relu())


@pytest.mark.parametrize(("c", "by", "is_rounding"), [(1.0, 1e-8, True), (0.9, 0.11, False)])
def test_what_rounding_decides_is_no_difference(c, by, is_rounding, caplog):
    """But what takes more to open is one."""
    net = seeded(lambda: Rounds(by)).float()
    F_al.gradient_norm(net, randn(100, 3).float())
    edge = torch.tensor([0.0, 0, c]).expand(100, 3)
    alone = reference.gradient_norm(net, edge[:1])
    with caplog.at_level(logging.WARNING, "lightning_al"):
        first, *_, last = (F_al.gradient_norm(net, edge) for _ in range(4))
    assert not torch.isclose(first, alone, rtol=1e-2).any()
    assert torch.isclose(last, alone).all() == (not is_rounding)
    assert len(caplog.records) == (not is_rounding)


def test_how_often_later_scores_are_compared(monkeypatch):
    net = seeded(lambda: nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3)))
    compared = []
    check = comparisons.Comparisons._check_score
    monkeypatch.setattr(comparisons.Comparisons, "_check_score", lambda *a: compared.append(1) or check(*a))
    for _ in range(40):
        F_al.gradient_norm(net, randn(100, 4))
    assert len(compared) == 4  # of 4,000: past 256, then 512, and 1,000 more each


def test_measures_and_what_is_farthest_apart():
    x = torch.tensor([[3.0, 0, 0], [0, 0, 5], [-1, 2, 7]])
    lead, tail = [1.0, 2.0, 1.0], [2.0, 1.0, 1.0]
    assert measures_of(x, 1)[:4] == [tail, lead, [1.0, 1.0, 3.0], [0.0, 0.0, -1.0]]
    assert farthest_apart([[1.0, 4.0, 2.0]], {}) == ([0, 1], {0: (1.0, 4.0)})
    assert farthest_apart([[1.0, 4.0, 2.0]], {0: [(0.0, 3.0), (2.0, 9.0)]})[0] == [0, 1]
    assert farthest_apart([[1.0, 4.0, 2.0]], {0: [(0.0, 9.0)]}) == ([], {})
    assert farthest_apart([[2.0, 2.0, 2.0]], {}) == ([], {})
