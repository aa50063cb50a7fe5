"""Which operations are noted of a pass."""

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_al.gradients.errors import NoRule
from lightning_al.gradients.layouts import OtherPass, RowLayout
from lightning_al.gradients.mixing import Operations


class Doubling(TorchDispatchMode):
    """A mode of the model's own."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        return func(*args, **(kwargs or {})) * 2 if "sum" in func.__name__ else func(*args, **(kwargs or {}))


def test_what_is_done_while_it_pauses_is_not_noted():
    x = torch.ones(2, 3)
    with Operations() as operations:
        x.sum()
        with operations.paused():
            x.mean().tolist()
        x.t().tolist()
    assert [(each.name, each.inputs) for each in operations.done] == [
        ("sum", ((2, 3),)),
        ("t", ((2, 3),)),
        ("tolist", ((3, 2),)),
    ]


def test_a_mode_of_the_models_own_goes_on_while_it_pauses():
    x = torch.ones(2, 3)
    with Operations() as operations, Doubling(), operations.paused():
        assert float(x.sum()) == 12
    assert [each.name for each in operations.done] == ["sum", "mul", "_local_scalar_dense"]


def test_another_pass_shows_where_rows_are():
    place = ("layer", 0)
    other = OtherPass({place: (5, 6, 3)}, samples=3)
    assert other.shows(place, (5, 4, 3), 2) == RowLayout(1, 2)
    assert other.shows(place, (5, 6, 3), 2) == RowLayout(-1, 0)
    for shape, problem in (
        ((4, 4, 3), "more than one dimension that grows"),
        ((5, 5, 3), "does not grow with the batch"),
        ((5, 4), "other dimensions in a larger batch"),
    ):
        with pytest.raises(NoRule, match=problem):
            other.shows(place, shape, 2)
    with pytest.raises(NoRule, match="the number of layer calls depends on the number of samples"):
        other.shows(("layer", 1), (5, 4, 3), 2)
