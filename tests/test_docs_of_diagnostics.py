"""The example of docs/diagnostics.md runs, its tables list all that there is, and its pictures are there."""

import re
from pathlib import Path

from lightning_al.cli.commands import DIAGNOSES
from lightning_al.report import diagnostics

DOCS = Path(__file__).parents[1] / "docs"
PAGE = (DOCS / "diagnostics.md").read_text()


def test_the_example_runs():
    [example] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    names: dict[str, object] = {}
    exec(example, names)
    assert names["surface"].losses.shape == (11, 11)
    assert 0 <= names["stability"].kept_share <= 1


def test_the_tables_list_all_that_there_is():
    shown, functions = re.findall(r"(?m)(?:^\|.*\n)+", PAGE)
    assert re.findall(r"(?m)^\| `(\w+)` \|", shown) == list(DIAGNOSES)
    of_functions = {name for name in diagnostics.__all__ if name[0].islower()} - {"open_campaign"}
    assert set(re.findall(r"`(\w+)`", functions)) == of_functions


def test_its_pictures_are_there():
    pictures = re.findall(r"\]\((\S+\.png)\)", PAGE)
    assert pictures
    assert all((DOCS / picture).is_file() for picture in pictures)
