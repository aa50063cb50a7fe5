"""The losses of all pixels under one perturbation for each image, against one image after another in float64."""

import logging
import math

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.gradients.comparisons import Comparisons
from tests.helpers import reference
from tests.helpers.marks import slow
from tests.helpers.models import randn, seeded
from tests.helpers.regions_reference import UNet, perturbed_pixels
from tests.helpers.ways import WAYS, only

EXACT = {"rtol": 1e-9, "atol": 1e-10}
OPTIONS = {
    "defaults": {},
    "asam": {"perturbation": "asam", "rho": 0.7},
    "p=3": {"p": 3.0},
    "p=inf": {"p": math.inf, "rho": 0.02},
    "difference": {"score": "difference"},
    "target_fn": {"target_fn": lambda z: z.argmin(1)},
    "loss_fn": {
        "target_fn": lambda z: z.detach().softmax(1),
        "loss_fn": lambda z, y: (z - y).square().sum(1) + z.logsumexp(1),
    },
    "forward": {"forward": lambda m, x: 2 * m(x)[:, 1:]},
}


def unet(norm=False):
    return seeded(lambda: UNet(norm=norm)), randn(4, 1, 6, 5)


@pytest.mark.few(6)
@pytest.mark.parametrize("mode", [way if way == "rules" else slow(way) for way in WAYS])
@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_equals_the_loop(option, mode, monkeypatch):
    net, x = unet()
    options = {"rho": 0.3, **OPTIONS[option]}
    before = reference.snapshot(net)
    got = F_al.perturbed_pixel_losses(net, x, max_bytes=only(mode, monkeypatch), **options)
    assert got.shape == (4, 6, 5)
    assert got.dtype == torch.float64
    assert not got.requires_grad
    torch.testing.assert_close(got, perturbed_pixels(net, x, **options), **EXACT)
    assert reference.snapshot(net) == before


@pytest.mark.parametrize("mode", WAYS)
def test_every_way_equals_the_loop(mode, monkeypatch):
    """In training mode, with running statistics; the rules without falling back on anything."""
    net, x = unet(norm=True)
    net.train()
    if mode.startswith("rules"):
        monkeypatch.setattr("lightning_al.gradients.by_torch_func.ByTorchFunc.__call__", None)
    got = F_al.perturbed_pixel_losses(net, x, rho=0.3, max_bytes=only(mode, monkeypatch))
    torch.testing.assert_close(got, perturbed_pixels(net, x, rho=0.3), **EXACT)
    assert net.training


def test_the_mean_of_its_pixels_is_an_image_s_score():
    net, x = unet()
    for options in ({}, {"score": "difference"}, {"perturbation": "asam", "rho": 0.5}):
        pixels = F_al.perturbed_pixel_losses(net, x, **options)
        torch.testing.assert_close(pixels.mean((1, 2)), F_al.saal(net, x, **options), **EXACT)


def test_float32_and_a_single_image():
    net, x = unet()
    want = perturbed_pixels(net, x, rho=0.3)
    torch.testing.assert_close(F_al.perturbed_pixel_losses(net, x[:1], rho=0.3), want[:1], **EXACT)
    got = F_al.perturbed_pixel_losses(net.float(), x.float(), rho=0.3)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), want, rtol=1e-4, atol=1e-6)


class Darkened(nn.Module):
    """Takes its batch for bytes where any image is bright: an image's maps depend on its batch."""

    def __init__(self):
        super().__init__()
        self.net = UNet()

    def forward(self, x):
        return self.net(x / 255 if x.max() > 2 else x)


@pytest.mark.parametrize("mode", ["rules", "torch.func"])
def test_a_later_batch_that_the_model_treats_otherwise_is_noticed(mode, monkeypatch, caplog):
    net = seeded(Darkened)
    draw = torch.Generator().manual_seed(0)
    plain = torch.rand(4, 1, 6, 5, generator=draw, dtype=torch.float64)
    mixed = torch.cat([plain[:2], 100 * plain[2:]])
    max_bytes = only(mode, monkeypatch)
    F_al.perturbed_pixel_losses(net, plain, rho=0.3, max_bytes=max_bytes)
    with caplog.at_level(logging.WARNING):
        got = F_al.perturbed_pixel_losses(net, mixed, rho=0.3, max_bytes=max_bytes)
    torch.testing.assert_close(got, perturbed_pixels(net, mixed, rho=0.3), **EXACT)


@pytest.mark.parametrize("way", ["rules", slow("torch.func")])
def test_the_comparison_of_later_batches_passes_what_is_right(way, monkeypatch, caplog):
    """In float32 with pixels of very small losses, whose own digits the plain loop has not either."""
    net = seeded(UNet)
    with torch.no_grad():
        net.head.weight.mul_(20)
    net, x = net.float(), randn(150, 1, 6, 5).float()
    max_bytes = only(way, monkeypatch)
    compared = []
    check = Comparisons._check_score
    monkeypatch.setattr(Comparisons, "_check_score", lambda *args: compared.append(1) or check(*args))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):  # one image is compared after 256
            F_al.perturbed_pixel_losses(net, x, max_bytes=max_bytes)
    assert compared
    assert not caplog.records


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"score": "sum"}, ValueError, "`score` must be .* got 'sum'"),
        ({"rho": 0.0}, ValueError, "`rho`.*got 0"),
        ({"perturbation": "asam", "p": 3.0}, ValueError, r"got p = 3\.0"),
        ({"loss_fn": lambda z, y: z.logsumexp((1, 2, 3))}, ValueError, r"one map per sample, \(\d, H, W\)"),
        ({"loss_fn": lambda z, y: z.logsumexp(1)[0]}, ValueError, "one"),
        ({"forward": lambda m, x: m(x).argmax(1)}, TypeError, "floating"),
    ],
)
def test_what_is_refused(options, error, message):
    net, x = unet()
    with pytest.raises(error, match=message):
        F_al.perturbed_pixel_losses(net, x, **options)


def test_a_large_model_warns_of_an_infinite_norm():
    net = nn.Sequential(nn.Conv2d(1, 60, 13, padding=6), nn.Conv2d(60, 3, 1))
    with pytest.warns(UserWarning, match="p=inf"):
        F_al.perturbed_pixel_losses(net, torch.rand(1, 1, 4, 4), p=math.inf)
