"""How far two rankings agree."""

import numpy as np
import pytest
import torch

from lightning_al.report.diagnostics import correlation, top_k_overlap


def test_against_numpy_and_sets():
    draw = torch.Generator().manual_seed(0)
    a, b = torch.randn(40, generator=draw), torch.randn(40, generator=draw)
    assert correlation(a, b + a) == pytest.approx(np.corrcoef(a.numpy(), (a + b).numpy())[0, 1], abs=1e-6)
    for k in (1, 7, 40):
        best = [set(np.argsort(-v.numpy())[:k].tolist()) for v in (a, b)]
        assert top_k_overlap(a, b, k) == pytest.approx(len(best[0] & best[1]) / k)


def test_ends():
    assert correlation(torch.ones(3), torch.arange(3)) != correlation(torch.ones(3), torch.arange(3))  # NaN
    assert top_k_overlap(torch.zeros(4), torch.tensor([1.0, 0, 0, 0]), 2) == 1.0  # ties by position
    with pytest.raises(ValueError, match=r"\(3,\) and \(2,\)"):
        correlation(torch.ones(3), torch.ones(2))
    with pytest.raises(ValueError, match="k"):
        top_k_overlap(torch.ones(3), torch.ones(3), 4)
