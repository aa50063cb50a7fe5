import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.functional import graph_adjacency
from lightning_al.functional.geometry.graph import Graph
from lightning_al.functional.geometry.sphere import on_sphere
from tests.helpers import gcn_reference as reference
from tests.helpers.extent import examples
from tests.helpers.models import randn

NUMBER = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.0, 1.0, 3.0])


def features(number=NUMBER):
    shapes = st.tuples(st.integers(1, 9), st.integers(1, 6))
    return shapes.flatmap(
        lambda s: st.lists(st.lists(number, min_size=s[1], max_size=s[1]), min_size=s[0], max_size=s[0])
    )


def graph(rows, dense):
    return Graph(on_sphere(torch.tensor(rows, dtype=torch.float64)).rows, dense=dense)


@examples(150)
@given(st.one_of(features(), features(st.floats(-10, 10))))
def test_the_adjacency_is_the_definition(rows):
    want = reference.adjacency(rows)
    torch.testing.assert_close(graph_adjacency(torch.tensor(rows, dtype=torch.float64)), want, rtol=1e-6, atol=1e-6)


@examples(60)
@given(features(NUMBER.map(abs)))
def test_without_negative_features_it_is_the_paper_s(rows):
    v = torch.tensor([reference.unit(row) for row in rows], dtype=torch.float64)
    lone = v @ v.sum(0) - v.square().sum(1) < 1e-9
    similar = (v @ v.T).fill_diagonal_(0)
    want = similar @ torch.diag(torch.where(lone, 0.0, 1 / similar.sum(0))) + torch.eye(len(v))
    torch.testing.assert_close(graph_adjacency(v), want, rtol=1e-9, atol=1e-9)


@examples(150)
@given(st.one_of(features(), features(st.floats(-10, 10))), st.integers(1, 3), st.integers(0, 99))
def test_both_forms_multiply_by_the_definition(rows, columns, seed):
    want = reference.adjacency(rows)
    x = torch.randn(len(rows), columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    v = on_sphere(torch.tensor(rows, dtype=torch.float64)).rows
    for dense in (True, False):
        made = graph(rows, dense)
        torch.testing.assert_close(made.product(x), want @ x, rtol=1e-6, atol=1e-6)
        torch.testing.assert_close(made.aggregated(), want @ v, rtol=1e-6, atol=1e-6)


@pytest.mark.few(3)
@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("shape", [(700, 40), (1300, 700), (30, 900)])
def test_both_forms_agree_on_many_blocks(shape, signed):
    points = randn(*shape, seed=3)
    points = points if signed else points.relu()
    points[5] = 0
    points[7:9] = points[6]
    dense, factored = (graph(points.tolist(), d) for d in (True, False))
    x = randn(shape[0], 2, seed=4)
    torch.testing.assert_close(dense.product(x), factored.product(x), rtol=1e-10, atol=1e-10)
    torch.testing.assert_close(dense.aggregated(), factored.aggregated(), rtol=1e-10, atol=1e-10)


@examples(100)
@given(features(), st.floats(1e-7, 1e-3))
def test_no_column_gives_more_than_its_length(rows, small):
    """However near to 0, or below it, the sum of its entries is."""
    tilted = [[x + small * (i + 1) * (-1) ** j for j, x in enumerate(row)] for i, row in enumerate(rows)]
    others = graph_adjacency(torch.tensor(tilted, dtype=torch.float64)) - torch.eye(len(rows))
    nonnegative = (others >= -1e-9).all(0)
    assert (others.square().sum(0) <= 1 + 1e-9).all()
    sums = others.sum(0)[nonnegative]
    assert ((sums - 1).abs().lt(1e-9) | sums.abs().lt(1e-9)).all()


def test_a_sample_with_opposite_neighbours_only_takes_from_them_with_their_sign():
    a = graph_adjacency(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [-1.0, 0.0]]))
    root = 1 / math.sqrt(2)
    want = torch.tensor([[1, -root, -root], [-root, 1, root], [-root, root, 1]], dtype=torch.float64)
    torch.testing.assert_close(a, want)


@pytest.mark.parametrize("rows", [torch.zeros(4, 3), torch.eye(4), 5 * torch.eye(4)[:, [1, 0, 2, 3]]])
def test_samples_without_neighbours_have_themselves(rows):
    assert torch.equal(graph_adjacency(rows), torch.eye(4, dtype=torch.float64))
    factored = Graph(on_sphere(rows, dtype=torch.float64).rows, dense=False)
    torch.testing.assert_close(factored.product(torch.eye(4, dtype=torch.float64)), torch.eye(4, dtype=torch.float64))


def test_right_angles_in_float32_are_right_angles():
    turned, _ = torch.linalg.qr(torch.randn(40, 40, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(graph_adjacency(turned), torch.eye(40, dtype=torch.float64), rtol=0, atol=0)


def test_all_the_same():
    a = graph_adjacency(torch.ones(5, 3))
    torch.testing.assert_close(a, torch.full((5, 5), 0.25).fill_diagonal_(1).double())


@pytest.mark.parametrize(("n", "dense"), [(6, True), (7, False)])
def test_the_matrix_is_made_where_it_is_no_larger_than_the_features(n, dense):
    assert Graph(on_sphere(randn(n, 6)).rows).dense is dense


def test_scale_does_not_matter():
    points = randn(20, 5)
    for scale in (1e-200, 1e200):
        torch.testing.assert_close(graph_adjacency(points * scale), graph_adjacency(points))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_refuses_what_is_not_finite(bad):
    points = torch.ones(4, 2)
    points[2, 1] = bad
    with pytest.raises(ValueError, match=r"`features` has NaN or infinite values at positions \[2\]"):
        graph_adjacency(points)


@pytest.mark.parametrize("shape", [(4,), (4, 0), (4, 2, 2)])
def test_refuses_other_shapes(shape):
    with pytest.raises(ValueError, match=r"`features` must have shape \(N, d\)"):
        graph_adjacency(torch.ones(shape))
