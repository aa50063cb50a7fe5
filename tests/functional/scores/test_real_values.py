"""Disagreement about real values, against plain loops in float64."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al import functional as F_al
from lightning_al.functional.scores.real_values import prediction_variances
from tests.helpers.models import randn

NUMBERS = st.floats(-100, 100)
TABLES = st.integers(1, 5).flatmap(
    lambda k: st.lists(st.lists(NUMBERS, min_size=k, max_size=k), min_size=1, max_size=5)
)


@given(TABLES)
def test_variance(rows):
    values = torch.tensor(rows, dtype=torch.float64)
    expected = [sum((y - sum(row) / len(row)) ** 2 for y in row) / len(row) for row in rows]
    assert F_al.prediction_variance(values).tolist() == pytest.approx(expected, rel=1e-9, abs=1e-9)
    several = torch.stack([values, 2 * values], 2)
    assert prediction_variances(several)[:, 1].tolist() == pytest.approx([4 * e for e in expected], abs=1e-9)
    assert F_al.prediction_variance(several).tolist() == pytest.approx([2.5 * e for e in expected], abs=1e-9)


def test_variance_of_large_values_that_hardly_differ():
    values = torch.tensor([[1e4, 1e4 + 1 / 64, 1e4 - 1 / 64]])
    assert F_al.prediction_variance(values).item() == pytest.approx(2 / 3 / 64**2, rel=1e-6)


@pytest.mark.parametrize("outputs", [None, 1, 3])
def test_model_change_is_the_length_of_the_last_layer_s_gradient(outputs):
    """By autograd, for each sample and each prediction in the place of its label."""
    shape = () if outputs is None else (outputs,)
    values, features = randn(4, 6, *shape), randn(4, 5)
    weight = randn(*shape, 5).requires_grad_()
    own = features @ weight.T if shape else features @ weight
    expected = []
    for h, y in zip(features, values, strict=True):
        norms = []
        for label in y:
            loss = 0.5 * ((weight @ h) - label).square().sum()
            norms.append(float(torch.autograd.grad(loss, weight)[0].norm()))
        expected.append(math.fsum(norms) / len(norms))
    got = F_al.model_change(values, own.detach(), features)
    assert got.tolist() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("values", "error", "words"),
    [
        (torch.zeros(3), ValueError, r"got \(3,\)"),
        (torch.zeros(3, 0), ValueError, r"K >= 1 predictions, got \(3, 0\)"),
        (torch.zeros(3, 2).long(), TypeError, "got torch.int64"),
        ([1.0], TypeError, "got list"),
    ],
)
def test_what_are_no_predictions(values, error, words):
    with pytest.raises(error, match=words):
        F_al.prediction_variance(values)


def test_predictions_of_other_samples():
    for own, features in ((torch.zeros(2, 1), torch.zeros(2, 4)), (torch.zeros(2), torch.zeros(3, 4))):
        with pytest.raises(ValueError, match="must be of the same samples and outputs"):
            F_al.model_change(torch.zeros(2, 5), own, features)
