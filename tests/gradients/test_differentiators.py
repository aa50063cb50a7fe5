"""The plain loop's own arithmetic: norms of tiny gradients, and weights moved in the gradients' memory."""

import math

import pytest
import torch

from lightning_al.gradients.balls import AdaptiveBall, LpBall
from lightning_al.gradients.differentiators import OneByOne, Vectorized
from tests.helpers.models import randn

BALLS = {"sam": LpBall(0.3), "p=3": LpBall(0.3, 3.0), "p=inf": LpBall(0.3, math.inf), "asam": AdaptiveBall(0.3)}


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-20, 1.0, 1e25])
@pytest.mark.parametrize("ball", BALLS)
def test_weights_are_moved_as_in_float64(ball, scale):
    weights = {"a": randn(4, 3), "b": randn(5, seed=2), "c": randn(1, seed=3)[0]}
    grads = {name: scale * randn(*w.shape, seed=7) for name, w in weights.items()}
    want = Vectorized().moved(BALLS[ball], weights, grads)
    in_float32 = [{name: t.float() for name, t in tensors.items()} for tensors in (weights, grads)]
    got = OneByOne().moved(BALLS[ball], *in_float32)
    for name, tensor in want.items():
        assert got[name].dtype == torch.float32
        torch.testing.assert_close(got[name].double(), tensor, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("ball", BALLS)
def test_gradients_that_share_memory_move_each_weight_by_itself(ball):
    weights = {name: randn(3, seed=seed) for seed, name in enumerate("abcd")}
    shared, row = randn(3, seed=9), randn(1, seed=8)
    grads = {"a": shared, "b": shared, "c": row.expand(3), "d": torch.stack([shared, shared])[1]}
    want = Vectorized().moved(BALLS[ball], weights, {name: g.clone() for name, g in grads.items()})
    got = OneByOne().moved(BALLS[ball], weights, grads)
    for name, tensor in want.items():
        torch.testing.assert_close(got[name], tensor, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-20, 1.0, 1e25])
def test_the_norm_in_float32_is_float64s(scale):
    gradients = [scale * randn(4, 3).float(), scale * randn(5, seed=2).float(), torch.zeros(0)]
    whole = torch.cat([g.flatten() for g in gradients]).double().norm()
    assert float(OneByOne().global_norm(gradients)) == pytest.approx(float(whole), rel=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_the_norm_does_not_hide_what_is_not_finite(bad):
    assert not bool(torch.isfinite(OneByOne().global_norm([torch.tensor([1.0, bad]), torch.ones(2)])))
