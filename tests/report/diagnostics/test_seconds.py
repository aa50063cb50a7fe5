"""How long campaigns took, from their ledgers."""

import pytest

from lightning_al import Campaign
from lightning_al.report.diagnostics import seconds


def test_sums_and_medians(campaign):
    folder = campaign[0]
    [found] = seconds({"kept": folder, "again": folder})
    rounds = Campaign.load(folder).rounds
    fits = sorted(r.seconds["fit"] for r in rounds)
    queries = sorted(r.seconds["score"] + r.seconds["select"] for r in rounds[:-1])
    row = found.rows[0]
    assert row[:2] == ["kept", 3]
    assert row[2:4] == pytest.approx([fits[1], sum(queries) / 2])
    assert row[4:6] == pytest.approx([sum(fits) / 3600, sum(queries) / 3600])
    assert row[6] == pytest.approx(sum(sum(r.seconds.values()) for r in rounds) / 3600)
    assert found.rows[1][1:] == row[1:]
    with pytest.raises(FileNotFoundError, match="no campaign"):
        seconds({"nothing": folder.parent})
