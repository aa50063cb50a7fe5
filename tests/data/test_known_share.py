"""Batches that hold a share of known samples, counted one by one."""

import pytest
import torch
from torch.utils.data import DataLoader

from lightning_al.data.samplers import ShareSampler, known_in_batch


def batches(known, others, *, known_count, size, epoch=0, shuffle=True, drop_last=False, replicas=1):
    """The batches of an epoch, of each rank."""
    of_ranks = []
    for rank in range(replicas):
        sampler = ShareSampler(
            known,
            others,
            known_in_batch=known_count,
            batch_size=size,
            drop_last=drop_last,
            num_replicas=replicas,
            rank=rank,
            shuffle=shuffle,
            seed=7,
        )
        sampler.set_epoch(epoch)
        loader = DataLoader(range(known + others), batch_size=size, sampler=sampler, drop_last=drop_last)
        of_ranks.append([batch.tolist() for batch in loader])
        assert len(loader) == len(of_ranks[-1])
    return of_ranks


@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("replicas", [1, 2, 3])
@pytest.mark.parametrize(("known", "others", "known_count", "size"), [(40, 3, 2, 4), (3, 40, 1, 5), (7, 7, 3, 4)])
def test_every_batch_is_full_and_has_its_share_first(known, others, known_count, size, replicas, drop_last):
    per_rank = -(-(known + others) // replicas)
    for of_rank in batches(known, others, known_count=known_count, size=size, replicas=replicas, drop_last=drop_last):
        assert len(of_rank) == (per_rank // size if drop_last else -(-per_rank // size))
        for batch in of_rank:
            assert [number < known for number in batch] == [True] * known_count + [False] * (size - known_count)


@pytest.mark.parametrize("replicas", [1, 2, 3])
def test_of_each_kind_none_comes_again_before_all_did(replicas):
    """Whatever the number of processes: what they see together, batch by batch, is one stream of each kind."""
    of_ranks = batches(10, 4, known_count=2, size=3, replicas=replicas)
    for is_known, count in ((True, 10), (False, 4)):
        stream = []
        for step in range(len(of_ranks[0])):
            of_step = [[n for n in of_rank[step] if (n < 10) == is_known] for of_rank in of_ranks]
            stream += [n for together in zip(*of_step, strict=True) for n in together]
        for at in range(0, len(stream) - count + 1, count):
            assert len({*stream[at : at + count]}) == count


def test_ranks_deal_one_order_out():
    one = batches(8, 8, known_count=1, size=2, replicas=1)[0]
    two = batches(8, 8, known_count=1, size=2, replicas=2)
    together = [[a, b] for batches_of_step in zip(*two, strict=True) for a, b in batches_of_step]
    assert together == one


def test_epochs_differ_as_shuffle_says_and_come_again_the_same():
    def orders(shuffle):
        return [batches(9, 5, known_count=1, size=2, epoch=e, shuffle=shuffle) for e in (0, 1, 0)]

    first, second, again = orders(True)
    assert first == again != second
    plain, same, _ = orders(False)
    assert plain == same
    assert [n for batch in plain[0] for n in batch][:6] == [0, 9, 1, 10, 2, 11]


@pytest.mark.parametrize(("share", "size", "count"), [(0.5, 4, 2), (1 / 3, 9, 3), (0.1, 10, 1), (0.7, 10, 7)])
def test_a_share_that_a_batch_can_hold(share, size, count):
    assert known_in_batch(share, size) == count


@pytest.mark.parametrize(
    ("share", "size", "words"),
    [
        (0.5, 5, "is 2.5 samples.* Near to it is 0.2 or 0.4 or 0.6"),
        (0.1, 4, "is 0.4 samples.* Near to it is 0.25"),
        (0.99, 4, "Near to it is 0.75;"),
        (0.5, 1, "Near to it is none; or take another batch size"),
    ],
)
def test_a_share_that_a_batch_cannot_hold(share, size, words):
    with pytest.raises(ValueError, match=words):
        known_in_batch(share, size)


def test_numbers_are_those_of_known_and_others():
    seen = torch.tensor(batches(6, 2, known_count=1, size=2, shuffle=False)[0]).flatten().unique()
    assert seen.tolist() == [0, 1, 2, 3, 6, 7]
