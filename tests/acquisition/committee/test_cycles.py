"""Cycles of the learning rate against the formula, batch by batch."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.acquisition.committee.cycles import Cycles, scale_rates


@given(count=st.integers(1, 7), more=st.integers(0, 40))
def test_cycles_are_as_equal_as_can_be_and_each_falls_from_the_top(count, more):
    batches = count + more
    cycles = Cycles(count, batches)
    ends = [done for done in range(batches + 1) if cycles.ended(done) is not None]
    assert [cycles.ended(done) for done in ends] == list(range(count))
    assert ends[-1] == batches
    starts = [0, *ends[:-1]]
    lengths = [end - start for start, end in zip(starts, ends, strict=True)]
    assert max(lengths) - min(lengths) <= 1
    for start, length in zip(starts, lengths, strict=True):
        got = [cycles.factor(start + t) for t in range(length)]
        assert got == pytest.approx([0.5 * (math.cos(math.pi * t / length) + 1) for t in range(length)])


def test_rates_are_scaled_from_what_the_optimizer_was_made_with():
    weights = [torch.nn.Parameter(torch.zeros(1)) for _ in range(3)]
    optimizer = torch.optim.SGD([{"params": weights[:1], "lr": 0.5}, {"params": weights[1:2]}], lr=0.1)
    held = torch.optim.Adam(weights[2:], lr=torch.tensor(0.2), capturable=False, foreach=False)
    for factor in (1.0, 0.25, 0.5):
        scale_rates([optimizer, held], factor)
        assert [g["lr"] for g in optimizer.param_groups] == pytest.approx([0.5 * factor, 0.1 * factor])
        assert isinstance(held.param_groups[0]["lr"], torch.Tensor)
        assert float(held.param_groups[0]["lr"]) == pytest.approx(0.2 * factor)
    again = torch.optim.SGD([{"params": weights[:1]}, {"params": weights[1:2]}], lr=0.1)
    again.load_state_dict(optimizer.state_dict())  # of a killed round
    scale_rates([again], 1.0)
    assert [g["lr"] for g in again.param_groups] == pytest.approx([0.5, 0.1])
