"""What all greedy selectors promise: ties, scale, errors, and the same picks on any number of processes."""

import itertools
import math

import pytest
import torch

from lightning_al.distributed.shard import Shard
from lightning_al.functional import badge, k_center_greedy, kmeans_plusplus
from tests.helpers.greedy import farthest_first, generator, materialised
from tests.helpers.marks import slow
from tests.helpers.models import randn
from tests.helpers.ranks import in_processes


@pytest.mark.few(3)
@pytest.mark.usefixtures("size_of_blocks")
@pytest.mark.parametrize(("n", "classes", "width"), [(300, 10, 32), (257, 50, 65)])
def test_random_rows(n, classes, width):
    residuals = randn(n, classes).softmax(1) - torch.nn.functional.one_hot(torch.arange(n) % classes, classes)
    features = randn(n, width, seed=2)
    wanted = materialised(residuals, features, 20, generator(3))
    assert badge(residuals, features, 20, generator=generator(3)).tolist() == wanted
    assert k_center_greedy(features, 20).tolist() == farthest_first(features, 20, None)
    wanted = farthest_first(features[50:], 20, features[:50])
    assert k_center_greedy(features[50:], 20, labelled=features[:50]).tolist() == wanted


@pytest.mark.slow
def test_more_than_one_block_of_rows():
    features = randn(3000, 1500)
    assert k_center_greedy(features, 5).tolist() == farthest_first(features, 5, None)
    assert k_center_greedy(features.float(), 5).tolist() == farthest_first(features, 5, None)
    ones = torch.ones(3000, 1, dtype=torch.float64)
    wanted = materialised(ones, features, 5, generator(3))
    assert badge(ones, features, 5, generator=generator(3)).tolist() == wanted
    assert kmeans_plusplus(features, 5, generator=generator(3)).tolist() == wanted


ALL = {
    "kmeans_plusplus": lambda x, k, **o: kmeans_plusplus(x, k, generator=generator(), **o),
    "badge": lambda x, k, **o: badge(x[:, :2], x, k, generator=generator(), **o),
    "k_center": k_center_greedy,
}


@pytest.mark.usefixtures("size_of_blocks")
@pytest.mark.parametrize("select", ALL.values(), ids=ALL)
def test_zeros_and_equal_rows_go_by_position(select):
    for x in (torch.zeros(6, 3), torch.ones(6, 3), randn(1, 3).expand(6, 3)):
        for k in (0, 1, 4, 6):
            assert select(x, k).tolist() == list(range(k))
    assert select(torch.zeros(0, 3), 0).shape == (0,)


@pytest.mark.few(3)
@pytest.mark.parametrize("select", ALL.values(), ids=ALL)
@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((67, 8), torch.float32),
        ((1001, 700), torch.float32),
        ((1001, 700), torch.float64),
        ((1001, 700), torch.bfloat16),
        pytest.param((67, 8), torch.float64, marks=pytest.mark.slow),
        pytest.param((67, 8), torch.bfloat16, marks=pytest.mark.slow),
        pytest.param((2503, 2048), torch.float32, marks=pytest.mark.slow),
        pytest.param((2503, 512), torch.float64, marks=pytest.mark.slow),
        pytest.param((2503, 2048), torch.bfloat16, marks=pytest.mark.slow),
    ],
)
def test_of_equal_rows_the_first_is_picked_and_never_two(select, shape, dtype):
    """Whatever kernel a row's place in the block gives it to; all values positive, as after a ReLU."""
    base = randn(12, shape[1]).relu() + 0.5
    where = torch.arange(shape[0]) % 12
    x = base[where].to(dtype)
    got = select(x, 40)
    assert sorted(where[got[:12]].tolist()) == list(range(12))
    assert len(set(got.tolist())) == 40
    if select is k_center_greedy:
        assert got[:12].max() < 12
        assert got[12:].tolist() == list(range(12, 40))


@pytest.mark.few(6)
@pytest.mark.parametrize("select", ALL.values(), ids=ALL)
@pytest.mark.parametrize("scale", [2.0**-500, 1e-200, 1e-30, 1e30, 2.0**500])
def test_scale_does_not_matter(select, scale):
    x = randn(60, 4)
    assert torch.equal(select(x * scale, 25), select(x, 25))
    if 1e-31 < scale < 1e31:
        assert torch.equal(select((x * scale).float(), 25), select(x, 25))


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


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_refuses_what_is_not_finite_and_says_where(bad):
    x, broken = torch.ones(30, 2), torch.ones(30, 2)
    broken[[4, 7], 1] = bad
    where = r"has NaN or infinite values at positions \[4, 7\] \(2 in all\)"
    with pytest.raises(ValueError, match=f"`residuals` {where}"):
        badge(broken, x, 2, generator=generator())
    with pytest.raises(ValueError, match=f"`features` {where}"):
        badge(x, broken, 2, generator=generator())
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
        badge(torch.ones(3, 0), x, 1, generator=generator())
    with pytest.raises(ValueError, match=r"as many rows of each, got \{'residuals': 2, 'features': 3\}"):
        badge(x[:2], x, 1, generator=generator())
    with pytest.raises(ValueError, match=r"as wide as `features`, got \(4, 3\) beside \(3, 2\)"):
        k_center_greedy(x, 1, labelled=torch.ones(4, 3))
    with pytest.raises(ValueError, match=r"`ids` must be 3 integers, got torch.int64 of shape \(2,\)"):
        badge(x, x, 1, generator=generator(), ids=torch.arange(2))
    with pytest.raises(ValueError, match=r"`ids` must be 3 integers, got torch\.float32"):
        kmeans_plusplus(x, 1, generator=generator(), ids=torch.ones(3))
    with pytest.raises(ValueError, match="The shard has 4 rows here"):
        k_center_greedy(x, 1, shard=Shard.whole(4))


def everything(residuals, features, scores, labelled, shard=None):
    """What each selector picks; distinct rows in a random order, some twice."""
    ids = torch.arange(1000, 1000 + len(features)) if shard is None else 1000 + torch.tensor(list(shard.block)).long()
    k = 25
    options = {"ids": ids, "shard": shard}
    return [
        kmeans_plusplus(scores, k, generator=generator(), **options).tolist(),
        kmeans_plusplus(features, k, generator=generator(), **options).tolist(),
        kmeans_plusplus(features, k, generator=generator(), first=3, **options).tolist(),
        badge(residuals, features, k, generator=generator(), **options).tolist(),
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


QUICK = [
    (None, 2, torch.float32, 20),
    (None, 5, torch.float32, 20),
    (5, 3, torch.float32, 20),
    (5, 6, torch.float32, 20),
]


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("size_of_blocks", "blocks", "dtype", "distinct"),
    [
        *QUICK,
        *(
            slow(*case)
            for case in itertools.product((None, 5), range(len(BLOCKS)), (torch.float32, torch.float64), (20, 35))
            if case not in QUICK
        ),
    ],
    indirect=["size_of_blocks"],
)
def test_any_number_of_processes_picks_the_same(size_of_blocks, blocks, dtype, distinct):
    blocks = BLOCKS[blocks]
    rows = torch.randperm(41, generator=generator(4)) % distinct  # with 20, all are covered before 25 are picked
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


@pytest.mark.usefixtures("size_of_blocks")
def test_labelled_rows_on_one_process_only():
    x = randn(20, 3)

    def select(rank):
        shard = Shard.of_blocks(range(10 * rank, 10 * rank + 10), 20, torch.device("cpu"))
        return k_center_greedy(
            x[10 * rank : 10 * rank + 10], 6, labelled=None if rank else x[4:9], shard=shard
        ).tolist()

    assert in_processes(select, 2) == [k_center_greedy(x, 6, labelled=x[4:9]).tolist()] * 2
