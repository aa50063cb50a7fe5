"""BADGE and greedy k-center beside their definitions, and all greedy selectors on several processes."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lightning_al.distributed.randomness import Race
from lightning_al.distributed.shard import Shard
from lightning_al.functional import badge, k_center_greedy, kmeans_plusplus
from lightning_al.functional.geometry import nearest
from tests.distributed.test_ranks import in_processes
from tests.helpers.models import randn

SEEDS = st.integers(0, 2**31)


@pytest.fixture(params=[None, 5], ids=["whole", "blocks"], autouse=True, scope="module")
def _size_of_blocks(request):
    """As they are, which holds small sets whole, and a few rows at a time."""
    with pytest.MonkeyPatch.context() as patch:
        if request.param:
            patch.setattr(nearest, "_BLOCK", request.param)
        yield


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def first_of(values, tolerance=1e-9):
    """The lowest position of the largest value, up to rounding."""
    return int(torch.nonzero(values >= values.max() - tolerance * values.abs().max())[0])


# ------------------------------------------------------------------------------------------------------ the definitions


def materialised(residuals, features, k, generator):
    """BADGE over the outer products themselves, in float64; the same race."""
    g = torch.einsum("nc,nd->ncd", residuals.double(), features.double()).flatten(1)
    race = Race(generator, torch.arange(len(g)))
    norms = g.norm(dim=1)
    picks = [first_of(norms)]
    while len(picks) < k:
        weights = torch.cdist(g, g[picks], compute_mode="donot_use_mm_for_euclid_dist").amin(1).square()
        if weights.max() <= 1e-12 * norms.max() ** 2:
            norms[picks] = -1.0
            picks.append(first_of(norms))
        else:
            picks.append(int((weights / race.exponentials(len(picks))).argmax()))
    return picks


def by_hand(features, k, labelled):
    """Greedy k-center with nothing kept from pick to pick, in float64."""
    x = features.double()
    centres = [] if labelled is None else list(labelled.double())
    picks = []
    while len(picks) < k:
        if not centres:
            key = -(x - x.mean(0)).square().sum(1)
        else:
            key = torch.stack([(x - c).square().sum(1) for c in centres]).amin(0)
            if key.max() <= 1e-12 * x.square().sum(1).max():
                key = torch.zeros(len(x), dtype=torch.float64)
                key[picks] = -1.0
        picks.append(first_of(key))
        centres.append(x[picks[-1]])
    return picks


@st.composite
def rows(draw, width, n=None):
    """Some rows twice, some zero; few values, so that many distances are equal."""
    n = draw(st.integers(1, 12)) if n is None else n
    value = st.sampled_from([-2.0, -0.5, 0.0, 0.0, 1.0, 3.0])
    return torch.tensor(draw(st.lists(st.tuples(*[value] * width), min_size=n, max_size=n)), dtype=torch.float64)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3), st.integers(1, 3), SEEDS, st.data())
def test_badge_is_k_means_over_the_materialised_gradients(classes, width, seed, data):
    residuals = data.draw(rows(classes))
    features = data.draw(rows(width, len(residuals)))
    k = data.draw(st.integers(1, len(residuals)))
    got = badge(residuals, features, k, generator=seeded(seed)).tolist()
    assert len(set(got)) == k
    assert got == materialised(residuals, features, k, seeded(seed))


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 3), st.data())
def test_k_center_is_the_farthest_from_its_nearest_centre(width, data):
    features = data.draw(rows(width))
    labelled = data.draw(st.one_of(st.none(), rows(width)))
    k = data.draw(st.integers(1, len(features)))
    got = k_center_greedy(features, k, labelled=labelled).tolist()
    assert len(set(got)) == k
    assert got == by_hand(features, k, labelled)


@pytest.mark.parametrize(("n", "classes", "width"), [(300, 10, 32), (257, 50, 65)])
def test_random_rows(n, classes, width):
    residuals = randn(n, classes).softmax(1) - torch.nn.functional.one_hot(torch.arange(n) % classes, classes)
    features = randn(n, width, seed=2)
    wanted = materialised(residuals, features, 20, seeded(3))
    assert badge(residuals, features, 20, generator=seeded(3)).tolist() == wanted
    assert k_center_greedy(features, 20).tolist() == by_hand(features, 20, None)
    wanted = by_hand(features[50:], 20, features[:50])
    assert k_center_greedy(features[50:], 20, labelled=features[:50]).tolist() == wanted


def test_more_than_one_block_of_rows():
    features = randn(3000, 1500)
    assert k_center_greedy(features, 5).tolist() == by_hand(features, 5, None)
    assert k_center_greedy(features.float(), 5).tolist() == by_hand(features, 5, None)
    ones = torch.ones(3000, 1, dtype=torch.float64)
    wanted = materialised(ones, features, 5, seeded(3))
    assert badge(ones, features, 5, generator=seeded(3)).tolist() == wanted
    assert kmeans_plusplus(features, 5, generator=seeded(3)).tolist() == wanted


def test_more_labelled_rows_than_are_compared_at_once():
    features = randn(2300, 3)
    assert k_center_greedy(features[2100:], 5, labelled=features[:2100]).tolist() == by_hand(
        features[2100:], 5, features[:2100]
    )


def test_badge_with_ones_is_kmeans_plusplus():
    features = randn(200, 5)
    for seed in range(5):
        ones = badge(torch.ones(200, 1).double(), features, 30, generator=seeded(seed))
        assert torch.equal(ones, kmeans_plusplus(features, 30, generator=seeded(seed)))


def test_the_second_badge_pick_follows_squared_distances():
    residuals = torch.tensor([[1.0, -1.0], [0.5, -0.5], [0.5, -0.5], [0.0, 0.0]])
    features = torch.tensor([[2.0], [2.0], [0.0], [1.0]])
    weights = torch.tensor([0.0, 2.0, 8.0, 8.0])  # ‖(2, -2) - (1, -1)‖², and the norm of the first
    count = 3000
    seconds = torch.tensor([int(badge(residuals, features, 2, generator=seeded(s))[1]) for s in range(count)])
    counts = torch.bincount(seconds, minlength=4)
    share = weights / weights.sum()
    assert counts[0] == 0
    assert float(((counts - count * share)[1:].square() / (count * share[1:])).sum()) < 13.8  # chi-square, p = 0.001


# ----------------------------------------------------------------------------------------------------------- hard cases

ALL = {
    "kmeans_plusplus": lambda x, k, **o: kmeans_plusplus(x, k, generator=seeded(), **o),
    "badge": lambda x, k, **o: badge(x[:, :2], x, k, generator=seeded(), **o),
    "k_center": k_center_greedy,
}


@pytest.mark.parametrize("select", ALL.values(), ids=ALL)
def test_zeros_and_equal_rows_go_by_position(select):
    for x in (torch.zeros(6, 3), torch.ones(6, 3), randn(1, 3).expand(6, 3)):
        for k in (0, 1, 4, 6):
            assert select(x, k).tolist() == list(range(k))
    assert select(torch.zeros(0, 3), 0).shape == (0,)


def test_one_class_has_no_gradient():
    """Softmax over one class leaves residuals of zero: by position."""
    assert badge(torch.zeros(5, 1), randn(5, 4), 3, generator=seeded()).tolist() == [0, 1, 2]


@pytest.mark.parametrize("select", ALL.values(), ids=ALL)
@pytest.mark.parametrize("shape", [(67, 8), (1001, 700), (2503, 2048)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_of_equal_rows_the_first_is_picked_and_never_two(select, shape, dtype):
    """Whatever kernel a row's place in the block gives it to; all values positive, as after a ReLU."""
    if shape[0] > 2000 and dtype == torch.float64:
        shape = (2503, 512)
    base = randn(12, shape[1]).relu() + 0.5
    where = torch.arange(shape[0]) % 12
    x = base[where].to(dtype)
    got = select(x, 40)
    assert sorted(where[got[:12]].tolist()) == list(range(12))
    assert len(set(got.tolist())) == 40
    if select is k_center_greedy:
        assert got[:12].max() < 12
        assert got[12:].tolist() == list(range(12, 40))


@pytest.mark.parametrize("select", ALL.values(), ids=ALL)
@pytest.mark.parametrize("scale", [2.0**-500, 1e-200, 1e-30, 1e30, 2.0**500])
def test_scale_does_not_matter(select, scale):
    x = randn(60, 4)
    assert torch.equal(select(x * scale, 25), select(x, 25))
    if 1e-31 < scale < 1e31:
        assert torch.equal(select((x * scale).float(), 25), select(x, 25))


def test_a_common_offset_costs_little():
    x = randn(500, 16)
    far = (x + 1000).float()
    picks = k_center_greedy(far, 30).tolist()
    between = torch.cdist(far.double(), far.double(), compute_mode="donot_use_mm_for_euclid_dist")
    for i in range(1, 30):
        nearest = between[:, picks[:i]].amin(1)
        assert nearest[picks[i]] > 0.995 * nearest.max()


def test_labelled_rows_are_not_picked_again():
    x = randn(20, 3)
    got = k_center_greedy(x, 8, labelled=x[5:15])
    assert not set(got.tolist()) & set(range(5, 15))
    assert k_center_greedy(x, 12, labelled=x[5:15])[10:].tolist() == [5, 6]
    assert k_center_greedy(x, 4, labelled=x[:0]).tolist() == k_center_greedy(x, 4).tolist()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_distance_hardly_above_rounding_brings_none_back(dtype):
    """Far from the origin, where the last distance left is as large as what counts as 0, or 1e-7 more."""
    eps = 32 * torch.finfo(dtype).eps
    step, most = (1e-4, 1e-3) if dtype == torch.float32 else (1e-13, 1e-12)
    x = torch.tensor([[100, 0, most], [100, step, 0], [100, -step, 0], [100, 0, -most]], dtype=dtype)
    bound = math.sqrt(eps * (2 * step**2 + 200 * step)) - step
    for i in range(-20, 40):
        labelled = torch.tensor([[100, -bound * (1 + i * torch.finfo(dtype).eps), 0]], dtype=dtype)
        assert sorted(k_center_greedy(x, 4, labelled=labelled).tolist()) == [0, 1, 2, 3]


@pytest.mark.parametrize("select", ALL.values(), ids=ALL)
def test_takes_what_others_hand_over(select):
    x = randn(50, 6).float()
    plain = select(x, 10).tolist()
    strided = torch.stack([x, x], 2)[:, :, 0]
    assert not strided.is_contiguous()
    assert select(strided, 10).tolist() == plain
    assert select(x.clone().requires_grad_(), 10).tolist() == plain
    before = x.clone()
    select(x, 50)
    assert torch.equal(x, before)
    assert len(set(select((x * 10).long(), 30).tolist())) == 30


def test_ids_that_move_with_the_rows_move_the_picks():
    residuals, features = randn(40, 4), randn(40, 6, seed=2)
    ids = 1000 + 13 * torch.arange(40)
    order = torch.randperm(40, generator=seeded(5))
    for seed in range(5):
        plain = badge(residuals, features, 15, generator=seeded(seed), ids=ids)
        moved = badge(residuals[order], features[order], 15, generator=seeded(seed), ids=ids[order])
        assert order[moved].tolist() == plain.tolist()


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_refuses_what_is_not_finite_and_says_where(bad):
    x, broken = torch.ones(30, 2), torch.ones(30, 2)
    broken[[4, 7], 1] = bad
    where = r"has NaN or infinite values at positions \[4, 7\] \(2 in all\)"
    with pytest.raises(ValueError, match=f"`residuals` {where}"):
        badge(broken, x, 2, generator=seeded())
    with pytest.raises(ValueError, match=f"`features` {where}"):
        badge(x, broken, 2, generator=seeded())
    with pytest.raises(ValueError, match=f"`features` {where}"):
        k_center_greedy(broken, 2)
    with pytest.raises(ValueError, match=f"`labelled` {where}"):
        k_center_greedy(x, 2, labelled=broken)


def test_refuses_what_does_not_fit():
    x = torch.ones(3, 2)
    for k in (-1, 4):
        for select in ALL.values():
            with pytest.raises(ValueError, match=f"k = {k} of 3 candidates"):
                select(x, k)
    with pytest.raises(ValueError, match=r"`features` must have shape \(N, d\), d >= 1, got \(3,\)"):
        k_center_greedy(torch.ones(3), 1)
    with pytest.raises(ValueError, match=r"`residuals` must have shape .* got \(3, 0\)"):
        badge(torch.ones(3, 0), x, 1, generator=seeded())
    with pytest.raises(ValueError, match=r"as many rows of each, got \{'residuals': 2, 'features': 3\}"):
        badge(x[:2], x, 1, generator=seeded())
    with pytest.raises(ValueError, match=r"as wide as `features`, got \(4, 3\) beside \(3, 2\)"):
        k_center_greedy(x, 1, labelled=torch.ones(4, 3))
    with pytest.raises(ValueError, match=r"`ids` must be 3 integers, got torch.int64 of shape \(2,\)"):
        badge(x, x, 1, generator=seeded(), ids=torch.arange(2))
    with pytest.raises(ValueError, match=r"`ids` must be 3 integers, got torch\.float32"):
        kmeans_plusplus(x, 1, generator=seeded(), ids=torch.ones(3))
    with pytest.raises(ValueError, match="The shard has 4 rows here"):
        k_center_greedy(x, 1, shard=Shard.whole(4))


# ---------------------------------------------------------------------------------------------------- several processes


def everything(residuals, features, scores, labelled, shard=None):
    """What each selector picks; distinct rows in a random order, some twice."""
    ids = torch.arange(1000, 1000 + len(features)) if shard is None else 1000 + torch.tensor(list(shard.block)).long()
    k = 25
    options = {"ids": ids, "shard": shard}
    return [
        kmeans_plusplus(scores, k, generator=seeded(), **options).tolist(),
        kmeans_plusplus(features, k, generator=seeded(), **options).tolist(),
        kmeans_plusplus(features, k, generator=seeded(), first=3, **options).tolist(),
        badge(residuals, features, k, generator=seeded(), **options).tolist(),
        k_center_greedy(features, k, shard=shard).tolist(),
        k_center_greedy(features, k, labelled=labelled, shard=shard).tolist(),
    ]


BLOCKS = [
    [(0, 41)],
    [(0, 41), (41, 41)],
    [(0, 0), (0, 41)],
    [(0, 20), (20, 41)],
    [(0, 40), (40, 41), (41, 41)],
    [(0, 1), (1, 17), (17, 41)],
    [(0, 30), (0, 30), (30, 41)],  # two tensor-parallel ranks with the same rows
]


@pytest.mark.parametrize("distinct", [35, 20])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("blocks", BLOCKS, ids=str)
def test_any_number_of_processes_picks_the_same(blocks, dtype, distinct):
    rows = torch.randperm(41, generator=seeded(4)) % distinct  # with 20, all are covered before 25 are picked
    residuals, features = randn(41, 3)[rows].to(dtype), randn(41, 7, seed=2)[rows].to(dtype)
    scores, labelled = randn(41, seed=3)[rows], randn(5, 7, seed=5).to(dtype)
    labelled[1] = features[2]

    def select(rank):
        start, stop = blocks[rank]
        shard = Shard.of_blocks(range(start, stop), 41, torch.device("cpu"))
        some = labelled[rank :: len(blocks)] if rank else labelled[:: len(blocks)]
        held = slice(start, stop)
        return everything(residuals[held], features[held], scores[held], some, shard)

    wanted = everything(residuals, features, scores, labelled)
    assert all(len(set(picks)) == 25 for picks in wanted)
    assert in_processes(select, len(blocks)) == [wanted] * len(blocks)


def test_every_process_hears_of_a_nan_in_one():
    def select(rank):
        features = torch.ones(4, 2)
        features[rank] = math.nan if rank else 1.0
        shard = Shard.of_blocks(range(4 * rank, 4 * rank + 4), 8, torch.device("cpu"))
        return k_center_greedy(features, 2, shard=shard)

    for result in in_processes(select, 2):
        assert "`features` has NaN or infinite values at positions [5] (1 in all)" in result


def test_labelled_rows_on_one_process_only():
    x = randn(20, 3)

    def select(rank):
        shard = Shard.of_blocks(range(10 * rank, 10 * rank + 10), 20, torch.device("cpu"))
        return k_center_greedy(
            x[10 * rank : 10 * rank + 10], 6, labelled=None if rank else x[4:9], shard=shard
        ).tolist()

    assert in_processes(select, 2) == [k_center_greedy(x, 6, labelled=x[4:9]).tolist()] * 2
