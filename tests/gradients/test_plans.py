"""When a plan is made anew, and that no model that needs another way is taken for one that goes by the rules."""

import gc
import weakref

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.gradients.scored_model import ScoredModel
from tests.helpers import reference
from tests.helpers.exact import messages
from tests.helpers.models import B, C, Mixing, case, mix, randn, seeded
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


class Trimmed(nn.Module):
    """Cuts its batch to the longest sample of it."""

    def __init__(self):
        super().__init__()
        self.table, self.head = nn.Embedding(9, 6), nn.Linear(6, C)

    def forward(self, x):
        x = x[:, : int((x != 0).sum(1).max())]
        return self.head(self.table(x).sum(1) / (x != 0).sum(1, keepdim=True))


@pytest.mark.parametrize("lengths", [(2, 3, 7, 5), (7, 2, 3, 5), (2, 2, 2, 7), (5, 5, 5, 5)])
def test_a_model_that_cuts_its_batch_goes_by_the_rules_whichever_samples_come_first(lengths):
    x = torch.zeros(len(lengths), 8, dtype=torch.long)
    for row, length in zip(x, lengths, strict=True):
        row[:length] = 1 + torch.arange(length)
    net = seeded(Trimmed)
    with messages() as said:
        got = F_al.gradient_norm(net, x)
    assert said.passes
    want = torch.stack([reference.gradient_norm(net, row[None])[0] for row in x])
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)
