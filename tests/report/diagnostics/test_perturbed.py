"""Maximally perturbed losses of sets of samples."""

import pytest
import torch
from torch.nn import functional as F

from lightning_al.report.diagnostics import losses, perturbed_loss
from tests.helpers.hessians import at, flat, gradients, in_batches, losses_of, net, own_labels, samples


def moved_loss(model, x, y, gradient, rho, perturbation):
    """The mean loss at the worst place in the ball, by a gradient."""
    scale = flat(model).abs() if perturbation == "asam" else torch.ones_like(gradient)
    step = rho * scale**2 * gradient / ((scale * gradient).norm() + 1e-12)
    return float(F.cross_entropy(at(model, flat(model) + step)(x), y))


@pytest.mark.few(2)
@pytest.mark.parametrize("perturbation", ["sam", "asam"])
@pytest.mark.parametrize("labelled", [True, False])
def test_each_by_itself_and_all_together(perturbation, labelled):
    model, (x, y) = net(), samples()
    labels = y if labelled else own_labels(model, x)
    each, how = gradients(model, x, labels), {"rho": 0.4, "perturbation": perturbation}
    alone = [moved_loss(model, x[i : i + 1], labels[i : i + 1], each[i], 0.4, perturbation) for i in range(len(x))]
    batches = in_batches(x, y if labelled else None)
    assert perturbed_loss(model, batches, **how) == pytest.approx(sum(alone) / len(x), rel=1e-9)
    together = moved_loss(model, x, labels, each.mean(0), 0.4, perturbation)
    assert perturbed_loss(model, batches, shared=True, **how) == pytest.approx(together, rel=1e-9)
    assert together < sum(alone) / len(x)
    plain = float(losses_of(model, x, labels)(flat(model)).mean())
    assert perturbed_loss(model, batches, **{**how, "rho": 1e-9}, shared=True) == pytest.approx(plain, rel=1e-6)


@pytest.mark.slow
def test_of_a_campaign(kept):
    [found] = losses([kept], samples=9, rho=0.1)
    assert found.header[3:] == ["L", "U", "L∪U", "L shared", "U shared", "L∪U shared"]
    for row, each in zip(found.rows, kept.rounds, strict=True):
        model = kept.at(each)
        few = each.candidates[:9].tolist()
        assert len(each.labelled) == row[2]
        x = torch.stack([kept.data.pool_set[i][0] for i in few])
        assert row[4] == pytest.approx(perturbed_loss(model, [(x, None)], rho=0.1))
        assert row[7] == pytest.approx(perturbed_loss(model, [(x, None)], rho=0.1, shared=True))
        share = len(each.labelled) / 60
        assert row[5] == pytest.approx(share * row[3] + (1 - share) * row[4])
        if len(each.labelled) <= 9:
            xs, ys = zip(*(kept.data.pool_set[i] for i in each.labelled.tolist()))
            known = [(torch.stack(xs), torch.stack(ys))]
            assert row[3] == pytest.approx(perturbed_loss(model, known, rho=0.1))
    assert losses([kept], samples=9, rho=0.1)[0].rows == found.rows  # the same on a repeat


def test_what_cannot_be():
    with pytest.raises(ValueError, match="no samples"):
        perturbed_loss(net(), [])
    with pytest.raises(ValueError, match="`rho`"):
        perturbed_loss(net(), in_batches(*samples()), rho=-1)
