"""The picks against the joint mutual information over every configuration of the labels, in plain Python."""

import importlib
import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al import functional as F_al
from tests.helpers.disagreement_reference import bald, entropy
from tests.helpers.extent import examples
from tests.helpers.models import randn

module = importlib.import_module("lightning_al.functional.selection.batch_bald")
ALL = 10**6


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def pick(log_p, k, seed=0, **options):
    picks = F_al.batch_bald(log_p, k, generator=seeded(seed), **options).tolist()
    assert len(picks) == len(set(picks)) == k
    return picks


def information(p, batch):
    """I(y_1, ..., y_n; ω), Kirsch et al., 2019, Eq. 7, 8 and 11; ``p`` is a list (N, T, C)."""
    passes, classes = len(p[0]), len(p[0][0])
    joint = [
        math.fsum(math.prod(p[i][t][c] for i, c in zip(batch, labels, strict=True)) for t in range(passes)) / passes
        for labels in itertools.product(range(classes), repeat=len(batch))
    ]
    return entropy(joint) - math.fsum(entropy(p[i][t]) for i in batch for t in range(passes)) / passes


def gains_after(p, picks):
    before = information(p, picks)
    return {i: information(p, [*picks, i]) - before for i in range(len(p)) if i not in picks}


def greedy(p, k):
    picks = []
    while len(picks) < k:
        gains = gains_after(p, picks)
        picks.append(max(gains, key=gains.get))
    return picks


def check(picks, p):
    """Each pick adds the most, and no lower one does as much: 1e-12 counts as equal, sums here are off by 1e-14."""
    for step, pick in enumerate(picks):
        gains = gains_after(p, picks[:step])
        best = max(gains.values())
        assert gains[pick] > best - 2e-12
        assert not [i for i in gains if i < pick and gains[i] > best - 1e-13]


POOLS = st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(2, 3))


@examples(80)
@given(POOLS, st.integers(0, 4), st.sampled_from([0.3, 1.0, 4.0, 20.0]), st.booleans(), st.integers(0, 2**31))
def test_equals_brute_force_over_all_configurations(shape, k, scale, equal, seed):
    log_p = (randn(*shape, seed=seed) * scale).log_softmax(2)
    if equal:  # ties
        log_p = log_p[torch.randint(len(log_p), (len(log_p),), generator=seeded(seed))]
    k = min(k, len(log_p))
    check(pick(log_p, k, configurations=ALL), log_p.exp().tolist())


@examples(40)
@given(POOLS, st.integers(0, 2**31))
def test_gains_add_up_to_the_information_of_the_batch(shape, seed):
    log_p = (randn(*shape, seed=seed) * 2).log_softmax(2)
    labels, total = module._Exact(shape[1]), 0.0
    for i in range(min(shape[0], 4)):
        total += float(module._gains(labels, log_p.exp(), module.entropy_of(log_p, 2))[i])
        labels.add(log_p[i])
        assert total == pytest.approx(information(log_p.exp().tolist(), range(i + 1)), abs=1e-11)


def test_the_first_pick_is_bald_s_and_a_twin_is_worth_little():
    log_p = (randn(30, 6, 4) * 2).log_softmax(2)
    best = max(range(30), key=lambda i: bald(log_p[i].exp().tolist()))
    twins = torch.cat([log_p, log_p[[best]].repeat(3, 1, 1)])
    top = F_al.top_k(F_al.bald(twins), 4).tolist()
    assert top == [best, 30, 31, 32]
    assert pick(twins, 4)[0] == best
    assert len(set(pick(twins, 4)) & {30, 31, 32}) < 3


@pytest.mark.parametrize("count", [2_000, 50_000])
def test_drawn_configurations_tell_what_all_of_them_do(count):
    passes = 5
    log_p = (randn(12, passes, 3) * 2).log_softmax(2)
    exact, drawn = module._Exact(passes), module._Drawn(passes, count, seed=3)
    for i in range(5):
        exact.add(log_p[i])
        drawn.add(log_p[i])
    p, entropies = log_p.exp(), module.entropy_of(log_p, 2)
    difference = module._gains(drawn, p, entropies) - module._gains(exact, p, entropies)
    assert float(difference.abs().max()) < 1.5 * count**-0.5
    shares, weights = drawn.weights()
    torch.testing.assert_close(weights.mean(0), torch.full((passes,), 0.2).double(), rtol=0, atol=5 * count**-0.5)
    assert float(shares.sum()) == pytest.approx(1)


def test_with_drawn_configurations_batches_are_nearly_as_good():
    log_p = (randn(12, 6, 3) * 2).log_softmax(2)
    p = log_p.exp().tolist()
    best = information(p, greedy(p, 5))
    for seed in range(5):
        assert information(p, pick(log_p, 5, seed, configurations=60)) > 0.97 * best


@examples(25)
@given(st.permutations(range(9)), st.sampled_from([5, 40, ALL]), st.integers(0, 2**31))
def test_the_order_of_the_candidates_does_not_matter(order, configurations, seed):
    log_p = (randn(9, 4, 3, seed=seed) * 2).log_softmax(2)
    want = pick(log_p, 5, seed, configurations=configurations)
    found = pick(log_p[order], 5, seed, configurations=configurations)
    assert [order[i] for i in found] == want


def test_nor_do_the_blocks(monkeypatch):
    log_p = (randn(40, 4, 3) * 2).log_softmax(2)
    want = [pick(log_p, 8, configurations=c) for c in (50, 1000)]
    monkeypatch.setattr(module, "MIXED_AT_ONCE", 700)
    assert [pick(log_p, 8, configurations=c) for c in (50, 1000)] == want


def test_single_precision_picks_the_same():
    log_p = (randn(40, 6, 5) * 2).log_softmax(2)
    assert pick(log_p.float(), 10) == pick(log_p, 10)


def test_the_seed_decides_what_is_drawn():
    log_p = (randn(200, 6, 5)).log_softmax(2)
    found = {tuple(pick(log_p, 10, seed, configurations=6)) for seed in range(6)}
    assert len(found) > 1
    assert pick(log_p, 10, 1, configurations=6) == pick(log_p, 10, 1, configurations=6)


@pytest.mark.parametrize("k", [0, 3])
def test_takes_one_number_from_the_generator(k):
    g, other = seeded(), seeded()
    F_al.batch_bald(randn(9, 4, 3).log_softmax(2), k, generator=g)
    torch.randint(-(2**63), 2**63 - 1, (), generator=other)
    assert torch.equal(g.get_state(), other.get_state())


def test_large_batches_do_not_underflow():
    """The probability of a configuration of 400 labels is far below what a float64 holds."""
    log_p = (randn(400, 4, 10) * 0.3).log_softmax(2)
    assert sorted(pick(log_p, 400, configurations=50)) == list(range(400))
    drawn = module._Drawn(4, 50, 0)
    for row in log_p:
        drawn.add(row)
    assert float(drawn.log_joint.max()) < -760
    torch.testing.assert_close(drawn.weights()[1].sum(1), torch.ones(52).double())


def test_once_the_passes_are_told_apart_the_lowest_positions_follow():
    sure = torch.tensor([[1.0, 0.0], [0.0, 1.0]]).double().log()
    log_p = torch.stack([(torch.ones(2, 2) / 2).double().log(), sure, sure, sure])
    assert pick(log_p, 4) == [1, 0, 2, 3]
    assert pick(log_p, 4, configurations=1) == [1, 0, 2, 3]


def test_impossible_labels():
    log_p = randn(8, 4, 3).log_softmax(2)
    wider = torch.cat([log_p, torch.full((8, 4, 1), -torch.inf).double()], 2)
    for configurations in (10, ALL):
        assert pick(wider, 5, configurations=configurations) == pick(log_p, 5, configurations=configurations)


@pytest.mark.parametrize(
    ("log_p", "k", "options", "message"),
    [
        (randn(5, 4, 3).log_softmax(2), 6, {}, "k = 6"),
        (randn(5, 4, 3).log_softmax(2), 2, {"configurations": 0}, "`configurations`"),
        (randn(5, 4, 3, 2).log_softmax(2), 2, {}, r"\(5, 4, 3, 2\)"),
        (torch.full((5, 4, 3), torch.nan), 2, {}, "NaN"),
    ],
)
def test_what_is_refused(log_p, k, options, message):
    with pytest.raises(ValueError, match=message):
        F_al.batch_bald(log_p, k, generator=seeded(), **options)
