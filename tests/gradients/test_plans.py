"""When a plan is made anew, and that no model that needs another way is taken for one that goes by the rules."""

import gc
import weakref
from functools import partial

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.gradients.scored_model import ScoredModel
from tests.helpers import reference
from tests.helpers.exact import SCORES as EXACT_SCORES
from tests.helpers.exact import messages
from tests.helpers.models import B, C, case, randn, seeded
from tests.helpers.ways import counted


def test_a_plan_is_made_anew_for_what_it_depends_on():
    net, x, *_ = case("batch norm")

    def said(**options):
        calls, run = counted()
        F_al.saal(net, options.pop("x", x), forward=run, **options)
        return len(calls) > 3

    assert said()
    assert not said()
    assert not said(x=x[:4])
    assert said(x=randn(B, 2, 5, 5))
    assert said(perturbation="asam")
    assert said(group_size=2)
    assert said(loss_fn=lambda z, y: reference.loss(z, y))
    net.conv.requires_grad_(False)
    assert said()
    net.norm = nn.Identity()
    assert said()


def test_strings_beside_the_inputs_do_not_make_a_plan_each():
    net, x, *_ = case("layer norm")
    for i in range(2):
        calls, run = counted(lambda m, v: m(v["x"]))
        F_al.saal(net, {"x": x, "files": [f"{i}-{j}" for j in range(B)]}, forward=run)
        assert (len(calls) > 3) is (i == 0)


def test_plans_do_not_keep_models_alive():
    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(4, C)

        def forward(self, x):
            return self.head(x)

        def loss(self, z):
            return z.square().sum(1)

        def logits(self, model, x):
            return model(x)

    def scored():
        net = Net()
        F_al.gradient_norm(net, torch.randn(B, 4), loss=net.loss, forward=net.logits)
        F_al.saal(net, torch.randn(B, 4), loss_fn=lambda z, y: net.loss(z))
        return weakref.ref(net)

    gone = scored()
    gc.collect()
    assert gone() is None


def test_a_small_budget_is_kept_when_a_model_is_looked_at(monkeypatch):
    """The comparison with the plain loop in float64 takes more than scoring does."""
    compared = []
    in_double = ScoredModel.in_double
    monkeypatch.setattr(ScoredModel, "in_double", lambda model: compared.append(1) or in_double(model))
    for max_bytes, wanted in ((None, [1]), (100, [])):
        net, x, *_ = case("batch norm")
        want = F_al.saal(net, x)
        compared.clear()
        net, x, *_ = case("batch norm")
        torch.testing.assert_close(F_al.saal(net, x, max_bytes=max_bytes), want, rtol=1e-9, atol=1e-9)
        assert compared == wanted


class Sorted(nn.Module):
    """Sorts its batch by a feature, runs, and puts it back."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))

    def forward(self, x):
        order = x[:, 0].argsort()
        return self.net(x[order])[order.argsort()]


class Routed(nn.Module):
    """Sends each sample to one of two experts, and their outputs back to where the samples were."""

    def __init__(self, back):
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(6, 3), nn.Linear(6, 3)])
        self.shared = nn.Linear(6, 6)
        self.back = back

    def forward(self, x):
        chosen = (x[:, 0] > 0).long()
        rows = [torch.nonzero(chosen == i).flatten() for i in (0, 1)]
        outputs = torch.cat([self.experts[0](x), self.experts[1](x)])
        index = torch.cat([rows[0], len(x) + rows[1]])
        mixed, home = self.shared(outputs[index].repeat(1, 2)), torch.cat(rows)
        if self.back == "index":
            return mixed[home.argsort()][:, :3]
        return torch.zeros(len(x), 6, dtype=x.dtype).index_copy(0, home, mixed)[:, :3]


@pytest.mark.parametrize("build", [Sorted, lambda: Routed("index"), lambda: Routed("copy")])
@pytest.mark.parametrize("in_order", [True, False])
def test_rows_picked_by_the_data_are_not_taken_for_rows_in_order(build, in_order):
    """The first samples may be in order already, so that comparing them with the loop shows nothing."""
    x = randn(8, 6)
    if in_order:
        x = x[x[:, 0].argsort()]
        x[2:] = x[2:][torch.tensor([3, 0, 5, 1, 4, 2])]
    net = seeded(build)
    for name in ("sam", "asam", "tensor_sum", "groups"):
        score, loop, options = EXACT_SCORES[name]
        torch.testing.assert_close(score(net, x, **options), loop(net, x, **options), rtol=1e-9, atol=1e-9)


def test_rows_in_another_order_are_found_out_although_the_first_samples_are_the_same():
    class Flipped(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))

        def forward(self, x):
            return self.net(x.flip(0)).flip(0)

    x = randn(6, 6)
    x[1] = x[0]
    net = seeded(Flipped)
    score, loop, options = EXACT_SCORES["tensor_sum"]
    torch.testing.assert_close(score(net, x, **options), loop(net, x, **options), rtol=1e-9, atol=1e-9)


def trimmed(m, x):
    """Cuts to the longest of the batch, and takes the mean over what is left."""
    return m(x[:, : int((x != 0).any(2).sum(1).max())]).mean(1)


def scaled(m, x):
    return m(x / x.abs().amax()).mean(1)


def rows_of(index, x):
    return nn.functional.one_hot(index, len(x)).to(x.dtype) @ x.flatten(1)


def sorted_by_length(m, x):
    order = (x != 0).any(2).sum(1).argsort(stable=True)
    return rows_of(order.argsort(), m(rows_of(order, x).view(x.shape)).mean(1))


def interleaved(m, x):
    z = m(torch.cat([x[::2], x[1::2]])).mean(1)
    half = (len(x) + 1) // 2
    return torch.stack([z[i // 2 + half * (i % 2)] for i in range(len(x))])


@pytest.mark.parametrize("forward", [trimmed, scaled, sorted_by_length, interleaved])
@pytest.mark.parametrize("small", [0, 2])
def test_what_the_first_two_samples_share_hides_nothing(forward, small):
    """Of the same length and largest value, they score alone as together; two cannot show another order than theirs."""
    x = randn(7, 4, 6).clamp(-1, 1)
    x[:3, 0] = torch.tensor([1.0, -1, 1, -1, 1, -1])
    x[3:] *= 0.3
    for i, length in enumerate((2, 2, 2, 3, 4, 1, 3)):
        x[i, length:] = 0
    net = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)))
    for name in ("sam", "asam", "groups", "tensor_sum"):
        score, loop, options = EXACT_SCORES[name]
        if small:  # has been looked at already
            score(net, x[: 2 * options.get("group_size", 1)], forward=forward, **options)
        got = score(net, x, forward=forward, **options)
        torch.testing.assert_close(got, loop(net, x, forward=forward, **options), rtol=1e-9, atol=1e-9)


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


class Mixing(nn.Module):
    """Takes something from the other samples, once it is told to."""

    def __init__(self):
        super().__init__()
        self.first, self.head = nn.Linear(6, 4), nn.Linear(4, 3)
        self.how = lambda h: h

    def forward(self, x):
        return self.head(self.how(self.first(x)).tanh())


def mix(h):
    return h - 0.3 * h.mean(0)


def test_scores_of_nothing_but_rounding_errors_decide_nothing():
    """A head of zeros, whose predictions are uniform: the entropy has no gradient yet."""
    net, x = seeded(Mixing), randn(6, 6)
    net.head.requires_grad_(False).weight.zero_()
    calls, run = counted()
    torch.testing.assert_close(F_al.gradient_norm(net, x, forward=run), torch.zeros(6).double())
    assert len(calls) < 30  # looked at once, not for every sample
    nn.init.normal_(net.head.weight)
    with messages() as engine:
        F_al.gradient_norm(net, x, forward=run)
    assert not engine.fell_back
    net.how = mix
    net.head.weight.zero_()
    F_al.gradient_norm(net, x, forward=run)
    nn.init.normal_(net.head.weight)
    got = F_al.gradient_norm(net, x, forward=run)
    torch.testing.assert_close(got, reference.gradient_norm(net, x), rtol=1e-9, atol=1e-9)


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


def test_nan_in_the_first_samples_says_nothing_of_the_next():
    net = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)))
    x = randn(6, 6)
    poisoned = x.clone()
    poisoned[0] = torch.nan
    assert F_al.gradient_norm(net, poisoned)[0].isnan()
    with messages() as engine:
        F_al.gradient_norm(net, x)
    assert not engine.fell_back
    assert engine.passes
