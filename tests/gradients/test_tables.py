"""Embedding tables in the plain loop, whose gradients are of the rows that a sample looks up."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lightning_al import functional as F_al
from lightning_al.gradients import differentiators, tables
from tests.helpers.exact import SCORES
from tests.helpers.models import C, Model, Notes, randn, seeded

WORDS = torch.tensor([[1, 4, 1, 0, 6], [2, 2, 0, 0, 3], [0, 0, 0, 0, 0]])


@pytest.fixture(autouse=True)
def small_ones_as_well(monkeypatch):
    monkeypatch.setattr(tables, "_LARGE", 1)
    monkeypatch.setattr(tables, "_FEW", 0)


@pytest.fixture
def sparse(monkeypatch):
    """How many sparse gradients the loop got."""
    entries, seen = differentiators._of_rows, []

    def noted(gradient, parameter):
        seen.append(gradient is not None and gradient.is_sparse)
        return entries(gradient, parameter)

    monkeypatch.setattr(differentiators, "_of_rows", noted)
    return seen


def mean(m, x):
    return m.head(m.table(x).tanh().mean(1))


def tied(m, x):
    return F.linear(m.table(x).tanh().mean(1), m.table.weight)


def twice(m, x):
    return m.head((m.table(x).tanh() + m.table(x.flip(1)).sin()).mean(1))


def model(forward=mean, **options):
    def build():
        head = {} if forward is tied else {"head": nn.Linear(3, C)}
        return Model(forward, table=nn.Embedding(7, 3, **options), **head)

    return seeded(build)


def assert_equals_the_loop(net, x):
    """One group at a time, which goes by the plain loop."""
    for name, (score, loop, options) in SCORES.items():
        size = options.get("group_size", 1)
        for start in range(0, len(x) - size + 1, size):
            group = x[start : start + size]
            got, want = score(net, group, **options), loop(net, group, **options)
            torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12, msg=f"{name}, from {start}")


@pytest.mark.parametrize("padding", [None, 0])
@pytest.mark.parametrize("forward", [mean, twice])
def test_every_score_equals_the_loop(forward, padding, sparse):
    """Rows that are looked up several times, and a sample of nothing but padding."""
    assert_equals_the_loop(model(forward, padding_idx=padding), WORDS)
    assert any(sparse)


def test_a_table_that_is_tied_to_the_head(sparse):
    assert_equals_the_loop(model(tied), WORDS)
    assert not any(sparse)  # autograd adds a whole gradient


@pytest.mark.parametrize("name", ["table.weight", "head"])
def test_frozen_weights(name):
    net = model()
    for of, p in net.named_parameters():
        p.requires_grad_(not of.startswith(name))
    assert_equals_the_loop(net, WORDS)


def detached(m, x):
    return mean(m, x) * m.table.weight.detach().square().sum()


def test_a_table_that_is_asked_for_more_than_rows(sparse):
    """In the second pass, where it is moved in a few rows."""
    assert_equals_the_loop(model(detached), WORDS)
    assert any(sparse)


@pytest.fixture
def moved():
    table, rows, others = randn(7, 3), torch.tensor([1, 4, 5]), randn(3, 3, seed=1)
    whole = table.clone()
    whole[rows] = others
    return tables.with_rows(table, rows, others), whole


@pytest.mark.parametrize("ids", [[4], [1, 4, 1, 5], [[0, 4], [6, 6]], [[2, 3]], 5, []], ids=str)
@pytest.mark.parametrize("kind", [torch.int64, torch.int32])
@pytest.mark.filterwarnings("error")
def test_rows_of_a_moved_table(moved, ids, kind):
    table, whole = moved
    ids = torch.tensor(ids, dtype=kind)
    ids = torch.stack([ids, ids], -1)[..., 0]  # with gaps in memory
    for options in ({}, {"padding_idx": 4}, {"sparse": True}):
        torch.testing.assert_close(F.embedding(ids, table, **options), F.embedding(ids, whole), rtol=0, atol=0)
    assert table.shape == (7, 3)
    assert (len(table), table.dtype) == (7, torch.float64)
    assert table.written is None  # it never was


def test_more_than_rows_of_a_moved_table(moved):
    table, whole = moved
    x = randn(2, 3, seed=2)
    for of in (
        torch.sum,
        torch.Tensor.t,
        lambda t: F.linear(x, t),
        lambda t: t[4],
        lambda t: t * t,
        torch.Tensor.clone,
    ):
        torch.testing.assert_close(of(table), of(whole), rtol=0, atol=0)
    table.mul_(2)
    torch.testing.assert_close(F.embedding(torch.tensor([0, 4]), table), 2 * whole[[0, 4]])
    with pytest.raises(IndexError):
        F.embedding(torch.tensor([7]), tables.with_rows(whole, torch.tensor([1]), whole[:1]))


def test_a_moved_table_of_bounded_rows(moved):
    table, whole = moved
    ids = torch.tensor([1, 0])
    torch.testing.assert_close(F.embedding(ids, table, max_norm=0.5), F.embedding(ids, whole, max_norm=0.5))


def test_a_table_that_is_not_looked_up():
    net = seeded(lambda: Model(mean, table=nn.Embedding(7, 3), other=nn.Embedding(5, 2), head=nn.Linear(3, C)))
    assert_equals_the_loop(net, WORDS)


def test_many_samples_in_float32():
    net, x = model(), torch.randint(7, (9, 5), generator=torch.Generator().manual_seed(1))
    exact = F_al.saal(net, x, rho=0.05)
    torch.testing.assert_close(F_al.saal(net.float(), x, rho=0.05).double(), exact, rtol=1e-5, atol=1e-6)


@pytest.mark.filterwarnings("ignore:.*jit.script")
def test_scripted_layers_beside_inputs_that_look_nothing_up():
    def forward(m, x):
        return m.head(x["values"] * x["mask"])

    head = nn.Linear(5, C).double()
    x = {"values": randn(2, 5), "mask": torch.ones(2, 5, dtype=torch.bool)}
    want = F_al.gradient_norm(Model(forward, head=head), x)
    got = F_al.gradient_norm(Model(forward, head=torch.jit.script(head)), x)
    torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-12)


def test_few_rows_are_those_that_a_group_can_look_up(monkeypatch):
    monkeypatch.setattr(tables, "_FEW", 2)
    net = seeded(lambda: Model(mean, table=nn.Embedding(20, 3)))
    ids = torch.zeros(4, 5, dtype=torch.long)
    assert tables.large_tables(net, {"ids": ids, "values": randn(4, 50)}, 2) == [net.table]
    assert tables.large_tables(net, ids, 3) == []
    assert tables.large_tables(net, ids.double(), 1) == []
    assert tables.large_tables(net, torch.zeros(0, 5, dtype=torch.long), 1) == []


def gradient_inside(m, x):
    with torch.enable_grad():
        y = mean(m, x)
        (slope,) = torch.autograd.grad(y.logsumexp(1).sum(), m.table.weight, retain_graph=True)
    return y + slope.max().detach()


def hook_inside(m, x):
    if m.table.weight.requires_grad:
        m.table.weight.register_hook(lambda gradient: gradient.clamp(-0.01, 0.01))
    return mean(m, x)


@pytest.mark.parametrize("forward", [gradient_inside, hook_inside])
def test_models_that_need_whole_gradients(forward, sparse):
    net = model(forward)
    x = WORDS[:1]
    for _ in range(2):
        got = F_al.gradient_norm(net, x)
        assert not net.table.sparse
    copied = model(forward, sparse=False)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tables, "_LARGE", 10**9)
        torch.testing.assert_close(got, F_al.gradient_norm(copied, x))
    assert sparse.count(True) <= 1  # tried once


class Own(nn.Embedding):
    def forward(self, x):
        assert not self.sparse
        return super().forward(x) * 2


class Raising(nn.Module):
    def __init__(self):
        super().__init__()
        self.table, self.seen = nn.Embedding(7, 3), Notes()

    def forward(self, x):
        self.seen.append(self.table.sparse)
        if len(self.seen) > 1:
            raise ValueError("Enough.")
        return self.table(x).mean(1)


def test_tables_are_as_they_were():
    net = seeded(lambda: Model(mean, table=Own(7, 3), head=nn.Linear(3, C)))
    assert_equals_the_loop(net, WORDS[:2])
    with pytest.raises(ValueError, match="Enough"):
        F_al.saal(failing := seeded(Raising), WORDS[:1], rho=0.05)
    assert any(failing.seen)
    assert not failing.table.sparse
    given = model(sparse=True)
    torch.testing.assert_close(F_al.gradient_norm(given, WORDS[:1]), F_al.gradient_norm(model(), WORDS[:1]))
    assert given.table.sparse


def test_floating_point_inputs_look_nothing_up():
    def forward(m, x):
        m.seen.append(m.table.sparse)
        return mean(m, x.abs().long() % 7)

    net = seeded(lambda: Model(forward, table=nn.Embedding(7, 3), head=nn.Linear(3, C)))
    net.seen = Notes()
    F_al.gradient_norm(net, randn(1, 5))
    assert net.seen
    assert not any(net.seen)
