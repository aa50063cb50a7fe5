import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al import functional as F_al
from lightning_al.functional.selection import regions
from tests.helpers import regions_reference as reference
from tests.helpers.extent import examples

SIDES = st.integers(1, 9)


def scene(shape, values, seed, share):
    """Scores of few different values, of which some centres are blocked."""
    draw = torch.Generator().manual_seed(seed)
    scores = torch.randint(values, shape, generator=draw).double() - values // 2
    return scores, torch.rand(shape, generator=draw) < share


@examples(60)
@given(
    st.tuples(SIDES, SIDES),
    st.sampled_from([2, 5, 1000]),
    st.integers(0, 99),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.tuples(st.integers(0, 12), st.integers(0, 2), st.integers(0, 2)),
)
def test_squares_equal_the_loop(shape, values, seed, share, options):
    """Shapes, ties, blocked areas and borders; more squares than there is room for, too."""
    scores, blocked = scene(shape, values, seed, share)
    count, radius, spacing = options
    for variant in ("exact", "code"):
        got = F_al.pick_squares(scores, count, radius=radius, spacing=spacing, blocked=blocked, variant=variant)
        assert got.dtype == torch.int64
        want = reference.greedy(scores, count, radius + spacing, blocked, by_column=variant == "code")
        assert got.tolist() == want
    plain = F_al.pick_squares(scores.float(), count, radius=radius).tolist()
    assert plain == reference.greedy(scores, count, 2 * radius)


@examples(25)
@given(st.tuples(SIDES, SIDES), st.integers(0, 99), st.integers(0, 2), st.integers(0, 3))
def test_rounds_one_after_another_are_one(shape, seed, radius, spacing):
    """What was asked for blocks in a later round what it did in its own, at the borders too."""
    scores, _ = scene(shape, 5, seed, 0)
    whole = F_al.pick_squares(scores, 9, radius=radius, spacing=spacing)
    asked = torch.zeros(shape, dtype=torch.bool)
    picks = []
    for _ in range(3):
        blocked = F_al.blocked_centres(asked, spacing)
        new = F_al.pick_squares(scores, 3, radius=radius, spacing=spacing, blocked=blocked)
        picks += new.tolist()
        asked |= F_al.asked_pixels(new, shape, radius)
    assert picks == whole.tolist()


def test_squares_never_overlap():
    scores, _ = scene((30, 40), 1000, 0, 0)
    picks = F_al.pick_squares(scores, 200, radius=1)
    times = sum(F_al.asked_pixels(pick[None], (30, 40), 1).int() for pick in picks)
    assert times.max() == 1
    assert torch.equal(times > 0, F_al.asked_pixels(picks, (30, 40), 1))


@pytest.mark.few(1)
@pytest.mark.parametrize("sample", [1, 7, 8192])
def test_how_far_scores_are_sorted_does_not_show(sample, monkeypatch):
    """Most scores are 0, as impurities are; bands end wherever the sample says."""
    monkeypatch.setattr(regions, "_SAMPLE", sample)
    monkeypatch.setattr(regions, "_CHUNK", 5)
    draw = torch.Generator().manual_seed(0)
    scores = torch.randint(4, (30, 40), generator=draw) * (torch.rand(30, 40, generator=draw) < 0.05).float()
    for count in (3, 20, 45):
        assert F_al.pick_squares(scores, count, radius=1).tolist() == reference.greedy(scores, count, 2)
    scores = torch.rand(30, 40, generator=draw)
    assert F_al.pick_squares(scores, 60, radius=1).tolist() == reference.greedy(scores, 60, 2)


def test_scores_are_left_as_they_were():
    scores, blocked = scene((5, 6), 9, 0, 0.3)
    before = scores.clone(), blocked.clone()
    F_al.pick_squares(scores, 3, radius=1, blocked=blocked)
    assert torch.equal(scores, before[0])
    assert torch.equal(blocked, before[1])


def test_blocked_scores_may_be_anything():
    scores = torch.tensor([[1.0, torch.nan, -torch.inf, 3.0]])
    assert F_al.pick_squares(scores, 2, radius=0, blocked=~scores.isfinite()).tolist() == [3, 0]


def best_areas(scores, superpixels, count, blocked):
    names = [n for n in superpixels.unique().tolist() if n >= 0 and not blocked[superpixels == n].any()]
    return sorted(names, key=lambda n: (-reference.mean(scores[superpixels == n].tolist()), n))[:count]


@examples(40)
@given(
    st.tuples(SIDES, SIDES),
    st.integers(0, 99),
    st.sampled_from([0.0, 0.05, 1.0]),
    st.integers(1, 8),
    st.sampled_from([(0, 1), (-2, 1), (5, 10**9)]),
    st.integers(0, 9),
)
def test_superpixels_equal_the_loop(shape, seed, share, areas, numbers, count):
    scores, blocked = scene(shape, 2, seed, share)
    start, step = numbers
    superpixels = start + step * torch.randint(areas, shape, generator=torch.Generator().manual_seed(seed))
    got = F_al.pick_superpixels(scores, superpixels, count, blocked=blocked)
    assert got.tolist() == best_areas(scores, superpixels, count, blocked)
    asked = F_al.asked_superpixels(got, superpixels)
    assert torch.equal(asked, sum((superpixels == n for n in got.tolist()), torch.zeros(shape, dtype=torch.bool)))


S, M = torch.zeros(2, 3), torch.zeros(2, 3, dtype=torch.bool)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F_al.pick_squares(S[0], 1, radius=1), ValueError, r"\(H, W\) with pixels in it, got \(3,\)"),
        (lambda: F_al.pick_squares(S[:0], 1, radius=1), ValueError, r"got \(0, 3\)"),
        (lambda: F_al.pick_squares(S / 0, 1, radius=1), ValueError, "nan at row 0, column 0"),
        (lambda: F_al.pick_squares(S, -1, radius=1), ValueError, "`count` must be at least 0"),
        (lambda: F_al.pick_squares(S, 1, radius=1, spacing=-1), ValueError, "`spacing` must be at least 0"),
        (lambda: F_al.pick_squares(S, 1, radius=1, variant="paper"), ValueError, "'exact', 'code', got 'paper'"),
        (lambda: F_al.pick_squares(S, 1, radius=1, blocked=S), TypeError, "`blocked` must be boolean"),
        (lambda: F_al.pick_squares(S, 1, radius=1, blocked=M[:1]), ValueError, r"\(2, 3\), got \(1, 3\)"),
        (lambda: F_al.asked_pixels(torch.tensor([6]), (2, 3), 1), ValueError, "from 0 to 5, got 6"),
        (lambda: F_al.blocked_centres(S, 1), TypeError, "`asked` must be boolean"),
        (lambda: F_al.blocked_centres(M, -1), ValueError, "`spacing` must be at least 0"),
        (lambda: F_al.pick_superpixels(S, S, 1), ValueError, "must be integers of the shape"),
        (lambda: F_al.pick_superpixels(S, M.long()[:1], 1), ValueError, r"shape \(1, 3\)"),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
