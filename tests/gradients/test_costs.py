import pytest
import torch
from torch import nn

from lightning_al.gradients import costs
from lightning_al.gradients.costs import (
    ALONE,
    CACHED_WEIGHTS,
    COPIED_PER_PIXEL,
    FEW,
    LARGE_IMAGE,
    LayerCosts,
    cost_of_batch,
    cost_of_steps_alone,
    cost_of_unit_alone,
    costs_of_inner_products,
    layer_costs,
    prefers_channels_last,
    units_at_once,
)
from lightning_al.gradients.looks import Costs
from lightning_al.gradients.rules.linear import LinearRule
from tests.helpers.marks import with_onednn

CPU = torch.device("cpu")


def cheaper(positions, fan_in, fan_out, **options):
    costs = layer_costs(positions, fan_in, fan_out, gram=positions**2 * fan_in, **options)
    return costs.by_inner_products < costs.by_gradients


def beyond(positions, fan_in, fan_out, perturb=True, device=CPU):
    costs = layer_costs(
        positions, fan_in, fan_out, gram=positions**2 * fan_in, device=device, perturb=perturb, convolves=True
    )
    return costs.beyond_loop(fan_in * fan_out, positions * fan_out, device, perturb=perturb)


def beyond_of_numbers(numbers, perturb=True, device=CPU):
    return LayerCosts().beyond_loop(0, numbers, device, perturb=perturb)


def test_large_maps_go_alone_and_small_ones_together():
    for perturb in (True, False):
        assert beyond(56 * 56, 9 * 64, 64, perturb) > 0
        assert beyond(49, 9 * 512, 512, perturb) < 0
        assert beyond(4 * 4, 9 * 16, 16, perturb) < 0
        assert beyond_of_numbers(56 * 56 * 64, perturb) > 0 > beyond_of_numbers(8 * 8 * 16, perturb)


def test_each_pass_with_weights_of_their_own_counts():
    once, twice = (beyond_of_numbers(10**6, perturb) for perturb in (False, True))
    assert twice == 2 * once > 0
    assert beyond_of_numbers(FEW) == -2 * ALONE["cpu"]


def test_gradients_that_are_formed_twice_cost_more_than_alone():
    assert CACHED_WEIGHTS < 9 * 192 * 192
    costs = layer_costs(784, 9 * 192, 192, gram=1e18, device=CPU, perturb=True, convolves=True)
    few, many = (costs.beyond_loop(weights, 784 * 192, CPU, perturb=True) for weights in (1, 9 * 192 * 192))
    assert many - few == pytest.approx(costs.forming)
    assert beyond(28 * 28, 9 * 192, 192, perturb=True) > 2 * beyond(28 * 28, 9 * 192, 192, perturb=False) > 0


def test_large_products_of_matrices_count_and_small_ones_do_not():
    rule = LinearRule(nn.Linear(96, 384), ("weight",), 2)
    assert rule.dearer_numbers(torch.empty(2, 3136, 384)) == 3136 * 384
    assert rule.dearer_numbers(torch.empty(2, 196, 384)) == 0


def test_nothing_speaks_for_going_alone_on_a_device_without_figures():
    meta = torch.device("meta")
    assert beyond(56 * 56, 9 * 64, 64, device=meta) <= 0
    assert beyond_of_numbers(1e9, device=meta) <= 0


def test_what_a_batch_costs_whatever_its_size(monkeypatch):
    monkeypatch.setitem(costs.CALL, "cpu", 3.0)
    monkeypatch.setitem(costs.CALL_ON_MAPS, "cpu", 4.0)
    monkeypatch.setitem(costs.STEP, "cpu", 10.0)
    calls = [torch.empty(2, 3, 4, 4), torch.empty(2, 3), torch.empty(2, 5, 3)]
    assert cost_of_batch(calls, CPU, steps=0, perturb=False) == 2 * (4 + 3 + 3)
    assert cost_of_batch(calls, CPU, steps=7, perturb=True) == 3 * (4 + 3 + 3) + 2 * 70
    assert cost_of_batch(calls, torch.device("meta"), steps=7, perturb=True) == 0
    assert cost_of_steps_alone(7, CPU, perturb=True) == 7 * cost_of_steps_alone(1, CPU, perturb=True) > 0
    assert cost_of_unit_alone(CPU, perturb=True) == 1.5 * cost_of_unit_alone(CPU, perturb=False) > 0
    assert (
        cost_of_steps_alone(7, torch.device("meta"), perturb=True)
        == cost_of_unit_alone(torch.device("meta"), perturb=True)
        == 0
    )


@pytest.mark.parametrize(
    ("beyond", "once", "alone", "least"),
    [
        (-2.0, 7.0, 0.0, 4),
        (-2.0, 6.0, 0.0, 4),
        (-2.0, 7.0, 1.0, 3),
        (0.0, 0.0, 0.0, 1),
        (0.0, 5.0, 2.0, 3),
        (3.0, 1, 1, 1),
    ],
)
def test_how_many_groups_make_up_for_what_a_batch_costs(beyond, once, alone, least):
    found = Costs(1, beyond_loop=beyond, once_beyond_loop=once, unit_alone=alone)
    assert found.least_groups == least
    assert found.prefers_rules(least) is (beyond <= 0)


def test_few_positions_go_by_inner_products_and_many_by_gradients():
    assert cheaper(1, 512, 512, device=CPU, perturb=False)
    assert cheaper(1, 512, 512, device=CPU, perturb=True)
    for perturb in (True, False):
        assert not cheaper(1024, 27, 64, device=CPU, perturb=perturb, convolves=True)


def test_more_positions_never_speak_for_inner_products():
    for perturb in (True, False):
        found = [cheaper(t, 256, 256, device=CPU, perturb=perturb) for t in range(1, 400, 7)]
        assert found == sorted(found, reverse=True)
        assert found[0]
        assert not found[-1]


def test_a_device_without_figures_counts_plainly():
    assert cheaper(1, 64, 64, device=torch.device("meta"), perturb=False)


def test_pixels_are_cheaper_than_unfolding_unless_most_of_them_are_skipped():
    by_pixels, by_unfolding = costs_of_inner_products(100, 64, 256, kernel=9, groups=1, device=CPU)
    assert by_pixels < by_unfolding
    by_pixels, by_unfolding = costs_of_inner_products(1024, 16, 8, kernel=4, groups=1, device=CPU)  # a patch embedding
    assert by_pixels > by_unfolding


def test_large_layers_go_in_smaller_pieces():
    assert units_at_once(64, 100, 1, CPU) == 64
    assert units_at_once(64, 2**18, 1, CPU) == 8
    assert units_at_once(64, 2**10, 2**12, CPU) == 1
    assert units_at_once(64, 2**30, 2**12, torch.device("meta")) == 64


@with_onednn
def test_what_is_worth_a_copy_and_what_is_not():
    assert prefers_channels_last(COPIED_PER_PIXEL * 100, 100, grouped=False)
    assert not prefers_channels_last(COPIED_PER_PIXEL * 100 + 1, 100, grouped=False)
    assert prefers_channels_last(1, LARGE_IMAGE, grouped=True)
    assert not prefers_channels_last(1, LARGE_IMAGE - 1, grouped=True)
