import math
from fractions import Fraction

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.functional.scores.positions import count_of_share, mean_over_positions, reduced
from tests.helpers.models import randn


@pytest.mark.parametrize("shape", [(4,), (4, 3), (4, 3, 2), (4, 3, 2, 5)])
@pytest.mark.parametrize("first", [1, 2])
def test_averages_all_but_the_first_dimensions(shape, first):
    values = randn(*shape)
    averaged = tuple(range(first, values.ndim))
    expected = values.mean(averaged) if averaged else values
    torch.testing.assert_close(mean_over_positions(values, first), expected, rtol=1e-12, atol=1e-12)


@given(st.integers(1, 40), st.integers(1, 5), st.integers(1, 60))
def test_the_number_of_a_share_has_no_rounding_errors(part, others, count):
    """0.1 of 30 is 3, although 0.1 * 30 is a little more."""
    share = Fraction(part, part + others)
    expected = max(math.ceil(share * count), 1)
    assert count_of_share(float(share), count) == expected
    assert count_of_share(float(share), torch.tensor([count, 0])).tolist() == [expected, 1]


def test_a_share_of_next_to_nothing_is_one_value():
    values = torch.tensor([[3.0, 1.0, 2.0]])
    assert reduced(values, 1e-9).tolist() == reduced(values, "max").tolist() == [3.0]


@pytest.mark.parametrize("how", ["mean", "sum", "max", 0.4])
def test_a_single_value_is_itself(how):
    values = randn(4)
    assert torch.equal(reduced(values, how), values)
    assert reduced(values, how, torch.tensor([True, False, True, False])).tolist() == [*values[:1], 0, *values[2:3], 0]


@pytest.mark.parametrize("how", ["mean", "sum", "max", 0.4])
def test_a_diverged_model_is_not_hidden(how):
    values = torch.tensor([[1.0, float("nan"), 0.0, 2.0]])
    assert reduced(values, how).isnan().all()
    assert reduced(values, how, torch.ones_like(values, dtype=torch.bool)).isnan().all()
