"""docs/compare.md names every option and every file of the command."""

import re
from pathlib import Path

from lightning_al.cli import main
from lightning_al.report.alignment import align
from lightning_al.report.exports import write_comparison
from tests.helpers.curves import repeats

PAGE = (Path(__file__).parents[1] / "docs" / "compare.md").read_text()


def test_options(capsys):
    try:
        main(["compare", "--help"])
    except SystemExit:
        options = set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out)) - {"--help"}
    assert options == set(re.findall(r"--(?!loop)[a-z][a-z-]+", PAGE))


def test_files(tmp_path):
    curves = {"random": repeats([0.5], classes={"a": [0.5], "b": [0.5]}), "saal": repeats([0.6])}
    written = write_comparison(curves, {}, align(curves), tmp_path / "curves")
    named = re.findall(r"^\| `(curves\S*)` \|", PAGE, re.MULTILINE)
    assert [name for name in named if not name.endswith(".png")] == [path.name for path in written]
