"""Models that only some samples of a batch give away."""

import pytest
import torch
from torch import nn

from tests.helpers.exact import SCORES as EXACT_SCORES
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
