"""The norm over all gradients."""

import math

import pytest
import torch

from lightning_al.gradients.norms import brought_in_range, cosine, global_norm, largest_entry, total_norm
from tests.helpers.models import randn


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-20, 1.0, 1e25])
def test_global_norm_in_float32_is_float64s(scale):
    tensors = [randn(4, 3).float() * scale, randn(5, seed=2).float() * scale, torch.tensor(scale)]
    got = global_norm(tensors)
    assert got.dtype == torch.float32
    whole = torch.cat([t.flatten() for t in tensors]).double().norm()
    assert float(got) == pytest.approx(float(whole), rel=1e-6)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-20, 1.0, 1e25])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_total_norm_and_cosine_are_float64s(scale, dtype):
    a, b = ([randn(4, 3, seed=s).to(dtype) * scale, randn(5, seed=s + 9).to(dtype) * scale] for s in (1, 2))
    flat_a, flat_b = (torch.cat([t.flatten() for t in tensors]).double() for tensors in (a, b))
    norm_a, norm_b = total_norm(a), total_norm(b)
    assert norm_a == pytest.approx(float(flat_a.norm()), rel=1e-6)
    true = float((flat_a / flat_a.norm()).dot(flat_b / flat_b.norm())) if scale else 0.0
    assert cosine(a, b, norm_a, norm_b) == pytest.approx(true, abs=1e-6)


def test_norms_of_tensors_of_several_kinds():
    tensors = [torch.tensor([3.0], dtype=torch.float64), torch.tensor([4.0])]
    assert total_norm(tensors) == pytest.approx(5.0)
    assert math.isnan(total_norm([torch.tensor([math.nan]), torch.ones(2)]))
    assert not math.isfinite(total_norm([torch.tensor([math.inf]), torch.ones(2)]))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_global_norm_does_not_hide_what_is_not_finite(bad):
    assert not bool(torch.isfinite(global_norm([torch.tensor([1.0, bad]), torch.ones(2)])))


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-20, 1.0, 1e25])
def test_gradients_are_brought_where_their_squares_are_right(scale):
    tensors = [randn(4, 3).float() * scale, randn(5, seed=2).float() * scale]
    before = torch.cat([t.flatten() for t in tensors]).double()
    by, norm = brought_in_range(tensors)
    after = torch.cat([t.flatten() for t in tensors]).double()
    assert (by == 1.0) == (scale in (0.0, 1.0))
    torch.testing.assert_close(by * after, before, rtol=1e-6, atol=0)
    assert by * norm == pytest.approx(float(before.norm()), rel=1e-6)


def test_what_has_no_entries_has_none_above_0():
    assert largest_entry([torch.zeros(0, 3), torch.zeros(0)]) == 0.0
    assert largest_entry([torch.zeros(0), torch.tensor([-2.0, 1.0])]) == 2.0
