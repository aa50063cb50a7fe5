"""The outputs under each sample's own perturbation, against one sample after another in float64."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_al import functional as F_al
from tests.helpers import reference
from tests.helpers.models import randn, seeded
from tests.helpers.regions_reference import UNet
from tests.helpers.ways import WAYS, only

EXACT = {"rtol": 1e-9, "atol": 1e-10}


def net():
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))


def written_out(model, x, *, rho, perturbation="sam", targets=None):
    rows = []
    for i in range(len(x)):
        own = copy.deepcopy(model).eval()
        logits = own(x[i : i + 1])
        y = logits.argmax(1) if targets is None else targets[i : i + 1]
        weights = list(own.parameters())
        grads = torch.autograd.grad(F.cross_entropy(logits, y), weights)
        scales = [w.detach().abs() if perturbation == "asam" else torch.ones_like(w) for w in weights]
        norm = sum((t * g).square().sum() for t, g in zip(scales, grads)).sqrt()
        with torch.no_grad():
            for w, g, t in zip(weights, grads, scales):
                w += rho * t * t * g / (norm + 1e-12)
            rows.append(own(x[i : i + 1]))
    return torch.cat(rows)


@pytest.mark.few(2)
@pytest.mark.parametrize("mode", WAYS)
def test_every_way_equals_the_loop(mode, monkeypatch):
    model, x = seeded(net), randn(7, 4)
    model.train()
    before = reference.snapshot(model)
    max_bytes = only(mode, monkeypatch)
    for options in ({"rho": 0.4}, {"rho": 0.9, "perturbation": "asam"}, {"rho": 0.4, "targets": torch.arange(7) % 3}):
        got = F_al.perturbed_outputs(model, x, max_bytes=max_bytes, **options)
        assert got.shape == (7, 3)
        assert not got.requires_grad
        torch.testing.assert_close(got, written_out(model, x, **options), **EXACT)
    assert reference.snapshot(model) == before


def test_they_are_where_the_scores_losses_are():
    model, x = seeded(lambda: UNet(norm=False)), randn(3, 1, 6, 5)
    moved = F_al.perturbed_outputs(model, x, rho=0.3)
    assert moved.shape == model(x).shape
    labels = model(x).argmax(1)
    pixels = F.cross_entropy(moved, labels, reduction="none")
    torch.testing.assert_close(pixels.mean((1, 2)), F_al.saal(model, x, rho=0.3), **EXACT)
    forward = lambda m, x: 2 * m(x)[:, 1:]  # noqa: E731
    moved = F_al.perturbed_outputs(model, x, rho=0.3, forward=forward)
    labels = forward(model, x).argmax(1)
    want = F_al.saal(model, x, rho=0.3, forward=forward)
    torch.testing.assert_close(F.cross_entropy(moved, labels, reduction="none").mean((1, 2)), want, **EXACT)


def test_what_cannot_be():
    with pytest.raises(ValueError, match=r"`rho` must be above 0 and finite, got 0"):
        F_al.perturbed_outputs(seeded(net), randn(2, 4), rho=0)
    summed = {"forward": lambda m, x: m(x).sum(0), "target_fn": lambda z: None, "loss_fn": lambda z, y: z[:1]}
    with pytest.raises(ValueError, match=r"one row for each of 1 samples, got \(3,\)"):
        F_al.perturbed_outputs(seeded(net), randn(1, 4), **summed)
    with pytest.raises(ValueError, match=r"target"):
        F_al.perturbed_outputs(seeded(net), randn(2, 4), targets=torch.tensor([0, 9]))
