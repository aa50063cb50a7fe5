"""Gradient norms under true labels: who picks the largest, and whether they fall."""

import pytest
import torch

from lightning_al import functional as F_al
from lightning_al.report.diagnostics import falls, loss_gradient_norms, norms
from tests.helpers.hessians import gradients, in_batches, net, own_labels, samples
from tests.helpers.marks import slow


@pytest.mark.parametrize("size", [slow(4), 2, slow(1)])  # two samples a batch may be read as a pair
def test_they_are_the_loops(size):
    model, (x, y) = net(), samples()
    want = gradients(model, x, y).norm(dim=1)
    torch.testing.assert_close(loss_gradient_norms(model, in_batches(x, y, size)), want, rtol=1e-9, atol=1e-12)
    own = gradients(model, x, own_labels(model, x)).norm(dim=1)
    torch.testing.assert_close(loss_gradient_norms(model, in_batches(x, None, size)), own, rtol=1e-9, atol=1e-12)


def test_summed_over_tensors():
    model, (x, y) = net(), samples()
    sizes = [p.numel() for p in model.parameters()]
    parts = gradients(model, x, y).split(sizes, dim=1)
    want = torch.stack([part.norm(dim=1) for part in parts]).sum(0)
    torch.testing.assert_close(loss_gradient_norms(model, in_batches(x, y), norm="tensor_sum"), want)


def data_of(kept, indices):
    xs, ys = zip(*(kept.data.pool_set[i] for i in indices.tolist()))
    return torch.stack(xs), torch.stack(ys)


def test_how_many_of_the_largest_were_picked(kept, campaign):
    [found] = norms([kept])
    assert len(found.rows) == 2  # the last round picked nothing
    for row, each, result in zip(found.rows, kept.rounds, campaign[2]):
        all_norms = gradients(kept.at(each), *data_of(kept, each.scored)).norm(dim=1)
        assert len(each.scored) == 30
        largest = {int(each.scored[i]) for i in all_norms.argsort(descending=True)[:4]}
        assert row[3:5] == [4, len(largest & set(result.picked))]
        assert row[5] == pytest.approx(4 * 4 / 30)
        assert row[8] == pytest.approx(float(all_norms.mean()))


def test_of_some_candidates_the_picks_are_beside_the_first_others(kept, campaign):
    [found] = norms([kept], samples=9)
    assert len(found.rows) == 2
    for row, each, result in zip(found.rows, kept.rounds, campaign[2]):
        others = [i for i in each.scored.tolist() if i not in result.picked]
        some = torch.tensor([*result.picked, *others[:5]])  # the first of a random order
        of = gradients(kept.at(each), *data_of(kept, some)).norm(dim=1)
        largest = {int(some[i]) for i in of.argsort(descending=True)[:4]}
        assert row[3:5] == [4, len(largest & set(result.picked))]
        assert row[5] == pytest.approx(4 * 4 / 9)
        assert row[7] == pytest.approx(float(of[:4].mean()))
        assert row[8] == pytest.approx(float((4 * of[:4].mean() + 26 * of[4:].mean()) / 30))
    assert "9 candidates" in found.note
    with pytest.raises(ValueError, match=r"`samples` must be more than the 4 picks of a round, .*, got 4"):
        norms([kept], samples=4)


@pytest.mark.slow
def test_how_many_fell(kept):
    [found] = falls([kept])
    by_scheme = {(row[1], row[3]): row for row in found.rows}
    assert set(by_scheme) == {(n, s) for n in (0, 1) for s in ("entropy", "expected_norm", "true")}
    for now, then in zip(kept.rounds, kept.rounds[1:]):
        x, y = data_of(kept, now.picked)
        before = gradients(kept.at(now), x, y).norm(dim=1)
        entropy = F_al.gradient_norm(kept.model, x)
        after = gradients(kept.at(then), x, y).norm(dim=1)
        fell = int((F_al.gradient_norm(kept.model, x) <= entropy).sum())
        assert by_scheme[now.number, "true"][5] == int((after <= before).sum())
        assert by_scheme[now.number, "true"][7:] == pytest.approx([float(before.mean()), float(after.mean())])
        assert by_scheme[now.number, "entropy"][5] == fell
