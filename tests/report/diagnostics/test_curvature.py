"""The mean loss of many samples, batch by batch, against the whole Hessian in float64."""

import pytest
import torch

from lightning_al.report.diagnostics import loss_eigenvalue
from lightning_al.report.diagnostics.curvature import mean_loss
from tests.helpers import reference
from tests.helpers.hessians import at, flat, gradients, hessian, in_batches, losses_of, net, own_labels, samples

EXACT = {"rtol": 1e-9, "atol": 1e-11}


def joined(vector):
    return torch.cat([part.flatten() for part in vector])


@pytest.mark.parametrize("labelled", [True, False])
def test_it_is_the_whole_mean_loss(labelled):
    model, (x, y) = net().train(), samples()
    wanted = y if labelled else own_labels(model, x)
    before = reference.snapshot(model)
    each, whole = gradients(model, x, wanted), hessian(model, x, wanted)
    direction = torch.randn(len(whole), dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    with mean_loss(model, in_batches(x, y if labelled else None)) as loss:
        parts = torch.split(direction, [w.numel() for w in loss.weights])
        v = [part.view_as(w) for part, w in zip(parts, loss.weights)]
        torch.testing.assert_close(joined(loss.gradient()), each.mean(0), **EXACT)
        torch.testing.assert_close(joined(loss.gradient(total=True)), each.sum(0), **EXACT)
        torch.testing.assert_close(joined(loss.hessian_product(v)), whole @ direction, **EXACT)
        torch.testing.assert_close(loss.slopes(v), each @ direction, **EXACT)
        moved = [w + 0.1 * u for w, u in zip(loss.weights, v)]
        want = losses_of(at(model, flat(model)), x, wanted)(flat(model) + 0.1 * direction).mean()
        assert loss.values([loss.weights, moved])[1] == pytest.approx(float(want), rel=1e-12)
        assert loss.count() == len(x)
    assert reference.snapshot(model) == before


@pytest.mark.slow
def test_its_largest_eigenvalue():
    model, (x, y) = net(), samples()
    values = torch.linalg.eigvalsh(hessian(model, x, y))
    assert -values[0] > 0.01  # a negative end, which is not meant
    assert loss_eigenvalue(model, in_batches(x, y), steps=99, tolerance=0.0) == pytest.approx(
        float(values[-1]), rel=1e-8
    )
    assert loss_eigenvalue(model, in_batches(x, y, size=11)) == pytest.approx(float(values[-1]), rel=1e-2)


def test_what_cannot_be():
    with pytest.raises(ValueError, match="no samples"):
        loss_eigenvalue(net(), [])
    with pytest.raises(ValueError, match="no trainable parameter"):
        loss_eigenvalue(net().requires_grad_(False), in_batches(*samples()))
    with pytest.raises(ValueError, match="`steps`"):
        loss_eigenvalue(net(), in_batches(*samples()), steps=0)
