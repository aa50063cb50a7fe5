"""A class for each pixel: reductions, losses, features and scores of images against loops over single pixels."""

import math
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lightning_al import SegmentationTask
from lightning_al import functional as F_al
from lightning_al.acquisition import (
    BADGE,
    BALD,
    SAAL,
    CoreSet,
    EntropyGradNorm,
    LPLGrad,
    MCDropout,
    QueryByCommittee,
)
from lightning_al.inference.calling import tensors_of
from tests.helpers import disagreement_reference, reference
from tests.helpers.decisions import DECISIONS, bound, entropy, gradient, norm, number, scores, sharpest
from tests.helpers.segmenters import VOID, C, LearnsItsLoss, UNet, images, masks

REDUCTIONS = ["mean", "sum", "max", 0.3, 1]


def plainly(values, how):
    """One value of those of an image's pixels, in plain Python; 0 of none."""
    if not values:
        return 0.0 * torch.zeros((), dtype=torch.float64)
    if how == "max":
        return max(values, key=number)
    if how == "sum":
        return sum(values)
    taken = len(values) if how == "mean" else max(math.ceil(round(how * len(values), 9)), 1)
    return sum(sorted(values, key=number, reverse=True)[:taken]) / taken


def pixels(maps):
    """The logits (C,) of each pixel of one image."""
    return list(maps.flatten(-2).unbind(-1))


def loss_of(logits, mask, how, ignore_index=VOID):
    """The loss of one image, (C, H, W) and (H, W), pixel by pixel."""
    pairs = zip(pixels(logits), mask.flatten().tolist(), strict=True)
    return plainly([-z.log_softmax(0)[y] for z, y in pairs if y != ignore_index], how)


# -- scores and losses of images ---------------------------------------------------------------------------------------


@given(st.sampled_from(REDUCTIONS), st.integers(1, 3), st.integers(1, 4), st.integers(1, 5), st.integers(0, 99))
def test_scores_are_those_of_pixels_reduced(how, n, height, width, seed):
    z = torch.randn(n, C, height, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    task = SegmentationTask(C, reduce=how)
    for cls, of_pixel in DECISIONS.items():
        expected = [number(plainly([of_pixel(p) for p in pixels(one)], how)) for one in z]
        assert scores(cls(), task, nn.Identity(), [z]).tolist() == pytest.approx(expected, rel=1e-9)


@given(
    st.sampled_from(REDUCTIONS),
    st.sampled_from([VOID, -100, C, None, 1]),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(1, 5),
    st.integers(0, 99),
)
def test_losses_are_those_of_pixels_that_have_a_class(how, ignore_index, n, height, width, seed):
    draws = torch.Generator().manual_seed(seed)
    z = torch.randn(n, C, height, width, generator=draws, dtype=torch.float64).requires_grad_()
    y = masks(n, height, width, seed=seed, **({} if ignore_index is None else {"ignore_index": ignore_index}))
    y = y.clamp(max=C - 1) if ignore_index is None else y
    task = SegmentationTask(C, reduce=how, ignore_index=ignore_index)
    expected = torch.stack([loss_of(*pair, how, ignore_index) for pair in zip(z, y, strict=True)])
    for targets in (y, y[:, None]):  # as torchvision has them
        got = task.loss(z, targets)
        torch.testing.assert_close(got, expected, rtol=1e-9, atol=1e-12)
    if expected.requires_grad:
        (ours, theirs) = (torch.autograd.grad(v.sum(), z, retain_graph=True)[0] for v in (got, expected))
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-12)


def test_a_reduction_of_ones_own_gets_the_pixels_that_have_a_class():
    class Second(SegmentationTask):
        def reduce(self, values):
            return values.flatten(1).topk(2, dim=1).values[:, 1]

    z, y = torch.randn(3, C, 4, 6, dtype=torch.float64), masks(3)
    each = [
        [-p.log_softmax(0)[k] for p, k in zip(pixels(a), b.flatten(), strict=True) if k != VOID] for a, b in zip(z, y)
    ]
    expected = [number(sorted(some)[-2]) if some else 0.0 for some in each]
    assert Second(C).loss(z, y).tolist() == pytest.approx(expected)


def test_no_pseudo_label_is_the_class_that_is_ignored():
    z = torch.randn(2, C, 4, 6, generator=torch.Generator().manual_seed(0))
    assert torch.equal(SegmentationTask(C).pseudo_targets(z), z.argmax(1))
    assert torch.equal(SegmentationTask(C, ignore_index=0).pseudo_targets(z), z[:, 1:].argmax(1) + 1)


# -- one gradient for each image ---------------------------------------------------------------------------------------

UPS = ["transposed", "interpolated"]


@pytest.mark.few(2)
@pytest.mark.parametrize("how", ["mean", 0.3])
@pytest.mark.parametrize("up", UPS)
def test_saal_of_images(up, how):
    task = SegmentationTask(C, reduce=how)
    net, x, y = UNet(up).eval(), images(4), masks(4)
    for options in ({}, {"score": "difference"}, {"labels": "true"}, {"perturbation": "asam"}):
        expected = []
        for image, mask in zip(x, y, strict=True):
            labels = mask if "labels" in options else net(image[None])[0].argmax(0)
            if "perturbation" in options:
                expected.append(number(_asam(net, image, labels, how)))
            elif bool((labels == VOID).all()):
                expected.append(0.0)
            else:
                moved, plain = sharpest(net, lambda m, i=image, k=labels: loss_of(m(i[None])[0], k, how), 0.3)
                expected.append(moved - plain if "score" in options else moved)
        got = scores(SAAL(rho=0.3, **options), task, net, [x, y])
        assert got.tolist() == pytest.approx(expected, rel=1e-7, abs=1e-12), options


def _asam(net, image, labels, how):
    grads = gradient(net, loss_of(net(image[None])[0], labels, how))
    weights = list(net.parameters())
    length = math.sqrt(sum(float((w * g).detach().square().sum()) for w, g in zip(weights, grads, strict=True)))
    moved = {n: w + 0.3 * w * w * g / length for (n, w), g in zip(net.named_parameters(), grads, strict=True)}
    return loss_of(torch.func.functional_call(net, moved, (image[None],))[0], labels, how)


@pytest.mark.parametrize("make", [EntropyGradNorm, LPLGrad])
@pytest.mark.parametrize("how", ["mean", "max"])
def test_gradient_norms_of_images(make, how):
    net, x = (LearnsItsLoss() if make is LPLGrad else UNet("interpolated")).eval(), images(4)
    expected = [norm(gradient(net, plainly([entropy(z) for z in pixels(net(i[None])[0])], how))) for i in x]
    got = scores(make(norm="global"), SegmentationTask(C, reduce=how), net, [x])
    assert got.tolist() == pytest.approx(expected, rel=1e-9)


# -- several predictions -----------------------------------------------------------------------------------------------

PASSES = {"mean_entropy": MCDropout, "bald": BALD}


@pytest.mark.parametrize("name", PASSES)
def test_dropout_of_images(name):
    net, x = UNet().eval(), images(4)
    of_pixel = getattr(disagreement_reference, name)
    log_p = F_al.mc_dropout(net, x, passes=4, seed=0)
    expected = [plainly([of_pixel(p.exp().tolist()) for p in pixels(image)], 0.3) for image in log_p]
    got = scores(PASSES[name](passes=4), SegmentationTask(C, reduce=0.3), net, [x])
    assert got.tolist() == pytest.approx(expected, rel=1e-9)


def test_committees_of_images():
    nets, x = [UNet(seed=seed).eval() for seed in range(3)], images(4)
    acquisition = bound(QueryByCommittee(members=3, score="kl"), SegmentationTask(C, reduce="max"))
    fitted = iter(nets[1:])
    acquisition.learn(
        SimpleNamespace(keep=lambda name, make: make(), refit=lambda *_: tensors_of(next(fitted)), round=0)
    )
    members = torch.stack([net(x) for net in nets], 1)
    expected = [max(reference.committee("kl", p.tolist()) for p in pixels(one)) for one in members]
    assert scores(acquisition, acquisition.task, nets[0], [x]).tolist() == pytest.approx(expected, rel=1e-9)


# -- features ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [CoreSet, BADGE])
def test_features_are_what_the_last_convolution_gets_over_pixels(cls):
    net, x = UNet().eval(), images(4)
    task = SegmentationTask(C)
    rows = bound(cls(), task).rows(net, [x])
    expected = [[number(channel.sum() / channel.numel()) for channel in net.joined(i[None])[0]] for i in x]
    torch.testing.assert_close(rows["features"], torch.tensor(expected, dtype=torch.float64))
    named = bound(cls(features="coarse"), task).rows(net, [x])["features"]
    torch.testing.assert_close(named, net.coarse(net.fine(x)).mean((2, 3)))


def test_residuals_are_means_over_pixels():
    net, x = UNet().eval(), images(4)
    rows = bound(BADGE(), SegmentationTask(C)).rows(net, [x])
    for got, image in zip(rows["residuals"], x, strict=True):
        each = [z.softmax(0) - F.one_hot(z.argmax(), C) for z in pixels(net(image[None])[0])]
        torch.testing.assert_close(got, sum(each) / len(each))
