import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from lightning_al.functional import coverage_delta, prob_cover
from lightning_al.functional.geometry import sphere as distances
from lightning_al.functional.geometry.sphere import on_sphere
from tests.helpers.extent import examples
from tests.helpers.models import randn
from tests.helpers.points import units
from tests.helpers.tiles import Largest, small_blocks

SEEDS = st.integers(0, 2**31)
GRID = st.lists(st.tuples(*[st.sampled_from([-1.0, 0.0, 1.0, 2.0])] * 2), min_size=1, max_size=12)


def check(picks, features, k, delta, labelled=None, tolerance=1e-9):
    """Each pick is what the definition asks for: the first that gains most, then a farthest one."""
    x, centres = units(features), units(labelled)
    n = len(x)
    assert len(picks) == len(set(picks)) == k
    apart = [[math.dist(a, b) for b in x] for a in x]
    covered = [any(math.dist(c, b) < delta for c in centres) for b in x]
    for step, pick in enumerate(picks):
        gains = [sum(apart[i][j] < delta and not covered[j] for j in range(n)) for i in range(n)]
        if max(gains) > 0:
            assert pick == gains.index(max(gains))
        else:
            gaps = [min([apart[i][j] for j in picks[:step]] + [math.dist(c, x[i]) for c in centres]) for i in range(n)]
            free = [i for i in range(n) if i not in picks[:step]]
            assert gaps[pick] >= max(gaps[i] for i in free) - tolerance
            assert pick == min(i for i in free if x[i] == x[pick])
        covered = [covered[j] or apart[pick][j] < delta for j in range(n)]


def far_from_the_bound(features, delta, labelled=None, margin=1e-9):
    x = units(features) + units(labelled)
    return all(abs(math.dist(a, b) - delta) > margin for a in x for b in x)


@examples(80)
@given(GRID, st.one_of(st.none(), GRID), st.sampled_from([1e-9, 0.1, 0.5, 0.9, 1.2, 1.6, 1.9, 2.5]), st.data())
def test_prob_cover_is_the_definition_with_ties_duplicates_and_zeros(points, known, delta, data):
    x = torch.tensor(points, dtype=torch.float64)
    labelled = None if known is None else torch.tensor(known, dtype=torch.float64)
    k = data.draw(st.integers(0, len(x)))
    assume(far_from_the_bound(x, delta, labelled))
    check(prob_cover(x, k, delta=delta, labelled=labelled).tolist(), x, k, delta, labelled)


@examples(60)
@given(st.integers(1, 40), st.integers(1, 6), st.integers(0, 5), st.floats(0.01, 2.2), SEEDS, st.data())
def test_prob_cover_is_the_definition(n, d, m, delta, seed, data):
    x, labelled = randn(n, d, seed=seed), randn(m, d, seed=seed + 1)
    assume(far_from_the_bound(x, delta, labelled))
    k = data.draw(st.integers(0, n))
    check(prob_cover(x, k, delta=delta, labelled=labelled).tolist(), x, k, delta, labelled)


@examples(30)
@given(st.integers(1, 40), st.floats(0.1, 2.2), SEEDS, st.data())
def test_float32_is_the_definition_too(n, delta, seed, data):
    x = randn(n, 4, seed=seed).float()
    assume(far_from_the_bound(x, delta, margin=1e-5))
    k = data.draw(st.integers(0, n))
    check(prob_cover(x, k, delta=delta).tolist(), x, k, delta, tolerance=1e-5)


@examples(40)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=14), st.data())
def test_exactly_at_the_bound_is_not_covered(kinds, data):
    """Unit vectors along the axes, and zero, are exactly 0, 1, √2 or 2 apart."""
    axes = torch.cat([torch.eye(3), -torch.eye(3), torch.zeros(1, 3)]).double()
    x = axes[kinds] * 2.0 ** torch.arange(len(kinds)).unsqueeze(1)
    bound = data.draw(st.sampled_from([1.0, math.sqrt(2), 2.0]))
    delta = data.draw(st.sampled_from([bound, math.nextafter(bound, 3)]))
    k = data.draw(st.integers(0, len(x)))
    for dtype in (torch.float32, torch.float64):
        check(prob_cover(x.to(dtype), k, delta=delta).tolist(), x, k, delta, tolerance=0)


@pytest.mark.parametrize("dtype", [torch.float32, pytest.param(torch.float64, marks=pytest.mark.slow)])
def test_block_sizes_do_not_matter_even_at_the_bound(monkeypatch, dtype):
    x = torch.cat([randn(50, 9), torch.zeros(2, 9)])[torch.arange(260) % 52].to(dtype)
    points = on_sphere(x)
    deltas = distances.distances(points, points, torch.arange(5), torch.arange(5, 10)).tolist()
    known = randn(7, 9, seed=2).to(dtype)
    whole = [prob_cover(x, 60, delta=delta, labelled=known) for delta in deltas]
    whole_delta = coverage_delta(x, torch.arange(260) % 52 % 4)
    for block, columns in [(24, 5), (300, 100)]:
        small_blocks(monkeypatch, block, columns)
        for delta, expected in zip(deltas, whole, strict=True):
            assert torch.equal(prob_cover(x, 60, delta=delta, labelled=known), expected)
        assert coverage_delta(x, torch.arange(260) % 52 % 4) == whole_delta
    assert all(int(p) < 52 for picks in whole for p in picks[:30])  # of those that coincide, the first


@pytest.mark.few(1)
@pytest.mark.parametrize("known", [0, pytest.param(3, marks=pytest.mark.slow), 600])
def test_more_than_one_block_of_counts(known):
    """At sizes where the counts go both ways at once, and where many are covered from the start."""
    x = torch.randn(2500, 3, generator=torch.Generator().manual_seed(0)).double()
    rows = on_sphere(x).rows
    covers = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist") < 0.1
    covered, expected = covers[:known].any(0), []
    for _ in range(30):
        gains = (covers & ~covered).sum(1)
        expected.append(int(gains.argmax()))
        covered |= covers[expected[-1]]
    assert prob_cover(x, 30, delta=0.1, labelled=x[:known]).tolist() == expected


def test_counts_anew_or_subtracts_to_the_same_end():
    """Balls that cover more than what is left, and balls that cover less."""
    x = torch.cat([randn(60, 3) * 0.05 + torch.eye(3)[i] for i in range(3)])
    for delta in (0.05, 0.2, 0.8, 1.6):
        check(prob_cover(x, 12, delta=delta).tolist(), x, 12, delta)


@pytest.mark.parametrize("k", [0, 1, 3, 5])
def test_all_coincide(k):
    for point in (torch.zeros(5, 3), torch.ones(5, 3)):
        assert prob_cover(point, k, delta=0.5).tolist() == list(range(k))
        assert prob_cover(point, k, delta=0.5, labelled=point[:2]).tolist() == list(range(k))


@pytest.mark.parametrize("delta", [0.3, 2.5, math.inf])
def test_one_point_and_none(delta):
    assert prob_cover(torch.ones(1, 2), 1, delta=delta).tolist() == [0]
    assert prob_cover(torch.ones(1, 2), 1, delta=delta, labelled=torch.ones(3, 2)).tolist() == [0]
    empty = prob_cover(torch.zeros(0, 2), 0, delta=delta)
    assert empty.shape == (0,)
    assert empty.dtype == torch.long


def test_everything_covered_from_the_start_goes_by_distance():
    angles = torch.tensor([0.0, 0.5, 3.0, 1.0, 3.0])
    x = torch.stack([angles.cos(), angles.sin()], 1)
    assert prob_cover(x, 5, delta=2.5, labelled=x[:1]).tolist() == [2, 3, 1, 0, 4]


def test_labelled_samples_never_come_back():
    """The authors' code may return one; here they are not among the positions, and their balls are covered."""
    x = torch.cat([randn(30, 2) * 0.01 + torch.tensor([1.0, 0.0]), randn(5, 2) * 0.01 - torch.tensor([1.0, 0.0])])
    assert int(prob_cover(x, 1, delta=0.5)) < 30
    assert int(prob_cover(x, 1, delta=0.5, labelled=x[:1])) >= 30
    assert prob_cover(x, 35, delta=0.5, labelled=torch.zeros(0, 2)).sort().values.tolist() == list(range(35))


def test_the_length_of_a_feature_does_not_matter():
    x = randn(40, 3)
    scaled = x * 2.0 ** (torch.arange(40) % 9 * 50 - 200).double().unsqueeze(1)
    assert torch.equal(prob_cover(scaled, 20, delta=0.4), prob_cover(x, 20, delta=0.4))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_other_precisions_are_computed_in_float32(dtype):
    x = (randn(30, 4) * 8).to(dtype)
    assert torch.equal(prob_cover(x, 9, delta=0.4), prob_cover(x.float(), 9, delta=0.4))


def test_features_may_be_mapped_from_a_file(tmp_path):
    x = randn(50, 4).float()
    x.numpy().tofile(tmp_path / "features")
    mapped = torch.from_file(str(tmp_path / "features"), shared=False, size=200).view(50, 4)
    assert torch.equal(prob_cover(mapped, 9, delta=0.4), prob_cover(x, 9, delta=0.4))


def test_no_n_by_n_tensor():
    x = torch.randn(3000, 8, generator=torch.Generator().manual_seed(0))
    labels = torch.arange(3000) % 2
    for delta in (0.3, 1.0):
        with Largest() as seen:
            prob_cover(x, 20, delta=delta, labelled=x[:500])
            coverage_delta(x, labels)
        assert seen.entries <= 2 * distances.TILE_ENTRIES < 3000 * 3000 / 8


@pytest.mark.parametrize("delta", [0.0, -1.0, math.nan])
def test_refuses_a_delta_that_covers_nothing(delta):
    with pytest.raises(ValueError, match=r"`delta` must be above 0 \(inf allowed\), got"):
        prob_cover(torch.ones(3, 2), 1, delta=delta)


@pytest.mark.parametrize("k", [-1, 4])
def test_refuses_k_out_of_range(k):
    with pytest.raises(ValueError, match=rf"k = {k} of 3 candidates"):
        prob_cover(torch.ones(3, 2), k, delta=1.0)


def test_refuses_what_is_not_finite():
    x = torch.ones(3, 2)
    x[1, 0] = math.nan
    with pytest.raises(ValueError, match=r"`features` has NaN or infinite values at positions \[1\]"):
        prob_cover(x, 1, delta=1.0)
    with pytest.raises(ValueError, match=r"`labelled` has NaN or infinite values at positions \[1\]"):
        prob_cover(torch.ones(3, 2), 1, delta=1.0, labelled=x)
    with pytest.raises(ValueError, match=r"`features` has NaN"):
        coverage_delta(x, torch.arange(3))


def pure_share(features, labels, delta):
    x = units(features)
    pure = [
        all(labels[j] == labels[i] for j, other in enumerate(x) if math.dist(row, other) < delta)
        for i, row in enumerate(x)
    ]
    return sum(pure) / len(pure)


@examples(50)
@given(st.integers(2, 25), st.integers(1, 4), st.integers(2, 4), SEEDS, st.floats(0.02, 1.0))
def test_coverage_delta_is_the_largest_that_is_pure_enough(n, d, classes, seed, purity):
    x = randn(n, d + 1, seed=seed)
    labels = torch.randint(classes, (n,), generator=torch.Generator().manual_seed(seed))
    delta = coverage_delta(x, labels, purity=purity)
    labels = labels.tolist()
    assert pure_share(x, labels, delta - 1e-9) >= purity
    if delta > 2:
        assert pure_share(x, labels, 5.0) >= purity
    else:
        assert pure_share(x, labels, delta + 1e-9) < purity
    for smaller in torch.linspace(0.01, 2.0, 40).tolist():  # the authors' way, over a grid
        assert smaller < delta or pure_share(x, labels, smaller + 1e-9) < purity
        assert smaller >= delta or pure_share(x, labels, smaller - 1e-9) >= purity


def test_balls_are_open_at_the_answer():
    x = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0]])
    labels = torch.tensor([0, 1, 1])
    delta = coverage_delta(x, labels, purity=1.0)
    assert delta == math.sqrt(2)
    assert pure_share(x, labels.tolist(), delta) == 1.0
    assert prob_cover(x, 3, delta=delta).tolist() == [0, 1, 2]  # nobody covers another


@pytest.mark.parametrize("purity", [0.07, 0.14, 0.28, 0.29, 0.55, 0.57, 0.95, 1.0])
def test_shares_that_are_not_binary_fractions(purity):
    """0.07 · 100 is above 7 in float64; still 7 of 100 are a share of 0.07."""
    angles = torch.linspace(0, 1.5, 100, dtype=torch.float64) ** 2
    x = torch.stack([angles.cos(), angles.sin()], 1)
    labels = (angles == 0).long()
    rooms = sorted([2 * math.sin(float(angles[1]) / 2)] + [2 * math.sin(float(a) / 2) for a in angles[1:]])[::-1]
    assert coverage_delta(x, labels, purity=purity) == pytest.approx(rooms[round(purity * 100) - 1], abs=1e-12)


def test_one_pseudo_label_has_no_bound():
    x = torch.cat([torch.eye(3), -torch.eye(3), torch.zeros(1, 3)])
    delta = coverage_delta(x, torch.zeros(7, dtype=torch.long))
    assert 2 < delta < 2.01
    assert prob_cover(x, 7, delta=delta)[0] == 0
    assert coverage_delta(x[:1], torch.tensor([3])) == delta


def test_no_delta_where_pseudo_labels_divide_what_coincides():
    with pytest.raises(ValueError, match=r"purity 0.95: 2 of 4 samples coincide"):
        coverage_delta(torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]]), torch.tensor([0, 1, 2, 2]))
    assert coverage_delta(torch.tensor([[1.0, 0], [1, 0], [0, 1]]), torch.tensor([0, 1, 2]), purity=0.3) > 1


@pytest.mark.parametrize("purity", [0.0, -0.1, 1.1, math.nan])
def test_refuses_purity_out_of_range(purity):
    with pytest.raises(ValueError, match="`purity` must be above 0 and at most 1"):
        coverage_delta(torch.ones(2, 2), torch.arange(2), purity=purity)


@pytest.mark.parametrize("labels", [torch.zeros(2), torch.arange(3), torch.zeros(2, 1, dtype=torch.long)])
def test_refuses_pseudo_labels_that_are_not_one_integer_a_sample(labels):
    with pytest.raises(ValueError, match=r"`pseudo_labels` must be integers of shape \(N,\), N = 2"):
        coverage_delta(torch.ones(2, 2), labels)


@pytest.mark.parametrize("shape", [(), (3,), (3, 0)])
def test_refuses_features_of_another_shape(shape):
    for refused in (lambda x: prob_cover(x, 1, delta=1.0), lambda x: coverage_delta(x, torch.arange(3))):
        with pytest.raises(ValueError, match=r"`features` must have shape \(N, d\)"):
            refused(torch.ones(shape))


def test_refuses_no_samples():
    with pytest.raises(ValueError, match="no samples"):
        coverage_delta(torch.ones(0, 2), torch.zeros(0, dtype=torch.long))
