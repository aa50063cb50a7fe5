import pytest
from torch.utils.data import TensorDataset

from tests.helpers.bound import Bound
from tests.helpers.models import B, C, case, randn


@pytest.fixture(params=["batch norm", "branch"])
def bound(request) -> Bound:
    """A model, a batch with labels, and a way to bind an acquisition to them; one that vmap traces, one that not."""
    net, x, *_ = case(request.param)
    labels = (randn(B, seed=7) * 10).long() % C
    return Bound(net, [x, labels], TensorDataset(x, labels))
