"""Where the samples' rows are in what layers take and give."""

import pytest
import torch
from torch import nn

from tests.helpers.exact import SCORES as EXACT_SCORES
from tests.helpers.models import randn, seeded


class Sorted(nn.Module):
    """Sorts its batch by a feature, runs, and puts it back."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))

    def forward(self, x):
        order = x[:, 0].argsort()
        return self.net(x[order])[order.argsort()]


class Routed(nn.Module):
    """Sends each sample to one of two experts, and their outputs back to where the samples were."""

    def __init__(self, back):
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(6, 3), nn.Linear(6, 3)])
        self.shared = nn.Linear(6, 6)
        self.back = back

    def forward(self, x):
        chosen = (x[:, 0] > 0).long()
        rows = [torch.nonzero(chosen == i).flatten() for i in (0, 1)]
        outputs = torch.cat([self.experts[0](x), self.experts[1](x)])
        index = torch.cat([rows[0], len(x) + rows[1]])
        mixed, home = self.shared(outputs[index].repeat(1, 2)), torch.cat(rows)
        if self.back == "index":
            return mixed[home.argsort()][:, :3]
        return torch.zeros(len(x), 6, dtype=x.dtype).index_copy(0, home, mixed)[:, :3]


@pytest.mark.few(3)
@pytest.mark.parametrize("build", [Sorted, lambda: Routed("index"), lambda: Routed("copy")])
@pytest.mark.parametrize("in_order", [True, False])
def test_rows_picked_by_the_data_are_not_taken_for_rows_in_order(build, in_order):
    """The first samples may be in order already, so that comparing them with the loop shows nothing."""
    x = randn(8, 6)
    if in_order:
        x = x[x[:, 0].argsort()]
        x[2:] = x[2:][torch.tensor([3, 0, 5, 1, 4, 2])]
    net = seeded(build)
    for name in ("sam", "asam", "tensor_sum", "groups"):
        score, loop, options = EXACT_SCORES[name]
        torch.testing.assert_close(score(net, x, **options), loop(net, x, **options), rtol=1e-9, atol=1e-9)


def test_rows_in_another_order_are_found_out_although_the_first_samples_are_the_same():
    class Flipped(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))

        def forward(self, x):
            return self.net(x.flip(0)).flip(0)

    x = randn(6, 6)
    x[1] = x[0]
    net = seeded(Flipped)
    score, loop, options = EXACT_SCORES["tensor_sum"]
    torch.testing.assert_close(score(net, x, **options), loop(net, x, **options), rtol=1e-9, atol=1e-9)
