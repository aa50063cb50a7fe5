"""The norm over all gradients."""

import math

import pytest
import torch

from lightning_al.gradients.norms import global_norm
from tests.helpers.models import randn


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-20, 1.0, 1e25])
def test_global_norm_in_float32_is_float64s(scale):
    tensors = [randn(4, 3).float() * scale, randn(5, seed=2).float() * scale, torch.tensor(scale)]
    got = global_norm(tensors)
    assert got.dtype == torch.float32
    whole = torch.cat([t.flatten() for t in tensors]).double().norm()
    assert float(got) == pytest.approx(float(whole), rel=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_global_norm_does_not_hide_what_is_not_finite(bad):
    assert not bool(torch.isfinite(global_norm([torch.tensor([1.0, bad]), torch.ones(2)])))
