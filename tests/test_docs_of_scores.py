"""The example of docs/score.md runs, and its table has the columns of the file."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from lightning_al.scoring.scores import COLUMNS
from lightning_al.tasks.keys import _PATH_LISTS, ID_COLUMNS

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "score.md").read_text()


def test_the_example_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    example, of_files, of_new = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)
    lines = Path("picks.csv").read_text().splitlines()
    assert lines[0] == ",".join(COLUMNS)
    assert len(lines) == 201
    assert [int(line.split(",")[1]) for line in lines[1:21]] == names["scores"].picks

    Path("new").mkdir()
    for number in range(30):
        np.save(f"new/{number:02d}.npy", torch.randn(4).numpy())
    exec(of_files, names)
    torch.save(names["model"].state_dict(), "best.ckpt")
    exec(of_new, names)
    keys = [line.split(",")[0] for line in Path("picks.csv").read_text().splitlines()[1:]]
    assert keys == [f"new/{index:02d}.npy" for index in names["scores"].picks]
    assert len(keys) == 20


def test_the_columns_are_explained():
    assert tuple(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE)) == COLUMNS


@pytest.mark.parametrize("page", ["score.md", "guides/data_that_change.md"])
def test_names_are_looked_for_where_the_page_says(page):
    text = " ".join((DOCS / page).read_text().split())
    listed = " or ".join(", ".join(f"`{name}`" for name in _PATH_LISTS).rsplit(", ", 1))
    assert f"{listed}, a list as long as the dataset" in text
    columns, lists = re.search(r"(?:column `|`id`, )(.*?) (?:or|and) the like", text), text.index(listed)
    assert columns.start() < lists  # in the order in which they are looked for
    assert {name for name in re.findall(r"(\w+)`", columns[0]) if name != "id"} <= set(ID_COLUMNS)
