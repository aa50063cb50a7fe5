import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lightning_al import functional as F_al
from lightning_al.functional.scores.regions import labels_and_entropies
from lightning_al.functional.scores.uncertainty import entropies
from tests.helpers import regions_reference as reference
from tests.helpers.extent import examples
from tests.helpers.models import randn

EXACT = {"rtol": 1e-12, "atol": 1e-13}
CASES = (
    st.tuples(st.integers(1, 2), st.integers(2, 5), st.integers(1, 6), st.integers(1, 6)),
    st.integers(0, 7),
    st.integers(0, 99),
)


def drawn(shape, seed):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * 3


@examples(25)
@given(*CASES, st.integers(0, 3))
def test_maps_equal_the_loop(shape, radius, seed, region_radius):
    z = drawn(shape, seed)
    labels = z.argmax(1)
    torch.testing.assert_close(F_al.region_impurity(z, radius), reference.impurity(labels, radius), **EXACT)
    torch.testing.assert_close(F_al.window_mean(z[:, 0], radius), reference.window_mean(z[:, 0], radius), **EXACT)
    torch.testing.assert_close(F_al.ripu_map(z, radius), reference.ripu(z, radius, radius), **EXACT)
    got = F_al.ripu_map(z, radius, region_radius=region_radius)
    torch.testing.assert_close(got, reference.ripu(z, radius, region_radius), **EXACT)


@examples(25)
@given(*CASES, st.sampled_from([(0, 1), (-1, 1), (0, 40), (10**12, 10**6)]))
def test_superpixels_equal_the_loop(shape, areas, seed, numbers):
    z = drawn(shape, seed)
    start, step = numbers
    draw = torch.Generator().manual_seed(seed)
    superpixels = start + step * torch.randint(areas + 1, (shape[0], *shape[2:]), generator=draw)
    want = reference.of_superpixels(reference.mean, z[:, 0], superpixels)
    torch.testing.assert_close(F_al.superpixel_mean(z[:, 0], superpixels), want, **EXACT)
    want = reference.of_superpixels(reference.shannon, z.argmax(1), superpixels)
    torch.testing.assert_close(F_al.superpixel_impurity(z, superpixels), want, **EXACT)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_map_in_less_precision(dtype):
    z = randn(2, 4, 6, 5).to(dtype)
    got = F_al.ripu_map(z, 1)
    assert got.dtype == torch.float32
    torch.testing.assert_close(got.double(), reference.ripu(z.float(), 1, 1), rtol=1e-5, atol=1e-6)


def test_a_window_of_one_class_has_exactly_no_impurity():
    labels = torch.zeros(1, 40, 40, dtype=torch.uint8)
    labels[..., 39] = 3
    for radius in (1, 3, 17):
        impurity = F_al.region_impurity(labels, radius)
        assert impurity.dtype == torch.float64
        assert torch.equal(impurity > 0, torch.arange(40).expand(1, 40, 40) >= 39 - radius)


def test_the_order_of_classes_does_not_matter():
    """Windows with the same shares tie, whichever classes they have."""
    labels = torch.randint(19, (1, 12, 12), generator=torch.Generator().manual_seed(0))
    renamed = torch.randperm(200, generator=torch.Generator().manual_seed(1))[:19][labels]
    assert torch.equal(F_al.region_impurity(labels, 2), F_al.region_impurity(renamed, 2))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_entropies_are_those_of_the_score(dtype):
    """Saturated, masked and tied logits too, of any number of dimensions."""
    z = randn(3, 5, 4, 6).to(dtype)
    z[0, 2] += 60
    z[1, 1] = -torch.inf
    z[2, 3] = z[2, 4] = 9
    labels, got = labels_and_entropies(z)
    assert torch.equal(labels.long(), z.argmax(1))
    rounding = {"rtol": 1e-5, "atol": 0} if dtype == torch.float32 else {"rtol": 1e-11, "atol": 0}
    torch.testing.assert_close(got, entropies(z), **rounding)
    assert (got[0] > 0).all()
    torch.testing.assert_close(labels_and_entropies(z[:, :, 0, 0])[1], got[:, 0, 0], rtol=0, atol=0)
    assert torch.equal(z[2, 3], z[2, 4])


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
@pytest.mark.parametrize("place", [0, 2])
def test_what_has_no_probabilities_is_not_a_number(bad, place):
    z = randn(1, 3, 2, 2)
    z[0, place, 1, 0] = bad
    assert torch.equal(labels_and_entropies(z)[1].isnan(), torch.tensor([[[False, False], [True, False]]]))
    z[:] = -torch.inf
    assert labels_and_entropies(z)[1].isnan().all()


def test_no_gradient_and_nothing_changed():
    z = randn(1, 3, 4, 4).requires_grad_()
    before = z.detach().clone()
    for got in (F_al.ripu_map(z, 1), F_al.region_impurity(z, 1), F_al.window_mean(z[:, 0], 1)):
        assert not got.requires_grad
    assert torch.equal(z, before)


def test_empty_batches():
    none = torch.empty(0, 3, 4, 5)
    areas = torch.empty(0, 4, 5, dtype=torch.long)
    assert F_al.ripu_map(none, 2).shape == (0, 4, 5)
    assert F_al.superpixel_impurity(none, areas).shape == F_al.superpixel_mean(none[:, 0], areas).shape == (0, 4, 5)


def test_half_and_half():
    labels = torch.tensor([[[0, 1], [1, 0]]])
    assert F_al.region_impurity(labels, 1).flatten().tolist() == pytest.approx([math.log(2)] * 4)


LABELS, FLOATS = torch.zeros(1, 2, 3, dtype=torch.long), torch.zeros(1, 2, 3)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: F_al.region_impurity([1], 1), TypeError, "must be a tensor, got list"),
        (lambda: F_al.region_impurity(LABELS, 1.5), TypeError, "`radius` must be an integer"),
        (lambda: F_al.region_impurity(LABELS, -1), ValueError, "`radius` must be at least 0, got -1"),
        (lambda: F_al.region_impurity(LABELS - 1, 1), ValueError, "indices of at least 0, got -1"),
        (lambda: F_al.region_impurity(LABELS[0], 1), ValueError, r"\(B, H, W\), got \(2, 3\)"),
        (lambda: F_al.region_impurity(LABELS.bool(), 1), TypeError, "integers, got torch.bool"),
        (lambda: F_al.region_impurity(torch.zeros(2, 3), 1), ValueError, r"\(B, H, W\), got \(2,\)"),
        (lambda: F_al.window_mean(LABELS, 1), TypeError, "floating-point numbers, got torch.int64"),
        (lambda: F_al.window_mean(FLOATS[0], 1), ValueError, r"`values` must have shape \(B, H, W\)"),
        (lambda: F_al.ripu_map(FLOATS, 1), ValueError, r"\(B, H, W\)"),
        (lambda: F_al.ripu_map(FLOATS[..., None], 1, region_radius=-2), ValueError, "at least 0, got -2"),
        (lambda: F_al.ripu_map(LABELS, 1), TypeError, "floating point"),
        (lambda: F_al.superpixel_mean(FLOATS, FLOATS), TypeError, "`superpixels` must be integers"),
        (lambda: F_al.superpixel_mean(FLOATS, LABELS[:, :1]), ValueError, r"\(1, 2, 3\), got \(1, 1, 3\)"),
        (lambda: F_al.superpixel_impurity(LABELS, LABELS[0]), ValueError, r"\(B, H, W\), got \(2, 3\)"),
    ],
)
def test_what_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call()
