"""Features in two dimensions."""

import sys

import pytest
import torch

from lightning_al.report.diagnostics import embedding, tsne

pytest.importorskip("sklearn")


@pytest.mark.slow
def test_neighbours_stay_neighbours_and_a_repeat_is_the_same():
    draw = torch.Generator().manual_seed(0)
    groups = torch.arange(3).repeat_interleave(12)
    features = 20.0 * torch.eye(3)[groups] + torch.randn(36, 3, generator=draw)
    where = tsne(features, perplexity=5)
    assert torch.equal(where, tsne(features, perplexity=5))
    nearest = torch.cdist(where, where).fill_diagonal_(torch.inf).argmin(1)
    assert torch.equal(groups[nearest], groups)
    assert tsne(features[:4, :1]).shape == (4, 2)


@pytest.mark.slow
def test_of_a_campaign(kept):
    [found] = embedding([kept], samples=12)
    for each in kept.rounds[:2]:
        rows = [row for row in found.rows if row[1] == each.number]
        assert [row[2] for row in rows if row[6]] == each.picked.tolist()
        assert {row[2] for row in rows} == {*each.picked.tolist(), *each.candidates[:12].tolist()}
        x = torch.stack([kept.data.pool_set[row[2]][0] for row in rows])
        assert [row[5] for row in rows] == kept.at(each)(x).argmax(1).tolist()
        want = tsne(kept.model.net[:-1](x).detach())
        torch.testing.assert_close(torch.tensor([row[3:5] for row in rows]).double(), want, rtol=1e-3, atol=1e-3)


def test_what_cannot_be(monkeypatch):
    with pytest.raises(ValueError, match="at least 4"):
        tsne(torch.zeros(3, 2))
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(ImportError, match=r"lightning-al\[cluster\]"):
        tsne(torch.zeros(5, 2))
