"""Which operations are noted of a pass, and that models whose samples share something are not taken for mixing ones."""

from unittest import mock

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from lightning_al import functional as F_al
from lightning_al.gradients import plans
from lightning_al.gradients.errors import NoRule
from lightning_al.gradients.layouts import OtherPass, RowLayout
from lightning_al.gradients.mixing import Operations
from lightning_al.gradients.stand_ins import LooseParameter, known_operation
from tests.helpers import reference
from tests.helpers.exact import messages
from tests.helpers.models import Mixing, Model, randn, seeded


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


def test_what_is_done_with_stand_ins_while_it_pauses_is_not_noted():
    """Their functions are called inside of the mode that sees functions."""
    functions = mock.Mock()
    with Operations() as operations:

        def of_parameters(name, func, args, kwargs):
            with operations.paused():
                return known_operation(name, func, args, kwargs)

        functions.of_parameters = of_parameters
        LooseParameter(torch.ones(2, 1, 3), functions).expand(4, 3)
    assert not operations.done[1:]  # `ones`


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


def in_a_mode(model, x):
    with Doubling():
        return model.head(model.own + model.first(x)[:, None].sum(1))


SHARED = {
    "class token": lambda m, x: m.head(torch.cat([m.own[None].expand(len(x), -1, -1), m.first(x)[:, None]], 1).mean(1)),
    "scale": lambda m, x: m.head(m.own * m.first(x)),
    "layer on what all share": lambda m, x: m.head(m.first(x) + m.first(x.new_ones(4))),
    "positions": lambda m, x: m.head(m.first(x) + m.table(torch.arange(2)).mean(0)),
    "a mode of the model's own": in_a_mode,
}


@pytest.mark.parametrize("name", SHARED)
def test_what_all_samples_share_puts_none_together(name):
    """Models that are taken for ones that do are compared in each batch, which costs more."""
    layers = {"first": nn.Linear(4, 4), "head": nn.Linear(4, 3), "table": nn.Embedding(2, 4)}
    net = seeded(lambda: Model(SHARED[name], own=nn.Parameter(torch.ones(4)), **layers))
    with messages() as engine:
        got = F_al.gradient_norm(net, randn(9, 4))
    assert not engine.fell_back
    assert not any("all samples of a batch together" in said for said in engine.said)
    torch.testing.assert_close(got, reference.gradient_norm(net, randn(9, 4)), rtol=1e-9, atol=1e-12)


def test_a_first_batch_of_three_whose_second_is_by_itself(monkeypatch):
    monkeypatch.setattr(plans, "_LARGE", 0)
    net, x = seeded(Mixing), randn(3, 6)
    net.how = lambda h: h + h.flip(0)
    torch.testing.assert_close(F_al.gradient_norm(net, x), reference.gradient_norm(net, x), rtol=1e-9, atol=1e-12)


def test_a_loss_that_takes_all_samples_together_by_a_function_that_is_noted_as_one():
    """The first batch is one that it does nothing to, so that comparing it shows nothing."""

    def loss(logits):
        own = F_al.cross_entropy(logits, logits.argmax(1))
        over_samples = torch.cat([logits.t(), logits.new_zeros(logits.shape[1], 1)], 1)
        together = F_al.cross_entropy(over_samples, torch.full((logits.shape[1],), len(logits)))
        return own + (together.max() - 4.0).relu()

    net = seeded(lambda: nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 5)))
    for scale in (0.1, 30.0):
        x = scale * randn(12, 6)
        with messages() as engine:
            got = F_al.gradient_norm(net, x, loss=loss)
        want = torch.cat([F_al.gradient_norm(net, one, loss=loss) for one in x.split(1)])
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)
    assert engine.fell_back


def test_a_function_that_is_noted_as_one():
    logits, target = torch.zeros(3, 2), torch.zeros(3, dtype=torch.long)
    with Operations() as operations:
        F_al.cross_entropy(logits, target).sum()
    assert [(done.name, done.inputs, done.outputs) for done in operations.done] == [
        ("cross_entropy", ((3, 2), (3,)), ((3,),)),
        ("sum", ((3,),), ((),)),
    ]
