import pytest
import torch

from lightning_al.functional.scores.positions import mean_over_positions
from tests.helpers.models import randn


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 3, 2), (4, 3, 2, 5)])
@pytest.mark.parametrize("first", [1, 2])
def test_averages_all_but_the_first_dimensions(shape, first):
    values = randn(*shape)
    averaged = tuple(range(first, values.ndim))
    expected = values.mean(averaged) if averaged else values
    torch.testing.assert_close(mean_over_positions(values, first), expected, rtol=1e-12, atol=1e-12)
