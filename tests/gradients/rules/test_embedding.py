import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from lightning_al import functional as F_al
from lightning_al.gradients.rules.embedding import EmbeddingRule
from tests.helpers import reference
from tests.helpers.exact import BRIEF, FEW, SCORES, assert_exact, assert_exact_otherwise, messages, probe
from tests.helpers.extent import examples
from tests.helpers.models import B, C, seeded

WAYS = {"inner products": True, "gradients": False}


@pytest.fixture(params=WAYS)
def way(request, monkeypatch):
    monkeypatch.setattr(EmbeddingRule, "prefers_inner_products", lambda *a, **k: WAYS[request.param])


def words(top, *shape):
    return torch.randint(top, (B, *shape), generator=torch.Generator().manual_seed(2))


@examples(5)
@given(
    shape=st.lists(st.integers(1, 4), max_size=2),
    rows=st.integers(2, 5),
    dim=st.integers(1, 3),
    padding=st.sampled_from([None, 0, -1]),
)
def test_any_shape_equals_the_loop(way, shape, rows, dim, padding):
    net = probe(lambda: nn.Sequential(nn.Embedding(rows, dim, padding_idx=padding), nn.Linear(dim, 2)))
    assert_exact(net, words(rows, *shape), FEW)


def test_every_score_equals_the_loop(way):
    assert_exact(probe(lambda: nn.Embedding(4, 3, padding_idx=1)), words(4, 6))


def test_batch_in_the_second_dimension(way):
    net = probe(lambda: nn.Embedding(6, 3), lambda layer, x: layer(x.t()).transpose(0, 1))
    assert_exact(net, words(6, 4), FEW)


class Positions(nn.Module):
    """Looked up by position: an input that all samples share, with no batch dimension or one of 1."""

    def __init__(self, how):
        super().__init__()
        self.how = how
        self.tokens, self.positions = nn.Embedding(9, 4), nn.Embedding(7, 4)
        self.mixing, self.head = nn.Linear(4, 4), nn.Linear(4, C)

    def forward(self, x):
        here = torch.arange(x.shape[1])
        if self.how == "plain":
            h = self.tokens(x) + self.positions(here)
        elif self.how == "in place":
            h = self.tokens(x)
            h += self.positions(here)
        elif self.how == "batch of one":
            h = self.tokens(x) + self.positions(here.unsqueeze(0))
        elif self.how == "unsqueezed":
            h = self.tokens(x) + self.positions(here).unsqueeze(0)
        elif self.how == "expanded":
            h = self.tokens(x) + self.positions(here).expand(len(x), -1, -1)
        elif self.how == "repeated":
            h = torch.cat([self.tokens(x), self.positions(here).repeat(len(x), 1, 1)], 1)
        elif self.how == "through layers":
            h = self.tokens(x) + nn.functional.dropout(self.mixing(self.positions(here)).relu(), training=self.training)
        else:
            h = self.tokens(x) + self.positions(here.expand_as(x))
        return self.head(self.mixing(h).tanh().mean(1))


@pytest.mark.few(3)
@pytest.mark.parametrize(
    "how",
    ["plain", "in place", "batch of one", "unsqueezed", "expanded", "repeated", "through layers", "of the batch"],
)
def test_positions_without_a_batch_dimension(way, how):
    assert_exact(seeded(lambda: Positions(how)), words(9, 5), FEW if how == "plain" else BRIEF)


@pytest.mark.parametrize("options", [{"max_norm": 0.5}, {"scale_grad_by_freq": True}], ids=str)
def test_options_without_a_rule_leave_the_table_as_it_was(options):
    """Renormalising writes the weights in the forward pass; scaled gradients are no derivatives."""
    net = probe(lambda: nn.Embedding(5, 3, **options))
    kept = net.layer.weight.detach().clone()
    scores = [F_al.saal(net, words(5, 4)), F_al.gradient_norm(net, words(5, 4))]
    assert torch.equal(net.layer.weight, kept)
    assert all(s.isfinite().all() for s in scores)


class Shrinking(nn.Module):
    """A table of one's own that is renormalised, by a setting of its class."""

    max_norm = 0.5

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(9, 3))

    def forward(self, x):
        return F.embedding(x, self.weight, max_norm=self.max_norm)


def test_tables_of_ones_own_are_left_as_they_were():
    net = probe(Shrinking)
    kept = net.layer.weight.detach().clone()
    got = F_al.saal(net, words(9, 4))
    assert torch.equal(net.layer.weight, kept)
    torch.testing.assert_close(got, reference.saal(net, words(9, 4)), rtol=1e-9, atol=1e-9)


def test_tables_that_are_renormalised_go_another_way():
    """The layer shrinks rows where they are, before they are perturbed."""
    net, x = probe(lambda: nn.Embedding(9, 3, max_norm=0.5)), words(9, 4)
    assert_exact_otherwise(net, x, "`max_norm`", FEW)


def test_sparse_gradients():
    net = probe(lambda: nn.Embedding(5, 3, sparse=True))
    dense = probe(lambda: nn.Embedding(5, 3))
    for name in FEW:
        score, _, options = SCORES[name]
        with messages() as engine:
            got = score(net, words(5, 4), **options)
        assert not engine.fell_back
        torch.testing.assert_close(got, score(dense, words(5, 4), **options))
