"""How right and how sure models are, against counts by hand."""

import pytest
import torch
from torch import nn

from lightning_al.report.diagnostics import classes, confidence, gap, predictions

LOGITS = torch.tensor([[9.0, 0, 0], [0, 9, 0], [0, 0, 9], [2, 1, 0], [0.1, 0, 0]])
TARGETS = torch.tensor([0, 1, 1, 0, -1])


def test_counts_by_hand():
    found = predictions(nn.Identity(), [(LOGITS[:3], TARGETS[:3]), (LOGITS[3:], TARGETS[3:])])
    assert found.label.tolist() == [0, 1, 2, 0, 0]
    assert found.accuracy == 0.75
    assert found.class_accuracies().tolist()[:2] == [1.0, 0.5]
    assert found.class_accuracies()[2].isnan()
    assert found.class_counts().tolist() == [2, 2, 0]
    torch.testing.assert_close(found.confidence, LOGITS.softmax(1).amax(1))
    shares = [sum(n / 4 <= c < (n + 1) / 4 for c in found.confidence.tolist()) / 5 for n in range(4)]
    assert found.confidence_shares(4).tolist() == pytest.approx(shares)
    assert predictions(nn.Identity(), [(1e4 * torch.eye(3), None)]).confidence_shares(5).tolist() == [0, 0, 0, 0, 1]


def test_several_decisions_a_sample():
    found = predictions(nn.Identity(), [(LOGITS.T[None, :, :, None], torch.tensor([[[0], [1], [1], [255], [2]]]))])
    assert (found.label.tolist(), found.target.tolist()) == ([0, 1, 2, 0, 0], [0, 1, 1, -1, 2])
    assert found.accuracy == 0.5


def test_nothing():
    with pytest.raises(ValueError, match="no samples"):
        predictions(nn.Identity(), [])


def test_the_gap_is_what_the_campaign_measured(kept, campaign):
    [found] = gap([kept])
    assert [row[4] for row in found.rows] == pytest.approx([r.metrics["test_acc"] for r in campaign[2]])
    for row, each in zip(found.rows, kept.rounds):
        x, y = (torch.stack(part) for part in zip(*(kept.data.pool_set[i] for i in each.labelled.tolist())))
        right = (kept.at(each)(x).argmax(1) == y).double().mean()
        assert row[3] == pytest.approx(float(right))
        assert row[5] == pytest.approx(row[3] - row[4])
    [few] = gap([kept], held_out=13)
    x, y = (part[:13] for part in kept.data.datamodule.held_out.tensors)
    assert few.rows[-1][4] == pytest.approx(float((kept.at(kept.rounds[-1])(x).argmax(1) == y).double().mean()))


class Batches:
    """No DataLoader, but what gives batches."""

    def __init__(self, loader):
        self.loader = loader

    def __iter__(self):
        return iter(self.loader)


@pytest.mark.parametrize(
    "loaders", [lambda one: {"a": one, "b": one}, lambda one: [one, one], Batches], ids=["dict", "list", "iterable"]
)
def test_samples_of_whatever_the_trainer_takes(kept, monkeypatch, loaders):
    [expected] = gap([kept])
    one = kept.data.datamodule.test_dataloader()
    monkeypatch.setattr(kept.data.datamodule, "test_dataloader", lambda: loaders(one))
    [found] = gap([kept])
    assert [row[4] for row in found.rows] == pytest.approx([row[4] for row in expected.rows])


def test_classes_one_by_one(kept):
    [found] = classes([kept])
    x, y = kept.data.datamodule.held_out.tensors
    for each in kept.rounds:
        said = kept.at(each)(x).argmax(1)
        labelled = [int(kept.data.pool_set[i][1]) for i in each.labelled.tolist()]
        rows = [row for row in found.rows if row[1] == each.number]
        assert len(rows) > 1
        for number, row in enumerate(rows):
            assert row[4] == labelled.count(number)
            assert row[5] == pytest.approx(float((said[y == number] == number).double().mean()))
            assert row[6] == int((y == number).sum())


def test_confidence_of_each_round(kept):
    [found] = confidence([kept], samples=9, bins=4)
    assert [row[1:4] for row in found.rows] == [
        [number, labels, which] for number, labels in ((0, 8), (1, 12), (2, 16)) for which in ("labelled", "unlabelled")
    ]
    each = kept.rounds[-1]
    x = torch.stack([kept.data.pool_set[i][0] for i in each.candidates[:9].tolist()])
    sure = kept.at(each)(x).softmax(1).amax(1)
    assert found.rows[5][4] == pytest.approx(float(sure.mean()))
    assert found.rows[5][5:] == pytest.approx([float(((sure * 4).long() == n).double().mean()) for n in range(4)])
