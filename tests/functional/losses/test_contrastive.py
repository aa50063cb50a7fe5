import math

import pytest
import torch

from lightning_al.functional import nt_xent_loss


def written_out(first, second, temperature):
    z = [*first, *second]
    n = len(first)

    def similarity(i, j):
        return float(z[i] @ z[j] / (z[i].norm() * z[j].norm())) / temperature

    total = 0.0
    for i in range(2 * n):
        others = [math.exp(similarity(i, k)) for k in range(2 * n) if k != i]
        total -= math.log(math.exp(similarity(i, (i + n) % (2 * n))) / sum(others))
    return total / (2 * n)


@pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_as_written_out(size, temperature):
    torch.manual_seed(size)
    first, second = torch.randn(2, size, 5).double()
    loss = nt_xent_loss(first, second, temperature=temperature)
    assert float(loss) == pytest.approx(written_out(first, second, temperature), abs=1e-12)
    # Neither lengths nor which view is first count.
    assert float(nt_xent_loss(3 * second, first, temperature=temperature)) == pytest.approx(float(loss), abs=1e-12)


def test_gradients_by_differences():
    first, second = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0)).double()
    first.requires_grad_()
    (gradient,) = torch.autograd.grad(nt_xent_loss(first, second), first)
    step = torch.zeros_like(first)
    step[1, 2] = 1e-6
    with torch.no_grad():
        rise = written_out(first + step, second, 0.5) - written_out(first - step, second, 0.5)
    assert float(gradient[1, 2]) == pytest.approx(rise / 2e-6, abs=1e-7)


def test_half_precision():
    first, second = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        loss = nt_xent_loss(first, second, temperature=0.1)
    assert loss.dtype == torch.float32
    assert float(loss) == pytest.approx(written_out(first.double(), second.double(), 0.1), abs=1e-5)


@pytest.mark.parametrize(
    ("first", "second", "temperature", "error", "match"),
    [
        (torch.zeros(2, 3), torch.zeros(3, 3), 0.5, ValueError, r"got \(2, 3\) and \(3, 3\)"),
        (torch.zeros(2), torch.zeros(2), 0.5, ValueError, r"must both be \(B, d\)"),
        (torch.zeros(0, 3), torch.zeros(0, 3), 0.5, ValueError, r"got \(0, 3\)"),
        (torch.zeros(2, 3), torch.zeros(2, 3), 0, ValueError, "`temperature` must be above 0"),
        (torch.zeros(2, 3), torch.zeros(2, 3), "1", TypeError, "`temperature` must be"),
    ],
)
def test_refused(first, second, temperature, error, match):
    with pytest.raises(error, match=match):
        nt_xent_loss(first, second, temperature=temperature)
