"""Backward passes that go in another order in memory, which changes nothing but their time."""

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.utils.checkpoint import checkpoint

from lightning_al import functional as F_al
from lightning_al.gradients import graphs
from lightning_al.gradients.graphs import in_faster_order, nodes_of, resampling
from tests.helpers import reference
from tests.helpers.extent import examples
from tests.helpers.models import C, Model, randn, seeded

RESAMPLED = {
    "bilinear": lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "corners": lambda x: F.interpolate(x, (13, 9), mode="bilinear", align_corners=True),
    "trilinear": lambda x: F.interpolate(x.unsqueeze(2), scale_factor=2, mode="trilinear"),
}


@pytest.fixture(autouse=True)
def small_ones_as_well(monkeypatch):
    monkeypatch.setattr(graphs, "_NUMBERS", 1)


@pytest.fixture
def orders(monkeypatch):
    """Of each gradient that a node might get in another order, whether it does."""
    is_faster, seen = graphs._is_faster, []
    monkeypatch.setattr(graphs, "_is_faster", lambda gradient: seen.append(is_faster(gradient)) or seen[-1])
    return seen


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("kind", RESAMPLED)
def test_gradients_are_the_same_to_the_last_bit_and_lie_as_before(kind, dtype, orders):
    x = randn(2, 11, 6, 5).to(dtype).requires_grad_()
    y = RESAMPLED[kind](x)
    towards = randn(*y.shape, seed=1).to(dtype)
    (want,) = torch.autograd.grad(y, x, towards, retain_graph=True)
    with in_faster_order(resampling(nodes_of([y]))):
        for _ in range(2):
            (got,) = torch.autograd.grad(y, x, towards, retain_graph=True)
            assert torch.equal(got, want)
            assert got.stride() == want.stride()
    assert orders == [True, True]
    torch.autograd.grad(y, x, towards)
    assert len(orders) == 2  # nothing is left on the graph


@examples(20)
@given(
    n=st.integers(1, 3), channels=st.integers(1, 20), h=st.integers(1, 9), w=st.integers(1, 9), to=st.integers(1, 12)
)
def test_any_shape(n, channels, h, w, to):
    x = randn(n, channels, h, w).requires_grad_()
    y = F.interpolate(x, (to, 2 * w), mode="bilinear")
    towards = randn(*y.shape, seed=1)
    (want,) = torch.autograd.grad(y, x, towards, retain_graph=True)
    with in_faster_order(resampling(nodes_of([y]))):
        assert torch.equal(torch.autograd.grad(y, x, towards)[0], want)


def test_a_gradient_that_has_its_channels_last_is_left_as_it_is(orders):
    x = randn(1, 8, 5, 4).contiguous(memory_format=torch.channels_last).requires_grad_()
    y = F.interpolate(x, scale_factor=2, mode="bilinear")
    with in_faster_order(resampling(nodes_of([y]))):
        (got,) = torch.autograd.grad(y, x, torch.ones_like(y))
    assert orders == [False]
    assert got.is_contiguous(memory_format=torch.channels_last)


def test_few_channels_and_many_threads_are_left(monkeypatch, orders):
    for channels, threads, n in ((7, 1, 1), (8, 1, 1), (8, 2, 1), (8, 3, 1), (8, 3, 2)):
        monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
        x = randn(n, channels, 3, 3).requires_grad_()
        y = F.interpolate(x, scale_factor=2, mode="bilinear")
        with in_faster_order(resampling(nodes_of([y]))):
            torch.autograd.grad(y, x, torch.ones(y.shape, dtype=y.dtype))
    assert orders == [False, True, True, False, True]


def test_what_does_not_enlarge_maps_is_left():
    x = randn(2, 8, 4, 6).requires_grad_()
    others = [F.interpolate(x, scale_factor=2), F.interpolate(x, (8, 5), mode="bilinear"), F.avg_pool2d(x, 2), x.relu()]
    assert not resampling(nodes_of([*others, torch.ones(1)]))
    assert len(resampling(nodes_of([F.interpolate(x, (4, 7), mode="bilinear").sum()]))) == 1


def test_each_node_comes_once():
    x = torch.ones(2, requires_grad=True)
    y = x * 2
    assert sorted(node.name().split("::")[-1] for node in nodes_of([y * y, y])) == [
        "AccumulateGrad",
        *["MulBackward0"] * 2,
    ]


def up(m, x):
    maps = m.second(F.interpolate(m.first(x), scale_factor=2, mode="bilinear").relu())
    return m.head(maps.mean((2, 3)))


def upsampling(forward=up):
    layers = {"first": nn.Conv2d(3, 9, 3), "second": nn.Conv2d(9, 8, 3), "head": nn.Linear(8, C)}
    return seeded(lambda: Model(forward, **layers))


@pytest.mark.parametrize("samples", [1, 3])
def test_scores_of_a_model_that_upsamples(samples, orders):
    """By the plain loop, and by rules where there are several."""
    net, x = upsampling(), randn(samples, 3, 6, 6)
    torch.testing.assert_close(F_al.gradient_norm(net, x), reference.gradient_norm(net, x), rtol=1e-10, atol=1e-12)
    torch.testing.assert_close(F_al.saal(net, x, rho=0.05), reference.saal(net, x, rho=0.05), rtol=1e-10, atol=1e-12)
    assert orders[0]


def test_a_block_that_runs_again_in_the_backward_pass():
    def forward(m, x):
        return m.head(m.second(checkpoint(lambda x: up_only(m, x), x, use_reentrant=False)).mean((2, 3)))

    def up_only(m, x):
        return F.interpolate(m.first(x), scale_factor=2, mode="bilinear")

    net, x = upsampling(forward), randn(3, 3, 6, 6)
    torch.testing.assert_close(F_al.gradient_norm(net, x), reference.gradient_norm(net, x), rtol=1e-10, atol=1e-12)


def test_later_samples_that_go_where_the_first_does_not():
    def forward(m, x):
        return up(m, x) if float(x.sum()) > 0 else m.head(m.second(m.first(x)).mean((2, 3)))

    net, x = upsampling(forward), randn(4, 3, 6, 6)
    x = (
        x
        * torch.where(x.sum((1, 2, 3)) > 0, 1.0, -1.0)[:, None, None, None]
        * torch.tensor([-1, 1, -1, 1])[:, None, None, None]
    )
    torch.testing.assert_close(F_al.gradient_norm(net, x), reference.gradient_norm(net, x), rtol=1e-10, atol=1e-12)


def test_a_graph_that_the_model_keeps_is_left_as_it_was():
    class Kept(nn.Module):
        def __init__(self):
            super().__init__()
            self.p = nn.Parameter(randn(1, 9, 3, 3))
            self.kept = F.interpolate(self.p, scale_factor=2, mode="bilinear")
            self.first, self.head = nn.Conv2d(3, 9, 1), nn.Linear(9, C)

        def forward(self, x):
            return self.head((F.interpolate(self.first(x), (6, 6), mode="bilinear") * self.kept).mean((2, 3)))

    net = seeded(Kept)
    for x in (randn(3, 3, 3, 3), randn(1, 3, 3, 3)):
        F_al.gradient_norm(net, x)
    seen = []
    net.kept.grad_fn.register_prehook(lambda gradients: seen.append(gradients[0].is_contiguous()))
    torch.autograd.grad(net.kept.sum(), net.p)
    assert seen == [False]  # the expanded one of the sum: no hook of ours went before


def test_means_over_maps_without_a_channel():
    def forward(m, x):
        return m.head(F.avg_pool2d(m.first(x).relu(), 2).flatten(1))

    net = seeded(lambda: Model(forward, first=nn.Linear(6, 8), head=nn.Linear(4 * 4, C)))
    x = randn(3, 8, 6)
    torch.testing.assert_close(F_al.gradient_norm(net, x), reference.gradient_norm(net, x), rtol=1e-10, atol=1e-12)
