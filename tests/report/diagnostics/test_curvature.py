"""The mean loss of many samples, batch by batch, against the whole Hessian in float64."""

import copy
import math

import pytest
import torch
from torch import nn

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


def test_half_precision_and_a_leading_class():
    model = nn.Sequential(nn.Linear(1, 2), nn.BatchNorm1d(2)).bfloat16()
    x = torch.ones(2, 1)
    whole = copy.deepcopy(model).float()
    assert loss_eigenvalue(model, [(x, None)]) == pytest.approx(loss_eigenvalue(whole, [(x, None)]))
    sure = nn.Linear(1, 2)
    with torch.no_grad():
        sure.weight.copy_(torch.tensor([[15.0], [-15.0]]))
        sure.bias.zero_()
    residual = 1 / (1 + math.exp(30))
    assert loss_eigenvalue(sure, [(x, None)]) == pytest.approx(4 * residual, rel=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": -1.0}, "`tolerance`"),
        ({"loss_fn": lambda z, y: z}, r"one number per sample, \(B,\), got shape"),
        ({"loss_fn": lambda z, y: z.mean()}, r"one number per sample, \(B,\), got shape \(\)"),
    ],
)
def test_what_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        loss_eigenvalue(net(), in_batches(*samples()), **options)
