"""What optimizers gathered goes by the names of parameters, in whatever order an optimizer has them."""

import pytest
import torch
from torch import nn

from lightning_al.storage.optimizers import gathered_by, give_gathered


def stepped(optimizer, model):
    for number, parameter in enumerate(model.parameters(), 1):
        parameter.grad = torch.full_like(parameter, float(number))
    optimizer.step()
    return optimizer


@pytest.mark.parametrize("kind", [torch.optim.Adam, lambda p, lr: torch.optim.SGD(p, lr, momentum=0.9)])
def test_other_groups_in_another_order(kind):
    model, other = nn.Linear(3, 2), nn.Linear(3, 2)
    first = stepped(kind([{"params": [model.weight]}, {"params": [model.bias]}], lr=0.1), model)
    state = gathered_by(first, model)
    assert state.keys() == {"weight", "bias"}
    second = kind([other.bias], lr=0.5)
    give_gathered(second, state, other)
    assert list(second.state) == [other.bias]
    second.add_param_group({"params": [other.weight], "lr": 0.7})
    mine = {name: value + 1 for name, value in second.state[other.bias].items() if value is not None}
    second.state[other.bias].update(mine)
    give_gathered(second, state, other)
    assert [group["lr"] for group in second.param_groups] == [0.5, 0.7]
    for name, value in state["weight"].items():
        assert value is None or torch.equal(second.state[other.weight][name], value)
    for name, value in mine.items():  # gathered since
        assert torch.equal(second.state[other.bias][name], value)


def test_copies_and_strangers():
    model, stranger = nn.Linear(3, 2), nn.Parameter(torch.ones(2))
    stranger.grad = torch.ones(2)
    optimizer = stepped(torch.optim.Adam([*model.parameters(), stranger], lr=0.1), model)
    state = gathered_by(optimizer, model)
    before = state["weight"]["exp_avg"].clone()
    stepped(optimizer, model)
    assert torch.equal(state["weight"]["exp_avg"], before)
    fresh = torch.optim.Adam(model.parameters(), lr=0.1)
    give_gathered(fresh, {"gone": state["weight"]}, model)
    assert not fresh.state
    give_gathered(fresh, state, model)
    stepped(fresh, model)
    assert torch.equal(state["weight"]["exp_avg"], before)
