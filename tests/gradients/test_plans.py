"""When a plan is made anew, and that no model that needs another way is taken for one that goes by the rules."""

import gc
import weakref

import pytest
import torch
from torch import nn

from lightning_al import functional as F_al
from lightning_al.gradients import costs, plans
from lightning_al.gradients.by_torch_func import ByTorchFunc
from lightning_al.gradients.scored_model import ScoredModel
from lightning_al.inference.memory import saved_bytes
from tests.helpers import reference
from tests.helpers.exact import messages
from tests.helpers.models import B, C, Mixing, Planes, case, mix, randn, seeded
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


PLAINLY = {
    "saal": (F_al.saal, reference.saal, {"rho": 0.3}),
    "asam": (F_al.saal, reference.saal, {"rho": 0.3, "perturbation": "asam", "score": "difference"}),
    "groups": (F_al.saal, reference.saal, {"rho": 0.3, "group_size": 2}),
    "entropy": (F_al.gradient_norm, reference.gradient_norm, {}),
    "tensor_sum": (F_al.gradient_norm, reference.gradient_norm, {"norm": "tensor_sum"}),
}


@pytest.mark.few(4)
@pytest.mark.parametrize("kind", PLAINLY)
@pytest.mark.parametrize(("size", "alone"), [(96, True), (5, False)])
def test_large_maps_are_scored_by_the_plain_loop_and_small_ones_by_the_rules(kind, size, alone):
    score, written_out, options = PLAINLY[kind]
    net, x = seeded(Planes), randn(5, 2, size, size)
    score(net, x, **options)  # looks at the model
    with messages() as engine:
        got = score(net, x, **options)
    assert (engine.passes == 0) is alone
    torch.testing.assert_close(got, written_out(net, x, **options), rtol=1e-9, atol=1e-12)


def test_the_way_follows_from_shapes_alone():
    """A campaign that goes on after it was killed may meet another batch first, on a busier machine."""
    ways = {}
    for size in (5, 16, 48):
        for count in (2, 5):
            net, x = seeded(Planes), randn(count, 2, size, size)
            with messages() as engine:
                F_al.saal(net, x)
            ways.setdefault(size, set()).add(any("plain loop costs less" in m for m in engine.said))
    assert all(len(each) == 1 for each in ways.values())
    assert [each.pop() for each in ways.values()] == [False, False, True]


@pytest.mark.parametrize("size", [5, 96])
def test_where_the_plain_loop_costs_less_no_loss_of_several_samples_is_looked_at(size):
    asked = []

    def losses(outputs, targets):
        asked.append(len(outputs))
        return nn.functional.cross_entropy(outputs, targets, reduction="none")

    net, x = seeded(Planes), randn(5, 2, size, size)
    got = F_al.saal(net, x, rho=0.3, loss_fn=losses)
    assert (set(asked) == {1}) == (size == 96)
    torch.testing.assert_close(got, reference.saal(net, x, rho=0.3), rtol=1e-9, atol=1e-12)


def test_samples_that_go_alone_score_the_same_in_every_batch():
    net, x = seeded(Planes).float(), randn(6, 2, 48, 48).float()
    whole = F_al.saal(net, x)
    parts = torch.cat([F_al.saal(seeded(Planes).float(), x[i:j]) for i, j in ((0, 1), (1, 4), (4, 6))])
    assert torch.equal(parts, whole)


def test_the_memory_of_a_sample_is_reckoned_near_what_its_gradient_keeps(monkeypatch):
    found = []
    find = plans.PlanFinder.find
    monkeypatch.setattr(
        plans.PlanFinder, "find", lambda *args, **options: found.append(find(*args, **options)) or found[-1]
    )
    for size in (16, 64):
        net, x = seeded(Planes), randn(3, 2, size, size)
        F_al.saal(net, x)
        with saved_bytes(net.eval().parameters()) as saved:
            net(x[:1].clone())
        assert saved.total <= found[-1].bytes_per_group <= 4 * saved.total


def test_what_torch_func_cannot_trace_is_tried_once(monkeypatch):
    tried = []
    vectorized = ByTorchFunc._vectorized
    monkeypatch.setattr(ByTorchFunc, "_vectorized", lambda *args: tried.append(1) or vectorized(*args))
    net, x = seeded(lambda: nn.Linear(4, C)), randn(4, 4)

    def losses(outputs):
        return torch.stack([each[: int((each > -9).sum())].square().sum() for each in outputs])

    F_al.gradient_norm(net, x, loss=losses)
    first = len(tried)
    for _ in range(2):
        got = F_al.gradient_norm(net, x, loss=losses)
    assert len(tried) == first
    want = torch.stack([reference.gradient_norm(net, row[None], loss=losses)[0] for row in x])
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


def test_tables_of_position_that_blocks_use_themselves_are_found_out_together():
    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.table, self.layer = nn.Parameter(torch.rand(3, 6)), nn.Linear(6, 6)

        def forward(self, x):
            return self.layer(x).tanh() + self.table[torch.tensor([0, 2])].sum(0)

    net, x, seen = seeded(lambda: nn.Sequential(*[Block() for _ in range(5)], nn.Linear(6, C))), randn(4, 6), []

    def run(model, rows):
        seen.append(len(rows))
        return model(rows)

    with messages() as engine:
        got = F_al.gradient_norm(net, x, forward=run)
    assert not engine.fell_back
    assert seen[:3] == [2, 2, 3]  # the first pass once more, not once for each block
    torch.testing.assert_close(got, reference.gradient_norm(net, x), rtol=1e-9, atol=1e-12)


def test_layers_without_a_rule_go_alone_where_nothing_else_gains():
    def projected(hidden):
        return nn.LSTM(64, hidden + 1, proj_size=hidden)

    class Texts(nn.Module):
        def __init__(self, hidden):
            super().__init__()
            self.table, self.layer, self.head = nn.Embedding(50, 64), projected(hidden), nn.Linear(hidden, C)

        def forward(self, x):
            return self.head(self.layer(self.table(x.T))[0].mean(0))

    x = torch.randint(50, (3, 5), generator=torch.Generator().manual_seed(0))
    for hidden, score, alone in ((128, "gradient_norm", True), (128, "saal", True), (8, "saal", False)):
        net = seeded(lambda hidden=hidden: Texts(hidden)).float()
        with messages() as engine:
            getattr(F_al, score)(net, x)
        assert any("plain loop costs less" in said for said in engine.said) is alone


@pytest.fixture
def costs_of_calls(monkeypatch):
    """As they are, where in other tests a batch of few samples costs no more than samples alone."""
    for each, cost in ((costs.CALL, 3.2e6), (costs.CALL_ON_MAPS, 4.5e6)):
        monkeypatch.setitem(each, "cpu", cost)


@pytest.mark.usefixtures("costs_of_calls")
@pytest.mark.parametrize("first", [2, 16])
@pytest.mark.parametrize(("kind", "enough"), [("convolutions", 3), ("linear", 3)])
def test_few_samples_of_a_small_model_go_one_by_one(kind, enough, first):
    """Whether they come first or after more of them."""
    build, x = {
        "linear": (lambda: nn.Sequential(*(nn.Linear(4, 4) for _ in range(8)), nn.Linear(4, C)), randn(16, 4)),
        "convolutions": (
            lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(64, C)),
            randn(16, 3, 6, 6),
        ),
    }[kind]
    net = seeded(build).eval()
    F_al.saal(net, x[:first], rho=0.05)
    for count in (1, enough - 1, enough, 16):
        with messages() as engine:
            got = F_al.saal(net, x[:count], rho=0.05)
        assert (engine.passes > 0) is (count >= enough), count
        assert not engine.fell_back
        torch.testing.assert_close(got, reference.saal(net, x[:count], rho=0.05), rtol=1e-9, atol=1e-12)


@pytest.mark.usefixtures("costs_of_calls")
@pytest.mark.parametrize("before", [(), (2,), (3,), (1, 3, 2)])
def test_few_samples_before_a_first_batch_do_not_weaken_its_proof(before, monkeypatch):
    prove, proofs = plans.Trial.prove, []

    def noted(self, *args):
        proofs.append(len(self.samples))
        return prove(self, *args)

    monkeypatch.setattr(plans.Trial, "prove", noted)
    monkeypatch.setattr(plans.Trial, "compare", None)  # of large models
    net = seeded(lambda: nn.Sequential(*(nn.Linear(4, 4) for _ in range(16)), nn.Linear(4, C)))
    x = randn(16, 4)
    for count in (*before, 16, 2, 16):
        got = F_al.gradient_norm(net, x[:count])
        torch.testing.assert_close(got, reference.gradient_norm(net, x[:count]), rtol=1e-9, atol=1e-12)
    assert len(proofs) == 1
    assert proofs[0] >= 2


@pytest.mark.usefixtures("costs_of_calls")
def test_long_sequences_go_by_the_rules_where_there_are_enough_of_them():
    """Torch has one kernel for all steps of an LSTM on a CPU, which a small batch does not make up for."""

    class Texts(nn.Module):
        def __init__(self, kind):
            super().__init__()
            self.layer, self.head = kind(4, 4, batch_first=True), nn.Linear(4, C)

        def forward(self, x):
            return self.head(self.layer(x)[0].mean(1))

    for kind, samples, by_rules in ((nn.LSTM, 3, False), (nn.LSTM, 12, True), (nn.GRU, 3, True)):
        net, x = seeded(lambda kind=kind: Texts(kind)).float(), randn(samples, 120, 4).float()
        F_al.gradient_norm(net, x)
        with messages() as engine:
            got = F_al.gradient_norm(net, x)
        assert (engine.passes > 0) is by_rules, (kind, samples)
        torch.testing.assert_close(got, reference.gradient_norm(net, x), rtol=1e-4, atol=1e-6)
