"""The loss along two directions that all models share."""

import pytest
import torch
from torch.nn import functional as F

from lightning_al.report.diagnostics import filter_normalised, landscape, loss_landscape, random_directions
from tests.helpers import reference
from tests.helpers.hessians import at, flat, hessian, in_batches, net, samples
from tests.helpers.models import Convolution, seeded


def test_directions_are_shared_and_as_long_as_the_filters():
    models = [seeded(Convolution), seeded(Convolution, seed=1)]
    one, other = (random_directions(model, seed=3) for model in models)
    for first, second in zip(one, other):
        assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(one[0]["first.weight"], one[1]["first.weight"])
    assert not torch.equal(random_directions(models[0], seed=4)[0]["first.weight"], one[0]["first.weight"])
    for model in models:
        found, weights = filter_normalised(model, one[0]), dict(model.named_parameters())
        for name, d in found.items():
            if d.ndim < 2:
                assert float(d.abs().sum()) == 0
                continue
            for row in range(len(d)):
                assert float(d[row].norm()) == pytest.approx(float(weights[name][row].norm()), rel=1e-9)
                along = (d[row] * one[0][name][row]).sum() / (d[row].norm() * one[0][name][row].norm())
                assert float(along) == pytest.approx(1.0)
    zeroed = seeded(Convolution)
    torch.nn.init.zeros_(zeroed.head.weight)
    assert float(filter_normalised(zeroed, one[0])["head.weight"].abs().sum()) == 0


def test_each_place_is_the_mean_loss_there():
    model, (x, y) = net().train(), samples()
    before = reference.snapshot(model)
    directions = [filter_normalised(model, d) for d in random_directions(model)]
    found = loss_landscape(model, in_batches(x, y), directions, span=0.7, points=5)
    assert found.places.tolist() == pytest.approx([-0.7, -0.35, 0.0, 0.35, 0.7])
    flattened = [torch.cat([part.flatten() for part in d.values()]) for d in directions]
    for row, alpha in enumerate(found.places):
        for column, beta in enumerate(found.places):
            moved = at(model, flat(model) + alpha * flattened[0] + beta * flattened[1])
            assert float(found.losses[row, column]) == pytest.approx(float(F.cross_entropy(moved(x), y)), rel=1e-9)
    assert reference.snapshot(model) == before


def test_what_cannot_be():
    model, directions = net(), random_directions(net())
    for options, said in [({"points": 4}, "odd"), ({"points": 1}, "`points`"), ({"span": 0}, "`span`")]:
        with pytest.raises(ValueError, match=said):
            loss_landscape(model, in_batches(*samples()), directions, **options)
    with pytest.raises(ValueError, match="two `directions`, got 1"):
        loss_landscape(model, in_batches(*samples()), directions[:1])


@pytest.mark.slow
def test_of_a_campaign(kept):
    [found] = landscape([kept], points=3, steps=60)
    [row] = found.rows
    each = kept.rounds[-1]
    xs, ys = zip(*(kept.data.pool_set[i] for i in each.labelled.tolist()))
    x, y = torch.stack(xs), torch.stack(ys)
    model = kept.at(each)
    assert row[:3] == ["kept", 2, 16]
    assert row[4] == pytest.approx(float(F.cross_entropy(model(x), y)), rel=1e-9)
    assert row[3] == pytest.approx(float(torch.linalg.eigvalsh(hessian(model, x, y))[-1]), rel=1e-3)
