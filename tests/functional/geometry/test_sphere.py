import math
import warnings

import pytest
import torch

from lightning_al.functional.geometry import sphere as D
from tests.helpers.models import randn
from tests.helpers.tiles import small_blocks


@pytest.mark.parametrize("scale", [5e-324, 1e-310, 1e-200, 1.0, 1e200, 1e307])
def test_rows_of_any_size_get_length_one(scale):
    x = torch.tensor([[3.0, 4.0], [0.0, 0.0], [-0.0, 0.0], [0.0, -7.0]], dtype=torch.float64) * scale
    points = D.on_sphere(x)
    torch.testing.assert_close(points.rows.norm(dim=1), torch.tensor([1.0, 0, 0, 1], dtype=torch.float64))
    assert points.half.tolist() == [0.5, 0, 0, 0.5]


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [
        (torch.float16, torch.float32),
        (torch.bfloat16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
        (torch.int64, torch.float32),
    ],
)
def test_halves_are_raised_and_float64_stays(dtype, expected):
    points = D.on_sphere(torch.tensor([[3, 4], [1, 0]]).to(dtype))
    assert points.rows.dtype == points.half.dtype == expected
    torch.testing.assert_close(points.rows, torch.tensor([[0.6, 0.8], [1, 0]], dtype=expected))


def test_features_are_left_as_they_are_and_may_carry_a_graph():
    for dtype in (torch.float32, torch.float64):
        x = randn(4, 3).to(dtype).requires_grad_()
        before = x.detach().clone()
        assert not D.on_sphere(x).rows.requires_grad
        assert torch.equal(x.detach(), before)


@pytest.mark.parametrize("block", [1, 7, 24, 2**19])
def test_blocks_do_not_change_the_rows(monkeypatch, block):
    x = randn(30, 5).float()
    whole = D.on_sphere(x)
    small_blocks(monkeypatch, block)
    assert torch.equal(D.on_sphere(x).rows, whole.rows)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_refuses_what_is_not_finite_and_says_where(bad):
    x = torch.zeros(30, 2)
    x[[4, 7], 1] = bad
    with pytest.raises(ValueError, match=r"`features` has NaN or infinite values at positions \[4, 7\] \(2 in all\)"):
        D.on_sphere(x)
    with pytest.raises(ValueError, match=r"`labelled` has NaN .* \[4, 7\]"):
        D.on_both_spheres(torch.zeros(3, 2), x)


@pytest.mark.parametrize("shape", [(), (3,), (3, 0), (3, 2, 2)])
def test_refuses_wrong_shapes(shape):
    with pytest.raises(ValueError, match=rf"`features` must have shape .*got \({', '.join(map(str, shape))}"):
        D.on_sphere(torch.zeros(shape))


@pytest.mark.parametrize("shape", [(3,), (3, 3), (3, 2, 1)])
def test_refuses_labelled_features_of_another_width(shape):
    with pytest.raises(ValueError, match=r"`labelled` must have shape \(M, 2\)"):
        D.on_both_spheres(torch.zeros(5, 2), torch.zeros(shape))


def test_both_are_in_the_wider_precision():
    for a, b in [(torch.float32, torch.float64), (torch.float64, torch.float16)]:
        first, second = D.on_both_spheres(torch.ones(2, 2, dtype=a), torch.ones(2, 2, dtype=b))
        assert first.rows.dtype == second.rows.dtype == torch.float64


@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (3, 0), (1, 1), (17, 11), (4, 25)])
def test_tiles_cover_everything_once(monkeypatch, rows, columns):
    small_blocks(monkeypatch)
    seen = torch.zeros(rows, columns)
    for down, across in D.tiles(rows, columns):
        assert seen[down, across].numel() <= 25
        seen[down, across] += 1
    assert (seen == 1).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("d", [1, 3, 64, 700])
def test_the_product_is_within_its_slack(dtype, d):
    x = torch.cat([randn(60, d), torch.zeros(2, d)])
    points = D.on_sphere(x.to(dtype))
    rows = points.rows.double()
    exact = -(torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist") ** 2) / 2
    assert (D.closeness(points, points).double() - exact).abs().max() < D.slack(points) / 2


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_within_is_strict_and_exact_at_the_bound(dtype):
    x = D.on_sphere(torch.tensor([[1, 0], [0, 1], [-1, 0], [0, 0], [2, 0]], dtype=dtype))
    for bound in (1.0, math.sqrt(2), 2.0):
        for above in (bound, math.nextafter(bound, 3)):
            expected = [[math.dist(a, b) < above for b in x.rows.tolist()] for a in x.rows.tolist()]
            assert D.within(x, x, above).tolist() == expected
    assert D.within(x, x, 1e-300).tolist() == D.within(x, x, 1e-9).tolist()
    assert D.within(x, x, 1e-300).sum() == 7  # each covers itself; the first and the last coincide
    assert D.within(x, x, math.inf).all()
    assert D.within(x, x, 1e200).all()


@pytest.mark.few(1)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_pairs_at_the_bound_are_decided_the_same_from_both_ends(dtype):
    """Whatever the product rounds to, in whatever block."""
    points = D.on_sphere(randn(40, 17).to(dtype)[torch.arange(160) % 40])
    apart = D.distances(points, points, torch.arange(39), torch.arange(1, 40))
    for bound in apart.tolist():
        whole = D.within(points, points, bound)
        assert torch.equal(whole, whole.T)
        assert torch.equal(whole[:40], whole[120:])
        rows = [D.within(points.at(slice(i, i + 1)), points, bound) for i in range(160)]
        assert torch.equal(torch.cat(rows), whole)
        exact = torch.cdist(points.rows.double(), points.rows.double(), compute_mode="donot_use_mm_for_euclid_dist")
        clear = (exact - bound).abs() > 1e-12
        assert torch.equal((exact < bound)[clear], whole[clear] > 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("count", [1, 2, 6])
def test_nearest_are_exact_with_ties(dtype, count):
    a = D.on_sphere(torch.cat([randn(9, 3), torch.zeros(1, 3)]).to(dtype))
    b = D.on_sphere(torch.cat([randn(6, 3, seed=2), randn(9, 3), torch.zeros(2, 3)]).to(dtype))
    allowed = randn(10, 17) > -0.3
    for mask in (None, allowed):
        got = D.nearest(a, b, count, mask)
        for i, row in enumerate(a.rows.tolist()):
            others = [p for j, p in enumerate(b.rows.tolist()) if mask is None or mask[i, j]]
            apart = sorted(math.dist(row, p) for p in others)
            assert got[i].tolist() == pytest.approx((apart + [math.inf] * count)[:count], abs=1e-15)


def test_nearest_with_nobody_allowed_is_infinite():
    points = D.on_sphere(randn(3, 2))
    assert D.nearest(points, points, 2, torch.zeros(3, 3, dtype=torch.bool)).isinf().all()


def test_full_precision_is_for_the_time_being_only():
    matmul = torch.backends.mkldnn.matmul
    chosen = torch.get_float32_matmul_precision()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.set_float32_matmul_precision("medium")
        before = matmul.fp32_precision
        with torch.autocast("cpu"), pytest.raises(KeyError), D.full_precision():
            assert matmul.fp32_precision == "ieee"
            assert not torch.is_autocast_enabled("cpu")
            assert not torch.is_grad_enabled()
            raise KeyError
        assert matmul.fp32_precision == before
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(chosen)
