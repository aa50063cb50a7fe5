"""Random draws in the second pass."""

import pytest
import torch
from torch import nn

from tests.helpers.marks import slow
from tests.helpers.sam_reference import (
    AutoFront,
    ManualFront,
    Plain,
    fitted,
    loader,
    network,
)


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.masks = network(), []

    def forward(self, x):
        mask = torch.rand(x.shape) < 0.5
        self.masks.append(mask)
        return self.body(x * mask)


@pytest.mark.parametrize("form", [ManualFront, AutoFront])
@pytest.mark.parametrize(("n", "same"), [(2, True), (2, False), slow(1, True), slow(1, False)])
def test_same_noise(form, n, same):
    manual = form is ManualFront
    model = form(net=Noisy(), same_noise=same, **({"accumulate_grad_batches": n} if manual else {}))
    fitted(model, max_epochs=1, data=loader(count=16), **({} if manual else {"accumulate_grad_batches": n}))
    masks = model.net.masks
    assert len(masks) == 8
    for start in range(0, 8, 2 * n):
        first, second = masks[start : start + n], masks[start + n : start + 2 * n]
        assert all(torch.equal(a, b) for a, b in zip(first, second)) == same
    firsts = [m for start in range(0, 8, 2 * n) for m in masks[start : start + n]]
    assert not any(torch.equal(a, b) for i, a in enumerate(firsts) for b in firsts[:i])


def test_same_noise_leaves_the_random_stream_where_a_plain_run_leaves_it():
    class Restless(Noisy):
        def forward(self, x):
            if torch.is_grad_enabled() and getattr(self.owner[0], "sam_pass", 0) == 1:
                torch.rand(7)  # draws more in the second pass
            return super().forward(x)

    ends = []
    for form in (
        Plain,
        lambda net: ManualFront(net=net, same_noise=True),
        lambda net: AutoFront(net=net, same_noise=True),
    ):
        model = form(net=Restless())
        model.net.owner = [model]
        torch.manual_seed(5)
        fitted(model)
        ends.append(torch.rand(3))
    assert torch.equal(ends[0], ends[1])
    assert torch.equal(ends[0], ends[2])
