import torch

from lightning_al.gradients.costs import costs_of_inner_products, inner_products_are_cheaper, units_at_once

CPU = torch.device("cpu")


def cheaper(positions, fan_in, fan_out, **options):
    return inner_products_are_cheaper(positions, fan_in, fan_out, gram=positions**2 * fan_in, **options)


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
