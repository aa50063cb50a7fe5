"""The user's train loader as the template of others."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given
from torch.utils.data import DataLoader, DistributedSampler, RandomSampler, TensorDataset

from lightning_al.data.template import LoaderTemplate

DATA = TensorDataset(torch.arange(30))


@given(labels=st.integers(1, 30), num_replicas=st.integers(1, 4), batch_size=st.integers(1, 7), drop_last=st.booleans())
def test_an_epoch_has_the_batches_that_a_loader_gives(labels, num_replicas, batch_size, drop_last):
    template = LoaderTemplate(DataLoader(DATA, batch_size=batch_size, drop_last=drop_last))
    epoch = template.epoch(labels=labels, num_replicas=num_replicas)
    some = TensorDataset(torch.arange(labels))
    sampler = DistributedSampler(some, num_replicas=num_replicas, rank=0)
    loader = template.loader(some, sampler=sampler, batch_size=template.batch_size, drop_last=template.drop_last)
    assert (epoch.samples, epoch.batches) == (len(sampler), len(list(loader)))


@pytest.mark.parametrize(
    ("options", "shuffle"),
    [
        ({}, False),
        ({"shuffle": True}, True),
        ({"sampler": RandomSampler(DATA)}, True),
        ({"sampler": DistributedSampler(DATA, num_replicas=1, rank=0)}, True),
        ({"sampler": DistributedSampler(DATA, num_replicas=1, rank=0, shuffle=False)}, False),
    ],
)
def test_whether_the_users_loader_shuffles(options, shuffle):
    assert LoaderTemplate(DataLoader(DATA, **options)).shuffle is shuffle


def test_settings_are_taken_over_unless_changed():
    template = LoaderTemplate(DataLoader(DATA, batch_size=4, num_workers=2, prefetch_factor=5, in_order=False))
    loader = template.loader(DATA, in_order=True)
    assert (loader.num_workers, loader.prefetch_factor, loader.in_order) == (2, 5, True)
    assert loader.batch_size == 1
