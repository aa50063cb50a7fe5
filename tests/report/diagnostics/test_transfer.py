"""Another model on the labels of each round."""

import pytest

from lightning_al.report.diagnostics import transfer


def test_it_gets_each_rounds_labels(campaign):
    folder, noted, history = campaign
    given = {}

    def train(name, number, indices):
        given[name, number] = indices
        return {"test_acc": 0.25 * number, "unknown": 1.0}

    [found] = transfer({"a": folder}, train, rounds=[0, -2])
    assert given == {("a", number): noted.labelled[number] for number in (0, 1)}
    own = [result.metrics["test_acc"] for result in history]
    assert found.rows == [["a", 0, 8, "test_acc", own[0], 0.0], ["a", 1, 12, "test_acc", own[1], 0.25]]
    with pytest.raises(ValueError, match="rounds 0 to 2, and no round 5"):
        transfer({"a": folder}, train, rounds=[5])
    with pytest.raises(ValueError, match="rounds 0 to 2, and no round -5"):
        transfer({"a": folder}, train, rounds=[-5])
    with pytest.raises(ValueError, match="no metric that the campaigns have"):
        transfer({"a": folder}, lambda *args: {"other": 1.0})
