import torch

from lightning_al.gradients.costs import inner_products_are_cheaper

CPU = torch.device("cpu")


def test_few_positions_go_by_inner_products_and_many_by_gradients():
    assert inner_products_are_cheaper(1, 512, 512, device=CPU, perturb=False)
    assert inner_products_are_cheaper(1, 512, 512, device=CPU, perturb=True)
    for perturb in (True, False):
        assert not inner_products_are_cheaper(1024, 27, 64, device=CPU, perturb=perturb, unfolds=True)


def test_more_positions_never_speak_for_inner_products():
    for perturb in (True, False):
        found = [inner_products_are_cheaper(t, 256, 256, device=CPU, perturb=perturb) for t in range(1, 400, 7)]
        assert found == sorted(found, reverse=True)
        assert found[0]
        assert not found[-1]


def test_a_device_without_figures_counts_plainly():
    assert inner_products_are_cheaper(1, 64, 64, device=torch.device("meta"), perturb=False)
