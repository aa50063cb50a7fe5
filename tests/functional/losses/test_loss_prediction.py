import math

import pytest
import torch

from lightning_al import functional as F_al

PREDICTED = [0.3, -0.2, 1.5, 0.1, 0.9]
LOSSES = [2.0, 0.5, 7.0, 0.5, 0.1]


def by_hand(predicted, losses, margin=1.0, variant="pairs"):
    """METHODS.md, section 4, one pair (or sample) at a time."""
    count = len(predicted)
    if variant == "paper":
        return sum(max(0.0, margin - max(0.0, y) * (p - y)) for p, y in zip(predicted, losses)) / count
    total = 0.0
    for i in range(count // 2):
        j = count - 1 - i
        d = 1 if losses[i] > losses[j] else -1
        total += max(0.0, margin - d * (predicted[i] - predicted[j]))
    return total / (count // 2)


def loss_of(predicted, losses, **options):
    as_tensor = (torch.tensor(v, dtype=torch.float64) for v in (predicted, losses))
    return F_al.loss_prediction_loss(*as_tensor, **options).item()


def test_an_odd_batch_written_out():
    # pairs (0, 4): 2.0 > 0.1, 1 - (0.3 - 0.9) = 1.6; (1, 3): a tie, 1 + (-0.2 - 0.1) = 0.7; 2 is left out
    assert loss_of(PREDICTED, LOSSES) == pytest.approx((1.6 + 0.7) / 2)
    changed = [*PREDICTED[:2], 1e6, *PREDICTED[3:]]
    assert loss_of(changed, LOSSES) == pytest.approx((1.6 + 0.7) / 2)


@pytest.mark.parametrize("count", [2, 3, 8, 9])
@pytest.mark.parametrize("margin", [1.0, 0.2])
@pytest.mark.parametrize("variant", ["pairs", "paper"])
def test_any_batch_against_the_loop(count, margin, variant):
    g = torch.Generator().manual_seed(count)
    predicted, losses = torch.randn(2, count, generator=g).tolist()
    expected = by_hand(predicted, losses, margin, variant)
    assert loss_of(predicted, losses, margin=margin, variant=variant) == pytest.approx(expected)


def test_a_batch_of_one_gives_zero_with_gradients_of_zero():
    predicted = torch.tensor([math.inf], requires_grad=True)
    loss = F_al.loss_prediction_loss(predicted, torch.tensor([1.0]))
    loss.backward()
    assert loss.item() == 0.0
    assert predicted.grad.tolist() == [0.0]
    assert loss_of([2.0], [0.25], variant="paper") == pytest.approx(1 - 0.25 * 1.75)


def test_the_printed_loss_written_out():
    # 1 - 2 (1 - 2) = 3; 1 - 0.5 (4 - 0.5) < 0; a loss below 0 counts as d = 0: 1
    assert loss_of([1.0], [2.0], variant="paper") == 3
    assert loss_of([1.0, 4.0, 7.0], [2.0, 0.5, -1.0], variant="paper") == pytest.approx((3 + 0 + 1) / 3)


def test_losses_are_constants():
    predicted, losses = torch.randn(4, requires_grad=True), torch.rand(4, requires_grad=True)
    for variant in ("pairs", "paper"):
        F_al.loss_prediction_loss(predicted, losses, variant=variant, margin=9.0).backward()
    assert losses.grad is None
    assert bool((predicted.grad != 0).all())


def test_precision():
    half = F_al.loss_prediction_loss(torch.tensor([2.0, 1.0]).bfloat16(), torch.tensor([1.0, 2.0]))
    assert half.dtype == torch.float32
    assert half.item() == 2.0
    double = torch.rand(4, dtype=torch.float64)
    assert F_al.loss_prediction_loss(double, double.float()).dtype == torch.float64


@pytest.mark.parametrize(
    ("options", "message"),
    [({"margin": 0.0}, "`margin`.*0.0"), ({"variant": "triples"}, "`variant` must be one of 'pairs', 'paper'")],
)
def test_refuses_options(options, message):
    with pytest.raises(ValueError, match=message):
        F_al.loss_prediction_loss(torch.ones(2), torch.ones(2), **options)


@pytest.mark.parametrize(("predicted", "losses"), [((3,), (4,)), ((4, 1), (4,)), ((0,), (0,))])
def test_refuses_shapes(predicted, losses):
    with pytest.raises(ValueError, match=r"must both be \(B,\)"):
        F_al.loss_prediction_loss(torch.ones(predicted), torch.ones(losses))
