"""Models that only some samples of a batch give away."""

import unittest.mock

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from lightning_al.gradients import example_groups
from lightning_al.gradients.example_groups import groups_that_differ
from tests.helpers.exact import SCORES as EXACT_SCORES
from tests.helpers.extent import examples
from tests.helpers.models import randn, seeded


def trimmed(m, x):
    """Cuts to the longest of the batch, and takes the mean over what is left."""
    return m(x[:, : int((x != 0).any(2).sum(1).max())]).mean(1)


def scaled(m, x):
    return m(x / x.abs().amax()).mean(1)


def rows_of(index, x):
    return nn.functional.one_hot(index, len(x)).to(x.dtype) @ x.flatten(1)


def sorted_by_length(m, x):
    order = (x != 0).any(2).sum(1).argsort(stable=True)
    return rows_of(order.argsort(), m(rows_of(order, x).view(x.shape)).mean(1))


def interleaved(m, x):
    z = m(torch.cat([x[::2], x[1::2]])).mean(1)
    half = (len(x) + 1) // 2
    return torch.stack([z[i // 2 + half * (i % 2)] for i in range(len(x))])


@pytest.mark.few(2)
@pytest.mark.parametrize("forward", [trimmed, scaled, sorted_by_length, interleaved])
@pytest.mark.parametrize("small", [0, 2])
def test_what_the_first_two_samples_share_hides_nothing(forward, small):
    """Of the same length and largest value, they score alone as together; two cannot show another order than theirs."""
    x = randn(7, 4, 6).clamp(-1, 1)
    x[:3, 0] = torch.tensor([1.0, -1, 1, -1, 1, -1])
    x[3:] *= 0.3
    for i, length in enumerate((2, 2, 2, 3, 4, 1, 3)):
        x[i, length:] = 0
    net = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)))
    for name in ("sam", "asam", "groups", "tensor_sum"):
        score, loop, options = EXACT_SCORES[name]
        if small:  # has been looked at already
            score(net, x[: 2 * options.get("group_size", 1)], forward=forward, **options)
        got = score(net, x, forward=forward, **options)
        torch.testing.assert_close(got, loop(net, x, forward=forward, **options), rtol=1e-9, atol=1e-9)


@examples(25)
@given(
    groups=st.integers(2, 9), size=st.integers(1, 3), shape=st.lists(st.integers(1, 4), max_size=2), seed=st.integers()
)
def test_the_groups_chosen_are_the_first_the_farthest_and_the_next_that_differ(groups, size, shape, seed):
    """By plain loops, over numbers of which many are the same, or 0."""
    generator = torch.Generator().manual_seed(seed)
    leaf = torch.randint(-1, 2, (groups * size + size - 1, *shape), generator=generator)
    each = [leaf[i * size : (i + 1) * size] for i in range(groups)]
    far = [float((group - each[0]).abs().sum()) for group in each]
    zeros = [abs(int((group == 0).sum()) - int((each[0] == 0).sum())) for group in each]
    unlike = [i for i, group in enumerate(each) if far[i] > 0] or [1]
    want = [0, *(values.index(max(values)) for values in (far, zeros) if max(values) > 0), *unlike[:2]]
    for inputs in (leaf, leaf.double(), leaf + 0j):
        assert groups_that_differ(inputs, size) == [size * i for i in dict.fromkeys(want)]
    with unittest.mock.patch.object(example_groups, "_AT_ONCE", 1):
        assert groups_that_differ(leaf, size) == [size * i for i in dict.fromkeys(want)]
