"""What two passes show of a model: the first of a few samples, the second that of the scores themselves."""

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.gradients import plans
from lightning_al.gradients.tape import Tape
from tests.helpers import reference
from tests.helpers.exact import messages
from tests.helpers.models import NAMES, C, case, randn, seeded


class SequenceFirst(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm, self.head = nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, C)

    def forward(self, x):
        return self.head(self.norm(self.first(x.transpose(0, 1)).tanh()).mean(0))


class Stop(Exception):
    pass


class Recorded(Tape):
    """Stops at the backward pass."""

    def before_backward(self, *, perturb):
        raise Stop


def cost_of_two(score, network, layouts, samples, *, perturb):
    """What two groups cost that are recorded as such."""
    tape = Recorded(network, 2, len(next(iter(samples.values())) if isinstance(samples, dict) else samples), layouts)
    with pytest.raises(Stop):
        score.fast(tape, samples)
    return (
        sum(call.beyond_loop(perturb=perturb) for call in tape.calls),
        sum(call.bytes_kept(perturb=perturb) for call in tape.calls),
    )


@pytest.mark.parametrize("name", [n for n in NAMES if n not in ("pytree inputs", "branch")] + ["sequence first"])
def test_costs_are_known_before_it_is_known_where_rows_are(name, monkeypatch):
    """Counted as one unit, whose rows are then taken for those of two, and counted as two."""
    monkeypatch.setattr(plans, "_LARGE", 0)
    looks, trials = [], []
    first_look, trial = plans.first_look, plans.PlanFinder._trial
    monkeypatch.setattr(plans, "first_look", lambda *args: looks.append((args, first_look(*args))) or looks[-1][1])
    monkeypatch.setattr(
        plans.PlanFinder, "_trial", lambda self, plan, *args: trials.append(plan) or trial(self, plan, *args)
    )
    net, x = (seeded(SequenceFirst), randn(5, 4, 4)) if name == "sequence first" else case(name)[:2]
    with messages() as engine:
        F_al.saal(net, x)
    assert not engine.fell_back
    (score, network, samples, groups), look = looks[0]
    beyond_loop, kept = cost_of_two(score, network, trials[0].layouts, samples, perturb=True)
    assert groups == 2
    assert look.costs.beyond_loop == pytest.approx(beyond_loop)
    assert kept <= 2 * look.costs.bytes_per_group


class Cut(nn.Module):
    """Cuts a batch to the longest of it, of zeros at the end."""

    def __init__(self):
        super().__init__()
        self.layer, self.head = nn.Linear(1, 6), nn.Linear(6, C)

    def forward(self, x):
        longest = int((x != 0).any(0).nonzero().max()) + 1
        kept = x[:, :longest]
        mask = (kept != 0).to(x).unsqueeze(-1)
        return self.head((self.layer(kept.unsqueeze(-1)).tanh() * mask).sum(1))


def padded(*lengths):
    x = randn(len(lengths), 9)
    for row, length in zip(x, lengths, strict=True):
        row[length:] = 0
    return x


@pytest.mark.parametrize("large", [True, False])
@pytest.mark.parametrize("lengths", [(3, 5, 9, 4, 6), (9, 3, 4, 5, 6), (4, 4, 4, 4, 4), (2, 9)])
def test_a_large_model_that_cuts_its_batch_goes_by_the_rules(lengths, large, monkeypatch):
    """The first samples may be shorter than the longest of the batch, which then has another length as well."""
    monkeypatch.setattr(plans, "_LARGE", 0 if large else 2**60)
    net, x = seeded(Cut), padded(*lengths)
    with messages() as engine:
        got = F_al.saal(net, x)
    assert not engine.fell_back
    assert engine.passes
    torch.testing.assert_close(got, reference.saal(net, x), rtol=1e-9, atol=1e-12)


class Viewing(nn.Module):
    """Asks for a view that images with their channels last do not have."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Linear(64, C)

    def forward(self, x):
        return self.head(self.second(self.first(x).tanh()).view(len(x), -1))


@pytest.mark.parametrize("count", [2, 3, 6])
def test_a_large_model_that_does_not_go_with_channels_last(count, monkeypatch):
    monkeypatch.setattr(plans, "_LARGE", 0)
    net, x = seeded(Viewing), randn(count, 2, 4, 4)
    with messages() as engine:
        got = F_al.saal(net, x)
    assert not engine.fell_back
    assert engine.passes
    torch.testing.assert_close(got, reference.saal(net, x), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("count", [2, 3, 5, 7])
@pytest.mark.parametrize("name", ["convolution", "attention", "embedding"])
def test_first_batches_of_two_are_seen_beside_three(name, count, monkeypatch):
    """A budget of two samples at once, whichever number there are: as many as a first look is at."""
    monkeypatch.setattr(plans, "_LARGE", 0)
    net, x, *_ = case(name)
    x = x.repeat_interleave(2, 0)[:count] * (
        1 if x.dtype == torch.long else torch.linspace(1, 2, count).double().view(-1, *[1] * (x.ndim - 1))
    )
    looks, first_look = [], plans.first_look
    monkeypatch.setattr(plans, "first_look", lambda *args: looks.append(first_look(*args)) or looks[-1])
    F_al.saal(seeded(lambda: case(name)[0]), x)
    bytes_of_two = 2 * looks[0].costs.bytes_per_group
    looks.clear()
    with messages() as engine:
        got = F_al.saal(net, x, max_bytes=bytes_of_two)
    assert not engine.fell_back
    assert sorted({look.groups for look in looks}) == ([3] if count == 2 else [2, 3])
    torch.testing.assert_close(got, reference.saal(net, x), rtol=1e-9, atol=1e-12)
