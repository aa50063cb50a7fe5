import pytest
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import nn

from lightning_al.training.loss_prediction.own_group import hold_rate, own_group
from tests.helpers.loss_reference import (
    WIDTH,
    Front,
    fitted,
    made,
    sgd,
    trained,
)


def modules():
    torch.manual_seed(0)
    return nn.Linear(2, 3), nn.Linear(3, 1)


def optimizer_of(make, **options):
    net, extra = modules()
    both = nn.ModuleDict({"net": net, "extra": extra})
    with own_group({f"extra.{n}": p for n, p in extra.named_parameters()}, options) as group:
        optimizer = make(both)
    [own] = group
    assert own.group is optimizer.param_groups[-1]
    assert own.rate == own.group["lr"]
    assert [id(p) for p in own.group["params"]] == [id(p) for p in extra.parameters()]
    others = [p for g in optimizer.param_groups[:-1] for p in g["params"]]
    assert not {id(p) for p in others} & {id(p) for p in extra.parameters()}
    return optimizer


def test_all_forms_of_parameters():
    sgd = torch.optim.SGD
    assert len(optimizer_of(lambda m: sgd(m.parameters(), lr=0.1)).param_groups) == 2
    assert len(optimizer_of(lambda m: sgd(m["net"].parameters(), lr=0.1)).param_groups) == 2
    named = optimizer_of(lambda m: sgd(m.named_parameters(), lr=0.1))
    assert named.param_groups[1]["param_names"] == ["extra.weight", "extra.bias"]
    split = optimizer_of(
        lambda m: sgd([{"params": m["net"].weight, "lr": 1.0}, {"params": list(m.parameters())[1:]}], lr=0.1)
    )
    assert [len(g["params"]) for g in split.param_groups] == [1, 1, 2]
    assert [g["lr"] for g in split.param_groups] == [1.0, 0.1, 0.1]


def test_options_are_the_groups_own():
    optimizer = optimizer_of(lambda m: torch.optim.AdamW(m.parameters(), lr=0.1, weight_decay=0.2), lr=0.5)
    assert [(g["lr"], g["weight_decay"]) for g in optimizer.param_groups] == [(0.1, 0.2), (0.5, 0.2)]


def test_the_rate_is_the_one_the_group_was_made_with_also_as_a_tensor():
    net, extra = modules()
    with own_group(dict(extra.named_parameters()), {}) as made:
        adam = torch.optim.Adam(net.parameters(), lr=torch.tensor(0.5))
        torch.optim.lr_scheduler.LambdaLR(adam, lambda step: 0.25)
    assert [float(g["lr"]) for g in adam.param_groups] == [0.125, 0.125]
    assert made[0].rate == 0.5
    hold_rate([adam], extra, made[0].rate)
    assert [float(g["lr"]) for g in adam.param_groups] == [0.125, 0.5]


def test_schedules_see_the_group():
    net, extra = modules()
    with own_group(dict(extra.named_parameters()), {"lr": 1.0}):
        sgd = torch.optim.SGD(net.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.StepLR(sgd, 1, gamma=0.1)
    sgd.step()
    schedule.step()
    assert [g["lr"] for g in sgd.param_groups] == pytest.approx([0.01, 0.1])


class Around(torch.optim.Optimizer):
    """Wraps an optimizer that it is given, or makes itself on its own groups."""

    def __init__(self, params=None, base=None):
        if base is None:
            super().__init__(params, {"lr": 0.1})
            base = torch.optim.SGD(self.param_groups, lr=0.1)
        else:
            super().__init__(base.param_groups, base.defaults)
        self.base, self.param_groups = base, base.param_groups


@pytest.mark.parametrize(
    "make", [lambda m: Around(m.parameters()), lambda m: Around(base=torch.optim.SGD(m.parameters(), lr=0.1))]
)
def test_an_optimizer_and_one_that_wraps_it_both_have_the_group(make):
    optimizer = optimizer_of(make, lr=0.5)
    assert [g["lr"] for g in optimizer.param_groups] == [0.1, 0.5]
    assert optimizer.base.param_groups[-1]["params"] == optimizer.param_groups[-1]["params"]


def test_only_the_first_optimizer_and_only_inside():
    net, extra = modules()
    before = torch.optim.Optimizer.__init__
    with own_group(dict(extra.named_parameters()), {}):
        first = torch.optim.SGD(net.parameters(), lr=0.1)
        second = torch.optim.Adam([*extra.parameters(), nn.Parameter(torch.ones(1))])
    assert (len(first.param_groups), len(second.param_groups)) == (2, 1)
    assert len(second.param_groups[0]["params"]) == 1
    assert torch.optim.Optimizer.__init__ is before
    with pytest.raises(TypeError, match="iterable of Tensors"), own_group(dict(extra.named_parameters()), {}):
        torch.optim.SGD(net.weight)
    assert torch.optim.Optimizer.__init__ is before


def test_its_parameters_are_one_group_whatever_the_user_does():
    model = made(Front(optimizer=lambda params: torch.optim.Adam(params, lr=0.1)))
    fit = fitted(model, max_epochs=1)
    [optimizer] = fit.optimizers
    assert [len(g["params"]) for g in optimizer.param_groups] == [4, 4]
    assert {id(p) for p in optimizer.param_groups[1]["params"]} == {id(p) for p in model.loss_prediction.parameters()}

    class OnlyNet(Front):
        def configure_optimizers(self):
            return {"optimizer": sgd(self.net.parameters())}

    trained(OnlyNet)
    model = Front(loss_width=WIDTH)
    model.configure_optimizers = lambda: sgd(model.parameters())  # as the command line does
    fit = fitted(model, max_epochs=1)
    assert len(fit.optimizers[0].param_groups) == 2
    assert model.configure_optimizers.__name__ == "<lambda>"


def test_another_optimizer_than_the_first_made_is_refused():
    class Second(Front):
        def configure_optimizers(self):
            sgd(self.parameters())
            return sgd(self.parameters())

    with pytest.raises(MisconfigurationException, match=r"Second.configure_optimizers returned does not have"):
        fitted(Second(), max_epochs=1)


def test_an_optimizer_made_before_is_refused():
    class Early(Front):
        def __init__(self):
            super().__init__()
            self.made = sgd(self.parameters())

        def configure_optimizers(self):
            return self.made

    with pytest.raises(MisconfigurationException, match="made no optimizer"):
        fitted(Early())
