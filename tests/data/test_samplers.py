"""The order of samples in an epoch, and the pool divided among processes."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch.utils.data import TensorDataset

from lightning_al.data.samplers import BlockSampler, EpochSampler, PoolPass


def test_workers_are_seeded_by_epoch():
    sampler = EpochSampler(TensorDataset(torch.zeros(4)), num_replicas=1, rank=0, shuffle=True, seed=5)
    first = torch.rand(1, generator=sampler.generator)
    sampler.set_epoch(1)
    second = torch.rand(1, generator=sampler.generator)
    sampler.set_epoch(0)
    assert first == torch.rand(1, generator=sampler.generator) != second


@given(n=st.integers(0, 60), multiple=st.integers(1, 9), world=st.integers(1, 5))
def test_blocks_are_contiguous_whole_and_cut_at_multiples(n, multiple, world):
    samplers = [BlockSampler(range(n), multiple=multiple, num_replicas=world, rank=r) for r in range(world)]
    blocks = [list(sampler.block) for sampler in samplers]
    assert [i for block in blocks for i in block] == list(range(n))
    assert all(block[0] % multiple == 0 for block in blocks if block)
    groups = [-(-len(block) // multiple) for block in blocks]
    assert max(groups) - min(groups) <= 1
    for sampler in samplers:
        assert len(sampler) == len(list(sampler))
        assert list(sampler) == [*sampler.block, *list(sampler.block)[-1:] * sampler.repeated]
    if multiple == 1 and n >= world:
        assert len({len(sampler) for sampler in samplers}) == 1


@pytest.mark.parametrize(("count", "seen"), [(9, [range(6), range(6, 9)]), (3, [range(3), range(3)])])
def test_fewer_groups_than_processes_are_seen_by_all(count, seen):
    """Lightning cannot predict over an empty shard."""
    samples = PoolPass(torch.arange(100, 100 + count), multiple=3)
    assert [samples.sampler(num_replicas=2, rank=rank).block for rank in (0, 1)] == seen
    assert samples.whole_groups(7) == 9
    assert samples.whole_groups(6) == 6
