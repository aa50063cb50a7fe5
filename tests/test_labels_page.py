"""The page on labels: its table is told, its commands and options are there."""

import re
from pathlib import Path

import pytest

from lightning_al import SKIP
from lightning_al.cli import main
from lightning_al.cli.tell import tell_parser
from tests.helpers.told import asked, said, tell

PAGE = (Path(__file__).parents[1] / "docs" / "labels.md").read_text()
KEYS = ["cat/001.jpg", "cat/002.jpg", "dog/001.jpg", "dog/002.jpg"]


@pytest.mark.parametrize(("agreement", "label"), [("latest", "cat"), ("first", "dog"), ("majority", None)])
def test_the_table_is_told(tmp_path, agreement, label):
    table = tmp_path / "to_label.csv"
    table.write_text(re.search(r"```csv\n(.*?)```", PAGE, re.DOTALL)[1])
    campaign = asked(tmp_path / "c", KEYS)
    tell(campaign, table, agreement=agreement)
    assert said(campaign) == dict(zip(KEYS, ["cat", SKIP, None, label], strict=True))


def test_its_options_are_there(capsys):
    with pytest.raises(SystemExit):
        main(["ask", "--help"])
    known = capsys.readouterr().out + tell_parser().format_help() + "--resume"
    for option in re.findall(r"--\w+", PAGE):
        assert option in known
