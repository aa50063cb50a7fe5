from collections import Counter
from itertools import islice

import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.acquisition.adversarial.training import EndlessBatches

# What is trained, step by step: tests/acquisition/adversarial_reference.py, by way of the contract test.


@given(st.sets(st.integers(0, 99), min_size=1, max_size=12), st.integers(1, 40), st.integers(0, 5))
def test_every_sample_comes_equally_often(indices, size, seed):
    batches = EndlessBatches(torch.tensor(sorted(indices)), size, seed)
    some = list(islice(batches, 9))
    assert {len(batch) for batch in some} == {size}
    seen = Counter(i for batch in some for i in batch)
    assert set(seen) <= indices
    assert max(seen.values()) - min(seen[i] for i in indices) <= 1
    assert list(islice(batches, 9)) == some


def test_orders_differ():
    first, second = islice(EndlessBatches(torch.arange(50), 50, 0), 2)
    assert first != second
    assert first != next(iter(EndlessBatches(torch.arange(50), 50, 1)))
