import pytest
import torch
from torch import nn
from torch.nn import functional as F

from lightning_al.training.losses.sample_losses import SampleLosses

G = torch.Generator().manual_seed(0)
Z = torch.randn(6, 3, generator=G, dtype=torch.float64)
Y = torch.randint(3, (6,), generator=G)
WEIGHT = torch.tensor([1.0, 2.0, 5.0], dtype=torch.float64)


def caught(step):
    z = Z.clone().requires_grad_()
    with SampleLosses() as watched:
        loss = step(z)
    return watched.of(loss), loss


def each(**options):
    return F.cross_entropy(Z, Y, reduction="none", **options)


@pytest.mark.parametrize(
    "step",
    [
        lambda z: F.cross_entropy(z, Y),
        lambda z: nn.CrossEntropyLoss()(z, Y),
        lambda z: F.nll_loss(z.log_softmax(1), Y),
        lambda z: F.cross_entropy(z, Y, reduction="sum") / 6,
        lambda z: F.cross_entropy(z, Y, reduction="none").mean(),
        lambda z: F.cross_entropy(z, Y, size_average=False) / 6,
        lambda z: F.cross_entropy(z, Y) + 0.1 * z.square().mean(),
        lambda z: F.kl_div(z.log_softmax(1), F.one_hot(Y, 3).double(), reduction="batchmean"),
    ],
)
@pytest.mark.filterwarnings("ignore:size_average")
def test_the_loss_of_each_sample(step):
    torch.testing.assert_close(caught(step)[0], each())


def test_options_of_the_loss_are_kept():
    got, _ = caught(lambda z: F.cross_entropy(z, Y, weight=WEIGHT, label_smoothing=0.1))
    torch.testing.assert_close(got, each(weight=WEIGHT, label_smoothing=0.1))


def test_several_losses_count_as_they_do_in_the_sum():
    other = Y.flip(0)
    got, loss = caught(lambda z: 0.3 * F.cross_entropy(z, Y) + 0.7 * F.cross_entropy(z, other))
    torch.testing.assert_close(got, 0.3 * each() + 0.7 * F.cross_entropy(Z, other, reduction="none"))
    torch.testing.assert_close(got.mean(), loss.detach())


def test_weights_of_samples():
    w = torch.rand(6, generator=G, dtype=torch.float64)
    got, loss = caught(lambda z: (w * F.cross_entropy(z, Y, reduction="none")).sum())
    torch.testing.assert_close(got, 6 * w * each())
    torch.testing.assert_close(got.mean(), loss.detach())


def test_dense_losses_are_averaged():
    z, y = torch.randn(4, 3, 5, 5, requires_grad=True), torch.randint(3, (4, 5, 5))
    for reduction, scale in (("mean", 1), ("sum", 100)):
        with SampleLosses() as watched:
            loss = F.cross_entropy(z, y, reduction=reduction) / scale
        expected = F.cross_entropy(z, y, reduction="none").mean((1, 2)).detach()
        torch.testing.assert_close(watched.of(loss), expected)


IGNORING = {
    "mean": lambda z, y: F.cross_entropy(z, y, ignore_index=7),
    "sum": lambda z, y: F.cross_entropy(z, y, ignore_index=7, reduction="sum") / (y != 7).sum(),
    "none": lambda z, y: F.cross_entropy(z, y, ignore_index=7, reduction="none")[y != 7].mean(),
    "nll": lambda z, y: F.nll_loss(z.log_softmax(1), y, ignore_index=7),
}


@pytest.mark.parametrize("step", IGNORING.values(), ids=IGNORING)
def test_pixels_that_are_ignored_do_not_count(step):
    """A sample's loss is the mean over those that are left of it, however many; 0 of none."""
    draws = torch.Generator().manual_seed(0)
    z = torch.randn(4, 3, 2, 5, generator=draws, dtype=torch.float64)
    y = torch.randint(3, (4, 2, 5), generator=draws)
    y[0, 0], y[1], y[2, 1, 1] = 7, 7, 7
    with SampleLosses() as watched:
        loss = step(z.requires_grad_(), y)
    expected = []
    for image, mask in zip(z.detach(), y, strict=True):
        each = [-image[:, i, j].log_softmax(0)[mask[i, j]] for i in range(2) for j in range(5) if mask[i, j] != 7]
        expected.append(float(sum(each) / len(each)) if each else 0.0)
    assert watched.of(loss).tolist() == pytest.approx(expected)


def test_what_does_not_count_is_left_out():
    def step(z):
        F.mse_loss(z, torch.zeros_like(z))  # a metric
        with torch.no_grad():
            F.cross_entropy(z[:2], Y[:2])
        return F.cross_entropy(z, Y)

    torch.testing.assert_close(caught(step)[0], each())


def test_none_where_none_is_known():
    assert caught(lambda z: -(z.log_softmax(1) * F.one_hot(Y, 3)).sum(1).mean())[0] is None
    assert caught(lambda z: F.cross_entropy(z, Y).detach())[0] is None
    assert caught(lambda z: F.cross_entropy(z, Y) + F.cross_entropy(z[:3], Y[:3]))[0] is None
    assert caught(lambda z: F.cross_entropy(z[0], Y[0]))[0] is None


def test_the_gradient_is_untouched():
    z = Z.clone().requires_grad_()
    with SampleLosses() as watched:
        loss = F.cross_entropy(z, Y)
    watched.of(loss)
    [ours] = torch.autograd.grad(loss, z)
    [plain] = torch.autograd.grad(F.cross_entropy(z, Y), z)
    assert torch.equal(ours, plain)


def test_half_precision_and_autocast():
    z = Z.float().requires_grad_()
    with torch.autocast("cpu", dtype=torch.bfloat16), SampleLosses() as watched:
        loss = F.cross_entropy(z @ torch.eye(3), Y)
    assert watched.of(loss).dtype == torch.float32
