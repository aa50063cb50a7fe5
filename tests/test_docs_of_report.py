"""docs/report.md names every option of the command, and every limit that the page has."""

import re
from pathlib import Path

from lightning_al import ClassificationTask
from lightning_al.cli import main
from lightning_al.report.page import coverage, page, picks, pictures
from tests.helpers.curves import write_campaign
from tests.helpers.pages import page_of
from tests.helpers.projects import Data

PAGE = (Path(__file__).parents[1] / "docs" / "report.md").read_text()


def test_options(capsys):
    try:
        main(["report", "--help"])
    except SystemExit:
        options = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out)) - {"--help"}
    assert options == set(re.findall(r"--[a-z][a-z-]+", PAGE))


def test_limits():
    assert f"{picks.MOST_TILES} in all" in PAGE
    assert f"in {coverage.MOST_LOOKED_AT} samples of the pool" in PAGE
    assert f"below {page.MOST_BYTES // 10**6} MB" in PAGE
    assert f"from {pictures.SIDES[0]} pixels a side down to {pictures.SIDES[-1]}" in PAGE
    assert f"at most {pictures.FEW_PIXELS} pixels are shown pixel by pixel" in PAGE


def test_its_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_campaign(tmp_path / "runs" / "demo" / "random" / "seed_0", [0.5, 0.6])
    names = {"MyData": Data, "my_task": ClassificationTask()}
    for block in re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL):
        exec(block, names)
    assert "The data were not opened" in page_of(tmp_path / "runs" / "demo" / "report.html").text
    assert "The data were not opened" not in page_of(tmp_path / "demo.html").text
