"""``race``, and ``ask`` for one that was raced, as their user meets them, in one process."""

import csv
import json
import sys

import pytest

from lightning_al.cli import main
from tests.helpers.files import fill, recipe, truth

COSTLY = """
trainer:
  callbacks:
    - class_path: SAAL
      init_args:
        rho: 0.1
"""


@pytest.fixture
def project(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["lightning-al"])
    fill(tmp_path / "pool", range(24))
    room = tmp_path / "acquisitions"
    room.mkdir()
    (room / "sharp.yaml").write_text(COSTLY)
    (room / "empty.yaml").write_text("trainer: {max_epochs: 2}\n")
    (room / "wrong.yaml").write_text(COSTLY.replace("rho: 0.1", "rho: -1.0"))
    return recipe(tmp_path)


@pytest.mark.slow
def test_a_race_from_the_shell(project, tmp_path, capsys):
    ask = ["ask", "-c", str(project)]
    main([*ask, "--export", "first.csv"])
    rows = list(csv.DictReader((tmp_path / "first.csv").open()))
    with (tmp_path / "first.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["key", "label"])
        writer.writeheader()
        writer.writerows({"key": row["key"], "label": truth(row["key"])} for row in rows)
    main(["tell", "-c", str(project), "first.csv"])
    capsys.readouterr()

    main(["race", "-c", str(project), "--methods", "sharp,Margin,Random", "-k", "2", "--output", "race.csv"])
    said = capsys.readouterr().out
    assert "Race of 3 acquisitions in round 0: 2 picks each of 20 candidates" in said
    assert "| 1 sharp " in said
    assert "In race.csv." in said
    rows = list(csv.DictReader((tmp_path / "race.csv").open()))
    assert [row["acquisition"] for row in rows] == ["sharp", "Margin", "Random"]
    assert {"class_cat", "class_dog", "class_a fox"} <= set(rows[0])
    folder = tmp_path / "runs" / "5"
    assert len(list((folder / "ledger").glob("*.json"))) == 4  # nothing was asked for

    main([*ask, "--acquisition", "sharp"])
    assert "2 to label" in capsys.readouterr().out
    question = json.loads(sorted((folder / "ledger").glob("*-asked.json"))[-1].read_text())
    assert question["acquisition"]["rho"] == 0.1
    assert question["raced"] == ["sharp", "Margin", "Random"]
    with pytest.raises(SystemExit, match="Race first"):
        main([*ask, "--acquisition", "sharp"])
    main(["race", "-c", str(project), "--methods", "Margin,Random", "-k", "2"])
    assert "The race itself asks for nothing: " in (said := capsys.readouterr().out)
    assert "asks for the picks of one, beside 2 samples that wait for labels; " in said


WRONG = {
    "nobody": ([], "`race` needs `--methods`"),
    "an unknown one": (["--methods", "shrap"], "there is no method 'shrap': did you mean sharp?"),
    "one twice": (["--methods", "Margin,Margin"], "`--methods` names Margin more than once"),
    "a recipe without one": (["--methods", "empty"], "a race needs one acquisition of each.*found 0"),
    "a wrong option": (["--methods", "wrong"], "`rho` must be above 0"),
    "a file of another kind": (["--methods", "sharp", "--output", "race.txt"], "`--output` must end in .png"),
}


@pytest.mark.few(2)
@pytest.mark.parametrize("case", WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_said_in_a_line(project, case):
    words, message = case
    with pytest.raises(SystemExit, match=message):
        main(["race", "-c", str(project), *words])


def test_help(capsys):
    with pytest.raises(SystemExit) as done:
        main(["race", "--help"])
    assert done.value.code == 0
    assert "--methods" in capsys.readouterr().out
