"""Which samples prove a plan: a few in float64 before any score, or some of the first batch."""

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.gradients import plans, trials
from lightning_al.gradients.errors import NoRule
from lightning_al.gradients.scored_model import ScoredModel
from tests.helpers import reference
from tests.helpers.exact import messages
from tests.helpers.models import C, Mixing, Planes, mix, randn, seeded


def test_finding_out_about_a_large_model_costs_less_than_its_scores_do_thrice(monkeypatch):
    monkeypatch.setattr(plans, "_LARGE", 0)
    for net, x in ((seeded(Planes), randn(4, 2, 5, 5)), (seeded(Planes), randn(4, 2, 48, 48))):
        seen = []

        def run(model, images, seen=seen):
            seen.append(len(images))
            return model(images)

        first = F_al.saal(net, x, forward=run)
        assert sum(seen) <= 8 * len(x)  # scores themselves are two forward passes
        torch.testing.assert_close(first, reference.saal(net, x), rtol=1e-9, atol=1e-12)


def test_rounding_that_leaves_a_doubt_is_looked_at_in_float64(monkeypatch):
    monkeypatch.setattr(plans, "_LARGE", 0)
    compared = []
    in_double = ScoredModel.in_double
    monkeypatch.setattr(ScoredModel, "in_double", lambda model: compared.append(1) or in_double(model))
    for close, wanted in ((1e-4, []), (0.0, [1])):
        monkeypatch.setattr(trials, "_CLOSE", close)
        compared.clear()
        net, x = seeded(Planes).float(), randn(4, 2, 5, 5).float()
        with messages() as engine:
            got = F_al.saal(net, x)
        assert engine.passes
        assert compared == wanted
        torch.testing.assert_close(got.double(), reference.saal(seeded(Planes), x.double()), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("large", [True, False])
def test_a_large_model_that_mixes_its_samples_is_found_out(large, monkeypatch):
    monkeypatch.setattr(plans, "_LARGE", 0 if large else 2**60)
    net, x = seeded(Mixing), randn(4, 6)
    net.how = mix
    got = F_al.gradient_norm(net, x)
    torch.testing.assert_close(got, reference.gradient_norm(net, x), rtol=1e-9, atol=1e-9)


def test_the_first_batch_of_a_large_model_is_its_own_proof(monkeypatch):
    """A batch of two to look at, the scores themselves, and the plain loop of one; one of the next batch."""
    monkeypatch.setattr(plans, "_LARGE", 0)
    net, x, seen = seeded(Planes), randn(9, 2, 5, 5), []

    def run(model, images):
        seen.append(len(images))
        return model(images)

    first = F_al.gradient_norm(net, x, forward=run)
    assert sorted(seen) == [1, 2, 9]
    for wanted in ([9, 1], [9], [9]):
        seen.clear()
        assert torch.equal(F_al.gradient_norm(net, x, forward=run), first)
        assert seen == wanted
    torch.testing.assert_close(first, reference.gradient_norm(net, x), rtol=1e-9, atol=1e-12)


class Leaning(nn.Module):
    """Right for two samples and for three, wrong for a whole batch, out of torch's sight."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(6, C)

    def forward(self, x):
        z = self.head(x)
        return z if len(x) < 4 else z * torch.linspace(1, 2, len(x), dtype=z.dtype)[:, None]


@pytest.mark.parametrize("score", ["gradient_norm", "saal"])
def test_a_large_model_that_its_whole_batch_alone_shows_to_mix_is_found_out(score, monkeypatch):
    monkeypatch.setattr(plans, "_LARGE", 0)
    net, x = seeded(Leaning), randn(6, 6)
    with messages() as engine:
        got = getattr(F_al, score)(net, x)
    assert engine.fell_back
    torch.testing.assert_close(got, getattr(reference, score)(net, x), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("large", [True, False])
def test_losses_that_take_all_samples_together_are_found_out(large, count, monkeypatch):
    monkeypatch.setattr(plans, "_LARGE", 0 if large else 2**60)
    net, x = seeded(lambda: nn.Linear(6, C)), randn(count, 6)

    def losses(outputs):
        return outputs.square().sum(1) / outputs.detach().abs().max().clamp(min=1e6)  # by their largest, which is 1e6

    with messages() as engine:
        got = F_al.gradient_norm(net, x, loss=losses)
    assert any("the loss takes all samples" in said for said in engine.said)
    want = torch.stack([reference.gradient_norm(net, row[None], loss=losses)[0] for row in x])
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-18)


def test_a_first_batch_that_says_nothing_decides_nothing_of_a_large_model(monkeypatch):
    monkeypatch.setattr(plans, "_LARGE", 0)
    net, x = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))), randn(6, 6)
    poisoned = x.clone()
    poisoned[0] = torch.nan
    assert F_al.gradient_norm(net, poisoned)[0].isnan()
    with messages() as engine:
        got = F_al.gradient_norm(net, x)
    assert not engine.fell_back
    assert engine.passes
    torch.testing.assert_close(got, reference.gradient_norm(net, x), rtol=1e-9, atol=1e-12)


def test_further_shapes_of_a_proved_model_cost_a_sample_each():
    """Texts of other lengths: the proof in float64 is of the first alone."""
    net, seen = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, C))), []

    class Mean(nn.Module):
        def __init__(self):
            super().__init__()
            self.net = net

        def forward(self, x):
            return self.net(x).mean(1)

    def run(model, rows):
        seen.append(len(rows))
        return model(rows)

    model = Mean()
    for length in (3, 4, 5):
        x = randn(9, length, 6)
        seen.clear()
        got = F_al.gradient_norm(model, x, forward=run)
        torch.testing.assert_close(got, reference.gradient_norm(model, x), rtol=1e-9, atol=1e-12)
        if length > 3:
            assert sorted(seen) == [1, 2, 9]


def test_a_further_shape_whose_one_sample_says_nothing_is_proved_by_more(monkeypatch):
    net = seeded(lambda: nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, C)))
    model, refused = nn.Sequential(net, nn.AdaptiveAvgPool2d((1, C)), nn.Flatten()), []

    def refuse(*args):
        refused.append(1)
        raise NoRule("by rounding")

    F_al.gradient_norm(model, randn(5, 3, 6))
    monkeypatch.setattr(trials.Trial, "compare", refuse)
    x = randn(5, 4, 6)
    with messages() as engine:
        got = F_al.gradient_norm(model, x)
        again = F_al.gradient_norm(model, x)
    assert refused == [1]
    assert not engine.fell_back
    assert torch.equal(got, again)
    torch.testing.assert_close(got, reference.gradient_norm(model, x), rtol=1e-9, atol=1e-12)
