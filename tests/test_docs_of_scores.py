"""The example of docs/score.md runs, and its table has the columns of the file."""

import re
from pathlib import Path

from lightning_al.scoring.scores import COLUMNS

PAGE = (Path(__file__).parents[1] / "docs" / "score.md").read_text()


def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    [example] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)
    lines = Path("picks.csv").read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert len(lines) == 201
    assert [int(line.split(",")[1]) for line in lines[1:21]] == names["scores"].picks


def test_the_columns_are_explained():
    assert tuple(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == COLUMNS
