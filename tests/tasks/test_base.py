"""What every task has: features, and how decisions become one value."""

import pytest
import torch
from torch import nn

from lightning_al import ClassificationTask
from lightning_al import functional as F_al
from lightning_al.functional.scores.uncertainty import entropies
from tests.helpers.models import randn
from tests.helpers.projects import make_data

TASK = ClassificationTask()


def test_features_are_the_input_of_the_last_linear_layer():
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    x = make_data()[0]
    assert torch.equal(TASK.features(net, x), net[:4](x))
    assert not any(m._forward_pre_hooks for m in net.modules())
    with pytest.raises(ValueError, match=r"No `nn.Linear`.*features"):
        TASK.features(nn.Sequential(nn.ReLU()), x)


@pytest.mark.parametrize("shape", [(5, 3), (5, 3, 4), (5, 3, 2, 4)])
def test_the_mean_of_the_decisions_is_the_default(shape):
    z, y = randn(*shape), torch.randint(3, (5, *shape[2:]), generator=torch.Generator().manual_seed(0))
    assert torch.equal(TASK.score(nn.Identity(), z, entropies), F_al.entropy(z))
    losses = F_al.cross_entropy(z, y)
    assert torch.equal(TASK.loss(z, y), losses.flatten(1).mean(1) if losses.ndim > 1 else losses)
