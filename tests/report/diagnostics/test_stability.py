"""Whether labels are kept under each sample's own perturbation, and by how much they are not."""

import pytest
import torch
from torch.nn import functional as F

from lightning_al.report.diagnostics import Stability, label_stability, labels_kept
from tests.helpers.hessians import at, flat, gradients, in_batches, net, own_labels, samples
from tests.helpers.marks import slow


def moved_outputs(model, x, labels, rho):
    """Each sample's outputs, and losses under its label, at its own worst place."""
    rows = []
    for i, gradient in enumerate(gradients(model, x, labels)):
        place = flat(model) + rho * gradient / (gradient.norm() + 1e-12)
        rows.append(at(model, place)(x[i : i + 1]))
    return torch.cat(rows).detach()


@pytest.mark.parametrize("rho", [slow(0.01), 0.03])
def test_it_is_written_out(rho):
    model, (x, y) = net(), samples()
    own = own_labels(model, x)
    moved, under_true = moved_outputs(model, x, own, rho), moved_outputs(model, x, y, rho)
    delta = torch.stack([max((moved[i] - moved[i, own[i]]).max(), torch.tensor(0.0)) for i in range(len(x))])
    true = F.cross_entropy(under_true, y, reduction="none")
    found = label_stability(model, in_batches(x, y), rho=rho)
    exact = {"rtol": 1e-8, "atol": 1e-10}
    torch.testing.assert_close(found.kept, (moved.argmax(1) == own).double(), **exact)
    torch.testing.assert_close(found.margin, delta, **exact)
    torch.testing.assert_close(found.true_loss, true, **exact)
    assert found.kept_share == pytest.approx(float((moved.argmax(1) == own).double().mean()))
    assert found.relative_margin == pytest.approx(float((delta / true).mean()))
    if rho == 0.03:
        assert 0 < found.kept_share < 1
        assert bool(((found.margin > 0) == (found.kept == 0)).all())


def test_nothing_over_nothing_is_nothing():
    found = Stability(torch.ones(3), torch.tensor([0.0, 0.0, 1.0]), torch.tensor([0.0, 2.0, 2.0]))
    assert found.relative_margin == pytest.approx(0.5 / 3)


def test_without_labels_there_is_no_ratio():
    found = label_stability(net(), in_batches(samples()[0], None))
    assert found.relative_margin != found.relative_margin
    assert 0 <= found.kept_share <= 1


def test_several_decisions_a_sample():
    from tests.helpers.models import Dense, randn, seeded

    model, x = seeded(Dense), randn(4, 2, 5, 5)
    found = label_stability(model, [(x, None)], rho=0.5)
    assert found.kept.shape == found.margin.shape == (4,)
    assert bool(((found.kept > 0) & (found.kept < 1)).any())


@pytest.mark.slow
def test_of_a_campaign(kept):
    [found] = labels_kept([kept], samples=10, radii=(0.01, 0.5))
    assert [row[3] for row in found.rows] == [0.01, 0.5] * 3
    each = kept.rounds[1]
    xs, ys = zip(*(kept.data.pool_set[i] for i in each.candidates[:10].tolist()))
    want = label_stability(kept.at(each), [(torch.stack(xs), torch.stack(ys))], rho=0.5)
    assert found.rows[3][4:] == pytest.approx([want.kept_share, want.relative_margin, float(want.margin.mean())])


def test_the_note_says_what_the_columns_are(kept):
    note = labels_kept([kept], samples=4, radii=(0.05,))[0].note
    assert "δ: by how much another class is ahead of the predicted one" in note
    assert "r: mean over samples of δ / perturbed loss under the true label" in note
    found = Stability(torch.zeros(2), torch.tensor([1.0, 1.0]), torch.tensor([1.0, 3.0]))
    assert found.relative_margin == pytest.approx(2 / 3)
