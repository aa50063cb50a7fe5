"""What two passes show of a model: the first of a few samples, the second that of the scores themselves."""

import contextlib

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.gradients import looks as looks_module
from lightning_al.gradients import plans
from lightning_al.gradients.costs import GAINED, KERNEL
from lightning_al.gradients.tape import Tape
from tests.helpers import reference
from tests.helpers.exact import messages
from tests.helpers.marks import with_onednn
from tests.helpers.models import NAMES, C, case, randn, seeded


def assert_goes_by_the_rules(net, x):
    with messages() as engine:
        got = F_al.saal(net, x)
    assert not engine.fell_back
    assert engine.passes
    torch.testing.assert_close(got, reference.saal(net, x), rtol=1e-9, atol=1e-12)


def cut_to(lengths, x):
    """The samples with zeros from these lengths on."""
    for row, length in zip(x, lengths, strict=True):
        row[..., length:] = 0
    return x


def tokens(*lengths):
    return cut_to(lengths, torch.randint(1, 20, (len(lengths), 9), generator=torch.Generator().manual_seed(0)))


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

    def before_backward(self):
        raise Stop


def cost_of_two(score, network, layouts, samples, *, perturb):
    """What two groups cost that are recorded as such."""
    with contextlib.closing(Recorded(network, 2, len(samples), layouts)) as tape:
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
    monkeypatch.setattr(
        plans, "first_look", lambda *args, **options: looks.append((args, first_look(*args, **options))) or looks[-1][1]
    )
    monkeypatch.setattr(
        plans.PlanFinder, "_trial", lambda self, plan, *args: trials.append(plan) or trial(self, plan, *args)
    )
    net, x = (seeded(SequenceFirst), randn(5, 5, 4)) if name == "sequence first" else case(name)[:2]
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
    return cut_to(lengths, randn(len(lengths), 9))


@pytest.mark.parametrize("large", [True, False])
@pytest.mark.parametrize("lengths", [(3, 5, 9, 4, 6), (9, 3, 4, 5, 6), (4, 4, 4, 4, 4), (2, 9)])
def test_a_large_model_that_cuts_its_batch_goes_by_the_rules(lengths, large, monkeypatch):
    """The first samples may be shorter than the longest of the batch, which then has another length as well."""
    monkeypatch.setattr(plans, "_LARGE", 0 if large else 2**60)
    net, x = seeded(Cut), padded(*lengths)
    assert_goes_by_the_rules(net, x)


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
    assert_goes_by_the_rules(net, x)


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
    monkeypatch.setattr(
        plans, "first_look", lambda *args, **options: looks.append(first_look(*args, **options)) or looks[-1]
    )
    F_al.saal(seeded(lambda: case(name)[0]), x)
    bytes_of_two = 2 * looks[0].costs.bytes_per_group
    looks.clear()
    with messages() as engine:
        got = F_al.saal(net, x, max_bytes=bytes_of_two)
    assert not engine.fell_back
    assert sorted({look.groups for look in looks}) == ([3] if count == 2 else [2, 3])
    torch.testing.assert_close(got, reference.saal(net, x), rtol=1e-9, atol=1e-12)


class Shared(nn.Module):
    """Weights that a network makes of coordinates, the same for all samples."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Linear(2, 8), nn.Linear(8, 4), nn.Linear(4, C)
        self.register_buffer("places", randn(600, 2))

    def forward(self, x):
        made = self.second(self.first(self.places).tanh())
        return self.head((x.unsqueeze(-1) * made).mean(1))


def test_what_samples_share_is_reckoned_for_each_of_them(monkeypatch):
    """The first look has it once, the scores each sample's own: a batch that would take too much is cut."""
    monkeypatch.setattr(plans, "_LARGE", 0)
    looks, seconds = [], []
    first_look, both = plans.first_look, plans.second_look_and_scores
    monkeypatch.setattr(
        plans, "first_look", lambda *args, **options: looks.append(first_look(*args, **options)) or looks[-1]
    )
    monkeypatch.setattr(
        plans, "second_look_and_scores", lambda *args, **options: seconds.append(both(*args, **options)) or seconds[-1]
    )
    net, x, seen = seeded(Shared), randn(12, 600), []

    def run(model, rows):
        seen.append(len(rows))
        return model(rows)

    F_al.saal(seeded(Shared), x)
    thought, found = looks[0].costs.bytes_per_group, seconds[0][0].costs.bytes_per_group
    assert found > 1.5 * thought
    got = F_al.saal(net, x, forward=run, max_bytes=12 * thought)
    assert 12 in seen
    assert max(seen[seen.index(12) + 1 :]) == 12 * thought // found
    torch.testing.assert_close(got, reference.saal(net, x), rtol=1e-9, atol=1e-12)


class Winsorised(nn.Module):
    """Holds outliers at a multiple of the batch's median, where the batch is large enough to have one."""

    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, C))

    def forward(self, x):
        if len(x) > 4:
            size = x.norm(dim=1)
            x = x * (3 * size.median() / size).clamp(max=1).unsqueeze(1)
        return self.net(x)


@pytest.mark.parametrize("count", [5, 16, 31])
@pytest.mark.parametrize("outlier", [1, 4])
def test_a_large_model_that_mixes_in_batches_larger_than_a_look_is_found_out(outlier, count, monkeypatch):
    monkeypatch.setattr(plans, "_LARGE", 0)
    net, x = seeded(Winsorised), randn(count, 6)
    x[outlier] *= 10
    torch.testing.assert_close(F_al.saal(net, x), reference.saal(net, x), rtol=1e-9, atol=1e-12)


class FrozenCut(nn.Module):
    """Frozen features of a batch that is cut to its longest, pooled by attention; all layers that train see (B, d)."""

    def __init__(self):
        super().__init__()
        self.table, self.query = nn.Embedding(20, 6), nn.Linear(6, 1)
        self.table.requires_grad_(False)
        self.query.requires_grad_(False)
        self.head = nn.Linear(6, C)

    def forward(self, x):
        x = x[:, : int((x != 0).sum(1).max())]
        h = self.table(x)
        attention = self.query(h).squeeze(-1).masked_fill(x == 0, -1e9).softmax(1)
        return self.head((attention.unsqueeze(-1) * h).sum(1))


@pytest.mark.parametrize("lengths", [(3, 5, 4, 9, 6, 3), (3, 4, 2, 5, 6)])
def test_operations_over_lengths_are_not_taken_for_those_over_samples(lengths, monkeypatch):
    """The first two samples may be cut to another length than the batch."""
    monkeypatch.setattr(plans, "_LARGE", 0)
    assert_goes_by_the_rules(seeded(FrozenCut), tokens(*lengths))


class Places(nn.Module):
    """A table of places that trains, of as many as the longest of the batch has; no layer sees samples by places."""

    def __init__(self):
        super().__init__()
        self.table, self.places, self.head = nn.Embedding(20, 6), nn.Embedding(20, 6), nn.Linear(6, C)
        self.table.requires_grad_(False)

    def forward(self, x):
        x = x[:, : int((x != 0).sum(1).max())]
        known = (x != 0).double().unsqueeze(-1)
        h = (self.table(x) + self.places(torch.arange(x.shape[1]))).tanh()
        return self.head((h * known).sum(1) / known.sum(1))


@pytest.mark.parametrize("lengths", [(3, 4, 4, 8), (3, 2, 3, 9, 5, 3), (3, 2, 3, 8, 5, 3)])
def test_places_are_not_taken_for_samples_where_there_are_as_many_times_more(lengths, monkeypatch):
    """Twice the samples of the first look and twice their places: what has one row for each place seems to grow."""
    monkeypatch.setattr(plans, "_LARGE", 0)
    assert_goes_by_the_rules(seeded(Places), tokens(*lengths))


def test_losses_that_mix_in_batches_larger_than_a_look_are_found_out_where_lengths_differ(monkeypatch):
    monkeypatch.setattr(plans, "_LARGE", 0)
    net, x = seeded(Cut), padded(3, 5, 9, 4, 6, 7, 8)

    def losses(outputs):
        values = outputs.square().sum(1)
        if len(values) > 4:
            values = values * (1.2 * values.detach().median() / values.detach()).clamp(max=1)
        return values

    with messages() as engine:
        got = F_al.gradient_norm(net, x, loss=losses)
    assert any("the loss takes all samples" in said for said in engine.said)
    want = torch.stack([reference.gradient_norm(net, row[None], loss=losses)[0] for row in x])
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


class Doubled(torch.autograd.Function):
    """Asks for a view in its backward pass."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, g):
        return (g.view(len(g), -1) * 2).view(g.shape)


class CutViewing(nn.Module):
    """Cuts images to the widest."""

    def __init__(self):
        super().__init__()
        self.first, self.second, self.head = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 1), nn.Linear(4, C)

    def forward(self, x):
        x = x[..., : int((x != 0).any(0).any(0).any(0).nonzero().max()) + 1]
        known = (x != 0).any(1, keepdim=True).to(x)
        return self.head((self.second(Doubled.apply(self.first(x).tanh())) * known).sum((2, 3)))


@pytest.mark.parametrize("widths", [(9, 4, 5, 6, 3, 9), (4, 4, 5, 6, 3, 9)])
def test_a_large_model_that_cuts_its_batch_and_does_not_go_with_channels_last(widths, monkeypatch):
    monkeypatch.setattr(plans, "_LARGE", 0)
    assert_goes_by_the_rules(seeded(CutViewing), cut_to(widths, randn(len(widths), 2, 5, 9)))


class Two(nn.Module):
    """Two convolutions of images; the second one is called twice."""

    def __init__(self, width=4):
        super().__init__()
        self.first, self.second = nn.Conv2d(2, width, 3, padding=1), nn.Conv2d(width, width, 3, padding=1, stride=2)
        self.head = nn.Linear(width, C)

    def forward(self, x):
        return self.head(self.second(self.second(self.first(x)).tanh()).mean((2, 3)))


@with_onednn
@pytest.mark.filterwarnings("ignore:TF32 acceleration")
@pytest.mark.parametrize(("score", "passes"), [(F_al.gradient_norm, 3), (F_al.saal, 4)])
def test_what_the_loop_gains_by_channels_last_is_counted_where_it_may_go_so(score, passes, monkeypatch):
    looks, first_look = [], plans.first_look

    def kept(*args, **options):
        with monkeypatch.context() as patch:
            patch.setattr(looks_module, "_gained_by_loop", lambda *args, **options: 0.0)
            without = first_look(*args, **options).costs.beyond_loop
        looks.append(first_look(*args, **options).costs.beyond_loop - without)
        return first_look(*args, **options)

    monkeypatch.setattr(plans, "first_look", kept)
    x = randn(3, 2, 16, 16).float()
    score(seeded(Two).float(), x)
    work = 16**2 * 9 * 2 * 4 + (8**2 + 4**2) * 9 * 4 * 4
    assert looks == [pytest.approx(GAINED * KERNEL["cpu"] * passes * work)]
    looks.clear()
    score(seeded(Two), x.double())
    score(seeded(lambda: Two(64)).float(), x)  # more weights than are worth a copy for so few pixels
    with torch.backends.mkldnn.flags(enabled=False):
        score(seeded(Two).float(), x)
    assert looks == [0.0] * 3
