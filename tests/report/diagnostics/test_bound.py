"""The terms of SAAL's bound, and how scores go with them."""

import pytest
import torch

from lightning_al import functional as F_al
from lightning_al.functional.scores.uncertainty import entropies
from lightning_al.report.diagnostics import bound, bound_terms
from lightning_al.report.diagnostics.bound import other_scores
from tests.helpers.hessians import flat, gradients, hessian, in_batches, losses_of, net, own_labels, samples
from tests.helpers.marks import slow

EXACT = {"rtol": 1e-6, "atol": 1e-9}


@pytest.mark.parametrize("perturbation", ["sam", slow("asam")])
def test_each_sample_is_its_own_hessian(perturbation):
    model, (x, _) = net(), samples(3)
    y = own_labels(model, x)
    scores = {"Entropy": lambda m, x: entropies(m(x))}
    found = bound_terms(model, in_batches(x, None, 2), rho=0.1, perturbation=perturbation, steps=60, scores=scores)
    scale = flat(model).abs() if perturbation == "asam" else torch.ones_like(flat(model))
    norms = (gradients(model, x, y) * scale).norm(dim=1)
    largest = []
    for i in range(len(x)):
        whole = hessian(model, x[i : i + 1], y[i : i + 1]) * scale * scale[:, None]
        largest.append(torch.linalg.eigvalsh(whole)[-1])
    largest = torch.stack(largest)
    torch.testing.assert_close(found.loss, losses_of(model, x, y)(flat(model)).detach(), **EXACT)
    torch.testing.assert_close(found.slope, 0.1 * norms, **EXACT)
    torch.testing.assert_close(found.eigenvalue, largest, rtol=1e-3, atol=1e-9)
    torch.testing.assert_close(found.curvature, 0.5 * 0.1**2 * found.eigenvalue.clamp(min=0), **EXACT)
    torch.testing.assert_close(found.scores["SAAL"], F_al.saal(model, x, rho=0.1, perturbation=perturbation), **EXACT)
    torch.testing.assert_close(found.scores["Entropy"], F_al.entropy(model.eval()(x)).detach(), **EXACT)


@pytest.mark.slow
def test_of_a_campaign(kept):
    over_rounds, with_scores, among, overlaps = bound([kept], samples=12, steps=20, k=(3, 6, 40))
    for row, each in zip(over_rounds.rows, kept.rounds, strict=True):
        model = kept.at(each)
        x = torch.stack([kept.data.pool_set[i][0] for i in each.candidates[:12].tolist()])
        terms = bound_terms(model, [(x, None)], steps=20)
        means = [t.mean().item() for t in (*terms[:4], terms.scores["SAAL"])]
        assert row[:3] == ["kept", each.number, each.count]
        assert row[3:] == pytest.approx(means, rel=1e-6)
    assert [row[1] for row in with_scores.rows] == ["SAAL", "Entropy", "BADGE"]
    assert all(-1 <= value <= 1 for row in with_scores.rows for value in row[2:])
    assert [row[place + 2] for place, row in enumerate(among.rows)] == [None] * 3
    assert among.rows[0][3] == pytest.approx(among.rows[1][2])
    assert [row[-1] for row in overlaps.rows] == [None] * 3  # more than there are samples
    assert all(0 <= value <= 1 for row in overlaps.rows for value in row[2:4])
    # BADGE's is the length of the last layer's gradient under the model's own label.
    last = kept.at(kept.rounds[0]).net[-1]
    x = torch.stack([kept.data.pool_set[i][0] for i in kept.rounds[0].candidates[:12].tolist()])
    h = kept.model.net[:-1](x)
    residuals = last(h).softmax(1) - torch.nn.functional.one_hot(last(h).argmax(1), 3)
    want = (residuals[:, :, None] * h[:, None, :]).flatten(1).norm(dim=1)
    got = other_scores(kept)["BADGE"](kept.model, x)
    torch.testing.assert_close(got, want, **EXACT)
