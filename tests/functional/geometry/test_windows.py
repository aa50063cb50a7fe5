import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al.functional.geometry.windows import counting_type, dilated, window_sizes, window_sums
from tests.helpers.extent import examples
from tests.helpers.models import randn
from tests.helpers.regions_reference import over_pixels, window

SHAPES = st.tuples(st.integers(1, 7), st.integers(1, 7))


@examples(25)
@given(SHAPES, st.integers(0, 9), st.integers(0, 99))
def test_sums_and_sizes_equal_the_loop(shape, radius, seed):
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    want = over_pixels(lambda m, i, j: sum(float(m[at]) for at in window(i, j, shape, radius)), x)
    torch.testing.assert_close(window_sums(x, radius), want, rtol=1e-14, atol=0)
    sizes = over_pixels(lambda m, i, j: len(window(i, j, shape, radius)), x)[0]
    assert torch.equal(window_sizes(shape, radius).double(), sizes)
    mask = x > 0.8
    near = over_pixels(lambda m, i, j: any(m[at] for at in window(i, j, shape, radius)), mask).bool()
    assert torch.equal(dilated(mask, radius), near)


def test_not_a_number_stays_in_its_windows():
    x = torch.ones(1, 9, 9)
    x[0, 4, 4] = torch.nan
    assert torch.equal(window_sums(x, 2).isnan(), dilated(~x.isfinite(), 2))


def test_large_values_do_not_cost_others_their_precision():
    """Sums from an integral image would."""
    x = randn(1, 8, 40).float()
    x[..., 0] = 1e12
    far = window_sums(x, 1)[..., 3:-1]
    torch.testing.assert_close(far, window_sums(x[..., 2:], 1)[..., 1:-1], rtol=0, atol=0)


@pytest.mark.parametrize(
    ("most", "dtype"),
    [(255, torch.uint8), (256, torch.int16), (32767, torch.int16), (32768, torch.int32), (2**31, torch.int64)],
)
def test_counts_fit_their_type(most, dtype):
    assert counting_type(most) == dtype


@pytest.mark.parametrize("radius", [7, 8, 90, 91])
def test_full_windows_are_counted_whole(radius):
    """(2 x 7 + 1)² = 225 and (2 x 90 + 1)² = 32,761 are just what a byte and two can count."""
    side = 2 * radius + 1
    whole = torch.ones(1, side, side, dtype=counting_type(side**2))
    assert int(window_sums(whole, radius)[0, radius, radius]) == side**2
