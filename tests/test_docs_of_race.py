"""The example of docs/race.md runs, its columns are those of the table, and its commands have the options they name."""

import re
from pathlib import Path

import pytest

from lightning_al import RaceResult
from lightning_al.scoring.race_result import Raced

PAGE = (Path(__file__).parents[1] / "docs" / "race.md").read_text()


@pytest.mark.slow
def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [example] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names = {}
    exec(example, names)
    assert names["picked"] == names["race"]["CoreSet"].indices
    assert len(names["race"].names) == 5


def test_the_columns_are_explained():
    raced = Raced("a", {}, [1], [None], [], {}, "none", [1], 0.0, 0.0)
    text = str(RaceResult(0, 1, 1, 1, ("x",), "true", (raced,)))
    columns = [cell.strip() for cell in text.splitlines()[1].strip("|").split("|")][1:]
    assert re.findall(r"^\| `([a-z ]+)` \|", PAGE, re.MULTILINE)[: len(columns)] == columns
