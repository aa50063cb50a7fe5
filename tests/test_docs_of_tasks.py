"""docs/tasks.md: the table of acquisitions is what the loop takes and refuses, and the example runs."""

import re
from pathlib import Path

import pytest

from lightning_al import AwaitTell, BinaryTask, ClassificationTask, RegressionTask, acquisition

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
    of_classes, of_values = SAID[name]
    for options in options_in(name, of_classes):
        assert takes(make(**options), ClassificationTask())
        assert takes(make(**options), BinaryTask())
        if of_values != "yes" and name != "BADGE":
            assert not takes(make(**options), RegressionTask())
    if not of_values.startswith("no"):
        for options in options_in(name, of_values):
            assert takes(make(**options), RegressionTask())


def test_every_score_is_in_the_table():
    for name in ("MCDropout", "QueryByCommittee"):
        with pytest.raises(ValueError, match="must be one of") as refused:
            getattr(acquisition, name)(score="none")
        known = re.findall(r"'(\w+)'", str(refused.value).split(", got")[0])
        assert sorted(known) == sorted(re.findall(r'"(\w+)"', " ".join(SAID[name])))


def test_the_example(tmp_path, monkeypatch):
    pytest.importorskip("sklearn")
    monkeypatch.chdir(tmp_path)
    [code] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    made = {}
    exec(code.replace("L.Trainer(", "L.Trainer(accelerator='cpu', enable_progress_bar=False, "), made)
    assert [r.labelled for r in made["history"]] == [20, 30]
    assert made["history"][-1].metrics.keys() == {"test_mse", "test_mae"}
