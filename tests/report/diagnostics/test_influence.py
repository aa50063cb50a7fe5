"""Influence on the test loss, against the inverse of the whole Hessian in float64."""

import pytest
import torch

from lightning_al.report.diagnostics import influence, influences
from lightning_al.report.diagnostics.influence import solve
from tests.helpers.hessians import gradients, hessian, in_batches, net, samples


def setting():
    train, test, others = samples(11), samples(7, seed=2), samples(6, seed=3)
    return net(), train, test, others


def written_out(model, train, test, others, damping):
    whole = hessian(model, *train)
    solved = torch.linalg.solve(
        whole + damping * torch.eye(len(whole), dtype=whole.dtype), gradients(model, *test).sum(0)
    )
    return gradients(model, *others) @ solved / len(train[0]), solved


def test_it_is_the_inverse_hessians():
    model, train, test, others = setting()
    batches = [in_batches(*part) for part in (train, test, others)]
    found = influence(model, *batches, damping=2.0, steps=500, tolerance=1e-12)
    target, solved = written_out(model, train, test, others, 2.0)
    exact = {"rtol": 1e-8, "atol": 1e-10}
    torch.testing.assert_close(found.target, target, **exact)
    torch.testing.assert_close(found.norms, gradients(model, *others).norm(dim=1), **exact)
    assert found.test_norm == pytest.approx(float(solved.norm()), rel=1e-8)
    assert (found.train_count, found.damping) == (11, 2.0)
    assert found.residual < 1e-12
    bounds = found.bounds(found.norms + 1)
    assert list(bounds) == ["target", "approx-1", "approx-2", "approx-3"]
    for lower, upper in zip(list(bounds.values()), list(bounds.values())[1:]):
        assert bool((lower <= upper + 1e-12).all())
    torch.testing.assert_close(bounds["approx-2"], found.norms * solved.norm() / 11, **exact)


@pytest.mark.slow
def test_damping_is_found_where_the_hessian_needs_it():
    model, train, test, others = setting()
    lowest = float(torch.linalg.eigvalsh(hessian(model, *train))[0])
    assert lowest < -0.01
    batches = [in_batches(*part) for part in (train, test, others)]
    found = influence(model, *batches, steps=500, tolerance=1e-11)
    assert found.damping == pytest.approx(0.01 - 1.5 * lowest, rel=0.1)
    torch.testing.assert_close(
        found.target, written_out(model, train, test, others, found.damping)[0], rtol=1e-6, atol=1e-9
    )
    with pytest.raises(ValueError, match=r"`damping=0` has a direction of negative curvature.*`damping=None`"):
        influence(model, *batches, damping=0, steps=500, tolerance=1e-12)
    for options in ({"damping": -1}, {"steps": 0}, {"tolerance": 0}):
        with pytest.raises(ValueError, match=f"`{next(iter(options))}`"):
            influence(model, *batches, **options)


@pytest.mark.slow
def test_it_is_the_loss_without_the_sample():
    """Of a convex model with weight decay in its loss, trained to its end with and without each sample."""
    (x, y), (tx, ty) = samples(100), samples(9, seed=2)
    decay = 0.05

    def loss(weights, rows):
        z = x[rows] @ weights.view(4, 3)
        return torch.nn.functional.cross_entropy(z, y[rows], reduction="sum") / 100 + decay / 2 * weights.square().sum()

    def trained(rows):
        weights = torch.zeros(12, dtype=torch.float64)
        for _ in range(12):  # Newton
            g = torch.autograd.functional.jacobian(lambda w: loss(w, rows), weights)
            h = torch.autograd.functional.hessian(lambda w: loss(w, rows), weights)
            weights = weights - torch.linalg.solve(h, g)
        return weights

    model = torch.nn.Linear(4, 3, bias=False).double()
    everything = list(range(100))
    best = trained(everything)
    with torch.no_grad():
        model.weight.copy_(best.view(4, 3).T)
    found = influence(model, [(x, y)], [(tx, ty)], [(x, y)], damping=decay, steps=200, tolerance=1e-12)
    test_loss = lambda w: float(torch.nn.functional.cross_entropy(tx @ w.view(4, 3), ty, reduction="sum"))  # noqa: E731
    really = [test_loss(trained([i for i in everything if i != left])) - test_loss(best) for left in everything[:8]]
    assert torch.corrcoef(torch.stack([found.target[:8], torch.tensor(really)]))[0, 1] > 0.99
    assert found.target[:8].tolist() == pytest.approx(really, rel=0.2, abs=0.01)


def test_conjugate_gradients_stop():
    matrix = torch.diag(torch.arange(1.0, 9.0, dtype=torch.float64))
    right = [torch.ones(8, dtype=torch.float64)]
    product = lambda v: [matrix @ v[0]]  # noqa: E731
    x, residual = solve(product, right, damping=0.0, steps=100, tolerance=1e-10)
    torch.testing.assert_close(x[0], 1 / matrix.diag())
    assert solve(product, right, damping=0.0, steps=2, tolerance=1e-10)[1] > 1e-3 > residual
    assert solve(product, [torch.zeros(8)], damping=0.0, steps=2, tolerance=1e-3)[1] == 0


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["true", "entropy"])
def test_of_a_campaign(kept, loss):
    overlap, bounds = influences([kept], samples=20, held_out=12, loss=loss, steps=300)
    assert overlap.header[3:] == ["K", "approx-1", "approx-2", "approx-3", "entropy", "expected_norm"]
    assert [row[1] for row in overlap.rows] == [0, 1]
    assert all(0 <= value <= 1 for row in overlap.rows for value in row[4:])
    for row, now, then in zip(bounds.rows, kept.rounds, kept.rounds[1:]):
        assert row[3] <= row[4] <= row[5]
        if loss == "true":
            model = kept.at(then)
            data = lambda indices: [torch.stack(p) for p in zip(*(kept.data.pool_set[i] for i in indices.tolist()))]  # noqa: E731
            held_out = [part[:12] for part in kept.data.datamodule.held_out.tensors]
            target, _ = written_out(model, data(then.labelled), held_out, data(now.scored[:20]), row[-2])
            assert row[3] == pytest.approx(float(target.mean()), rel=1e-2)
