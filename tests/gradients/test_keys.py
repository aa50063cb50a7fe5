"""What makes a plan another one."""

from functools import partial

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from tests.helpers import reference
from tests.helpers.models import B, Mixing, case, mix, randn, seeded
from tests.helpers.ways import counted


def test_strings_beside_the_inputs_do_not_make_a_plan_each():
    net, x, *_ = case("layer norm")
    for i in range(2):
        calls, run = counted(lambda m, v: m(v["x"]))
        F_al.saal(net, {"x": x, "files": [f"{i}-{j}" for j in range(B)]}, forward=run)
        assert (len(calls) > 3) is (i == 0)


def test_what_is_bound_to_a_forward_belongs_to_the_plan():
    def forward(model, x, flip=False):
        return model(x.flip(0)).flip(0) if flip else model(x)

    class Task:
        flip = False

        def forward(self, model, x):
            return forward(model, x, self.flip)

    net = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)))
    x, task = randn(6, 6), Task()
    wanted = F_al.gradient_norm(net, x)
    for flip in (False, True):
        task.__dict__["flip"] = flip
        for way in (partial(forward, flip=flip), lambda m, x, flip=flip: forward(m, x, flip), task.forward):
            torch.testing.assert_close(F_al.gradient_norm(net, x, forward=way), wanted, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("way", ["function", "hook", "hook before"])
def test_functions_in_attributes_and_hooks_belong_to_the_plan(way):
    net, x = seeded(Mixing), randn(6, 6)
    F_al.gradient_norm(net, x)
    if way == "function":
        net.how = mix
    elif way == "hook":
        net.first.register_forward_hook(lambda m, args, h: mix(h))
    else:
        net.head.register_forward_pre_hook(lambda m, args: (mix(args[0]),))
    torch.testing.assert_close(F_al.gradient_norm(net, x), reference.gradient_norm(net, x), rtol=1e-9, atol=1e-9)
