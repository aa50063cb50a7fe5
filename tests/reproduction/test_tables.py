import csv
from dataclasses import replace

import pytest

from lightning_al.reproduction.choosing import choice_of
from lightning_al.reproduction.figures import Figure, Published
from lightning_al.reproduction.needs import Needs
from lightning_al.reproduction.registry import read_results
from lightning_al.reproduction.tables import NOT_THE_PAPERS, notes_of, other_data, table_of, unfinished, write_numbers
from tests.helpers.recipes import RECIPES
from tests.helpers.results import chosen, write_runs

FIGURES = [
    Figure("cubes-adam", "random", "maximum", Published(80.0, 0.5), [70.0, 74.0]),
    Figure("cubes-adam", "badge", "maximum", Published(82.55), [75.0, 76.0]),
    Figure("cubes-adam", "saal", "maximum", None, [77.0]),
    Figure("cubes-adam", "entropy", "maximum", Published(81, 1.0)),
]


def cells(text):
    lines = [line for line in text.splitlines() if not line.startswith("|-")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_other_data_of_the_small_form_are_named():
    results, needs = read_results(RECIPES), Needs(RECIPES)

    def said(name, *, small=True):
        choice, _ = choice_of(results[name], needs, small=small, findings=[])
        return other_data(replace(choice, cases=list(results[name].cases.values())), needs)

    assert said("saal/figure-10") == "The small form is on other data than the paper's: voc is on BCCD here."
    assert said("saal/table-4").endswith("synthia_to_cityscapes is on CamVid here.")
    assert [said("saal/figure-10", small=False), said("saal/table-7")] == ["", ""]


def test_published_beside_ours(tmp_path):
    choice, _, _ = chosen(tmp_path, "toy/table-1")
    assert cells(table_of(FIGURES, choice)) == [
        ["case", "method", "what", "published (%)", "ours (%)", "seeds", "difference", "in standard errors"],
        # 72 less 80, deviation sqrt(8), error 2; 75.5 less 82.55, deviation sqrt(.5), error .5.
        ["cubes-adam", "random", "maximum", "80.0 ± 0.5", "72.00 ± 2.83", "2", "-8.00", "-4.0"],
        ["cubes-adam", "badge", "maximum", "82.55", "75.50 ± 0.71", "2", "-7.05", "-14.1"],
        ["cubes-adam", "saal", "maximum", "-", "77.00", "1", "-", "-"],
        ["cubes-adam", "entropy", "maximum", "81.0 ± 1.0", "-", "0", "-", "-"],
    ]


def test_the_small_form_is_compared_with_random_and_not_with_the_paper(tmp_path):
    choice, _, _ = chosen(tmp_path, "toy/table-1", small=True)
    table = cells(table_of(FIGURES, choice))
    assert table[0][-2:] == ["published less random", "ours less random"]
    assert [row[-2:] for row in table[1:]] == [["-", "-"], ["+2.55", "+3.50"], ["-", "+5.00"], ["+1.00", "-"]]
    assert notes_of(choice, FIGURES, [])[0] == NOT_THE_PAPERS
    alone = cells(table_of(FIGURES[1:], choice))
    assert alone[0][-1] == "seeds"


def test_where_nothing_was_printed_there_is_no_difference(tmp_path):
    choice, _, _ = chosen(tmp_path, "toy/figure-1")
    assert cells(table_of([Figure("a", "b", "last round", None, [71.25])], choice)) == [
        ["case", "method", "what", "ours (%)", "seeds"],
        ["a", "b", "last round", "71.25", "1"],
    ]


def test_notes_say_how_to_read_it(tmp_path):
    choice, runs, _ = chosen(tmp_path, "toy/table-1", only="cubes-adam", seeds="4")
    said = " ".join(notes_of(choice, FIGURES, runs))
    assert "largest test accuracy over the rounds" in said
    assert "over 2 repeats" in said
    assert "Read this." in said
    assert "nothing can be concluded" in said
    five = [replace(each, ours=[70.0] * 5) for each in FIGURES]
    assert "nothing can be concluded" not in " ".join(notes_of(choice, five, runs))
    of_all = Figure("cubes-adam", "full_data", "all labels", None, [80.0])  # which one seed alone is trained on
    assert "nothing can be concluded" not in " ".join(notes_of(choice, [*five, of_all], runs))


def test_options_that_are_not_the_recipes_are_noted(tmp_path):
    choice, runs, _ = chosen(tmp_path, "toy/table-1", only="cubes-adam", seeds="1")
    assert "options" not in " ".join(notes_of(choice, FIGURES, runs))
    write_runs(runs, {"random": [[0.5, 0.6]], "badge": [[0.5]]})
    assert runs[0].job.end()
    assert "options" not in " ".join(notes_of(choice, FIGURES, runs))  # those of badge nobody knows
    own = replace(choice, overrides=["--trainer.max_epochs=1"])
    others = [replace(run, job=replace(run.job, options=("--trainer.max_epochs=1",))) for run in runs]
    said = notes_of(own, FIGURES, others)
    assert "With options that no recipe has: --trainer.max_epochs=1." in said
    assert any(note.startswith("1 run of these 2 had other recipes or options than this command") for note in said)


def test_what_is_not_finished_is_named_with_its_rounds(tmp_path):
    _, runs, _ = chosen(tmp_path, "toy/table-1", only="cubes-adam", seeds="1")
    assert unfinished(runs) == "Not one round is done of 2 runs."
    write_runs(runs, {"random": [[0.5, 0.6]], "badge": [[0.5]]})
    assert unfinished(runs) == ""
    next((runs[1].folder / "ledger").glob("*-reported.json")).unlink()
    assert unfinished(runs) == "Not finished, and not in the table: cubes-adam: badge, seed 0 (after 1 round)."


def test_all_digits_are_in_the_file(tmp_path):
    write_numbers(FIGURES, tmp_path / "figures.csv")
    with (tmp_path / "figures.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["random", "badge", "saal", "entropy"]
    assert float(rows[0]["ours_std"]) == pytest.approx(8**0.5, abs=1e-15)
    assert (rows[0]["values"], rows[1]["published_std"], rows[3]["ours"]) == ("70.0 74.0", "", "")
    assert float(rows[1]["standard_errors"]) == pytest.approx(-14.1)
    write_numbers(FIGURES, tmp_path / "figures.csv", is_small=True)  # which is not to be compared with what was printed
    with (tmp_path / "figures.csv").open() as file:
        assert {(row["difference"], row["standard_errors"]) for row in csv.DictReader(file)} == {("", "")}
