import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.gradients import product as module
from lightning_al.gradients.product import product

sizes = st.integers(1, 70)


@given(sizes, sizes, sizes, st.sampled_from([torch.float32, torch.float64]))
def test_equals_the_matrix_product(rows, columns, inner, dtype):
    g = torch.Generator().manual_seed(rows)
    a, b = (torch.randn(n, inner, generator=g, dtype=torch.float64) for n in (rows, columns))
    found = product(a.to(dtype), b.to(dtype))
    assert found.dtype == dtype
    torch.testing.assert_close(found.double(), a @ b.T, atol=1e-4 if dtype == torch.float32 else 1e-12, rtol=0)


def test_rows_of_a_larger_matrix():
    a, b = torch.randn(20, 9), torch.randn(5, 9)
    torch.testing.assert_close(product(a[3:11], b), a[3:11] @ b.T)


def test_nothing_to_multiply():
    assert product(torch.zeros(0, 3), torch.ones(2, 3)).shape == (0, 2)
    assert product(torch.zeros(2, 0), torch.ones(4, 0)).tolist() == [[0.0] * 4] * 2


@pytest.mark.skipif(not torch.backends.mkldnn.is_available(), reason="torch was built without oneDNN")
def test_torch_still_has_the_fast_kernel(monkeypatch):
    """If this fails, torch moved it: scores stay right, and large layers cost twice as much."""
    assert module.ONEDNN_PRODUCT is not None
    calls = []
    monkeypatch.setattr(module, "ONEDNN_PRODUCT", lambda *a: calls.append(a) or torch.zeros(()))
    product(torch.ones(2, 3), torch.ones(4, 3))
    assert len(calls) == 1


def test_does_without_it(monkeypatch):
    monkeypatch.setattr(module, "ONEDNN_PRODUCT", None)
    a, b = torch.randn(6, 4), torch.randn(3, 4)
    assert torch.equal(product(a, b), a @ b.T)
