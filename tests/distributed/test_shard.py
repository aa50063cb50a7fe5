"""Blocks of rows, each with one process, seen as a whole."""

import pytest
import torch

from lightning_al.distributed.shard import Shard
from tests.helpers.ranks import in_processes


def blocks_of(*edges):
    """Shard.of_blocks over as many processes as there are pairs."""
    return lambda rank: Shard.of_blocks(range(*edges[rank]), 6, torch.device("cpu"))


@pytest.mark.few(2)
@pytest.mark.parametrize("edges", [[(0, 6)], [(0, 2), (2, 6)], [(0, 0), (0, 5), (5, 6)], [(2, 6), (0, 2), (0, 2)]])
def test_a_shard_finds_the_largest_and_its_row(edges):
    values = torch.tensor([1.0, 3.0, 2.9999999, 3.0, 2.0, 3.0000001], dtype=torch.float64)
    table = torch.arange(24.0).reshape(6, 2, 2)

    def find(rank):
        shard = blocks_of(*edges)(rank)
        held = slice(shard.block.start, shard.block.stop)
        mine, few = values[held], -values[held].round()
        wide, count = shard.row(4, table[held], torch.arange(6)[held])
        close = shard.largest(mine, lambda index, value: 1e-6)
        return (
            [shard.largest(mine), shard.largest(few), close, shard.largest(mine * 0)],
            (wide.tolist(), int(count), str(count.dtype)),
            [sorted(shard.gather(list(shard.block)))],
            shard.concatenate(table[held][: rank + 1]).shape[1:],
        )

    top, row, gathered, shape = in_processes(find, len(edges))[0]
    assert top == [(values.max(), 5), (-1.0, 0), (values.max(), 1), (0.0, 0)]
    assert row == ([[16.0, 17.0], [18.0, 19.0]], 4, "torch.int64")
    assert sorted(i for part in gathered for rows in part for i in (rows if isinstance(rows, list) else [rows])) == [
        *range(6)
    ]
    assert shape == (2, 2)
    assert all(result == (top, row, gathered, shape) for result in in_processes(find, len(edges)))


def test_ties_do_not_chain_from_process_to_process():
    """Rank 0's first value is a tie with rank 0's largest, but not with the largest of all."""
    values = torch.tensor([9.0, 9.8, 9.7, 10.5])

    def find(rank):
        shard = Shard.of_blocks(range(3 * rank, 3 + rank), 4, torch.device("cpu"))
        return shard.largest(values[shard.block.start : shard.block.stop], lambda i, value: 0.8)

    assert Shard.whole(4).largest(values, lambda i, value: 0.8) == (10.5, 1)
    assert in_processes(find, 2) == [(10.5, 1)] * 2


def test_ties_are_as_wide_as_at_the_largest_of_all():
    values = torch.tensor([9.0, 9.5, 9.7, 10.0])

    def slack(index, value):
        return 1.0 if value == 10 else 0.25

    def find(rank):
        shard = Shard.of_blocks(range(3 * rank, 3 + rank), 4, torch.device("cpu"))
        return shard.largest(values[shard.block.start : shard.block.stop], slack)

    assert Shard.whole(4).largest(values, slack) == (10.0, 0)
    assert in_processes(find, 2) == [(10.0, 0)] * 2


@pytest.mark.few(2)
@pytest.mark.parametrize("edges", [[(0, 2), (3, 6)], [(0, 4), (2, 6)], [(0, 3), (3, 5)], [(0, 0), (0, 0)]])
def test_blocks_that_do_not_fit_together_are_refused_everywhere(edges):
    for result in in_processes(blocks_of(*edges), 2):
        assert "do not make up 0 to 6 exactly once" in result


def test_a_whole_shard_asks_nobody():
    """Within a group: rank 1 does not take part."""

    def alone(rank):
        if rank:
            return None
        shard = Shard.whole(3)
        top = shard.largest(torch.tensor([1.0, 2.0, 2.0]))
        return top, shard.gather(7), shard.row(2, torch.arange(3))[0].item(), len(shard.concatenate(torch.ones(2, 1)))

    assert in_processes(alone, 2)[0] == ((2.0, 1), [7], 2, 2)
