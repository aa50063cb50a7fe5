"""docs/tasks.md: the table of acquisitions is what the loop takes and refuses, and the example runs."""

import re
from pathlib import Path

import pytest
import torch
from torch import nn

from lightning_al import (
    AwaitTell,
    BinaryTask,
    ClassificationTask,
    DetectionTask,
    RegressionTask,
    SegmentationTask,
    acquisition,
)
from lightning_al.functional.scores.uncertainty import entropies

PAGE = (Path(__file__).parents[1] / "docs" / "tasks.md").read_text()
TABLE = re.search(r"^\| acquisition \|.*\n\|[-|]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)[1]
ROWS = [[cell.strip() for cell in line.strip("|").split("|")] for line in TABLE.splitlines()]
SAID = {name: cells for first, *cells in ROWS for name in re.findall(r"`(\w+)`", first)}


def takes(made, task):
    try:
        made.bind(task, AwaitTell())
    except ValueError:
        return False
    return True


def options_in(name, cell):
    scores = re.findall(r'"(\w+)"', cell)
    if name == "ProbCover" and "clusters" in cell:
        return [{"clusters": 3}, {"delta": 0.4}]
    return [{"score": score} for score in scores] or [{}]


def test_every_acquisition_is_in_the_table():
    assert SAID.keys() == set(acquisition.__all__) - {"Acquisition"}


@pytest.mark.parametrize("name", SAID)
def test_what_the_table_says(name):
    make = getattr(acquisition, name)
    of_classes, of_values, of_pixels, of_boxes = SAID[name]
    for options in options_in(name, of_classes):
        for task in (ClassificationTask(), BinaryTask()):
            assert takes(make(**options), task) is not of_classes.startswith("no")
        if of_values != "yes" and name != "BADGE":
            assert not takes(make(**options), RegressionTask())
    if name not in ("BatchBALD", "SRAAL"):  # refused once they see the model's outputs: tests/tasks
        for options in options_in(name, of_pixels):
            assert takes(make(**options), SegmentationTask(3)) is not of_pixels.startswith("no")
        for options in options_in(name, of_boxes):
            assert takes(make(**options), DetectionTask()) is not of_boxes.startswith("no")
    if "with `regions=`" in of_pixels:
        assert takes(make(), SegmentationTask(3, regions=3))
    if name == "ExpectedGradNorm":
        assert not takes(make(loss="expected_loss"), SegmentationTask(3))
    if not of_values.startswith("no"):
        for options in options_in(name, of_values):
            assert takes(make(**options), RegressionTask())


def test_every_score_is_in_the_table():
    for name in ("MCDropout", "QueryByCommittee"):
        with pytest.raises(ValueError, match="must be one of") as refused:
            getattr(acquisition, name)(score="none")
        known = re.findall(r"'(\w+)'", str(refused.value).split(", got")[0])
        assert sorted(known) == sorted(set(re.findall(r'"(\w+)"', " ".join(SAID[name]))))


def test_the_examples(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    _, of_values, of_pixels = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    made = {}
    for code, labelled, metrics in (
        (of_values, [20, 30], {"test_mse", "test_mae"}),
        (of_pixels, [8, 12], {"val_loss", "val_acc", "val_miou"}),
    ):
        exec(code.replace("L.Trainer(", "L.Trainer(accelerator='cpu', enable_progress_bar=False, "), made)
        assert [r.labelled for r in made["history"]] == labelled
        assert made["history"][-1].metrics.keys() == metrics


class Cells(nn.Module):
    """Three cells of an image; the one with the best score is left out."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(3, 6)

    def net(self, image):
        logits = self.layer(image.mean((1, 2))).reshape(3, 2)
        return logits, torch.tensor([[0.0, 0.0, 4.0, 4.0]]).expand(3, 4)

    def keep(self, boxes, scores, labels):
        return scores.argsort(descending=True)[1:]


def test_the_example_of_a_model_of_ones_own():
    code, made = re.search(r"```python\n(.*?)```", PAGE, re.DOTALL)[1], {}
    exec(code, made)
    task, model, image = made["CellsTask"](score_threshold=0), Cells(), torch.rand(3, 8, 8)
    task.check(model, ([image], [None]))
    (kept,) = task.kept_boxes(model, [image])
    assert torch.equal(task.logits_at(model, [image], [kept.anchors])[0], kept.logits)
    p = model.net(image)[0].sigmoid()
    expected = torch.stack([-(q * q.log() + (1 - q) * (1 - q).log()).mean() for q in p[kept.anchors]]).sum()
    torch.testing.assert_close(task.score(model, [image], entropies)[0], expected)
