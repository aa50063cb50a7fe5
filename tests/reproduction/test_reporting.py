"""The folder that anybody can look through, made of campaigns written by hand."""

import re
from dataclasses import replace

import pytest

from lightning_al.reproduction import pages
from lightning_al.reproduction.diagnosing import outputs_of
from lightning_al.reproduction.measured import measured
from lightning_al.reproduction.reporting import report
from tests.helpers.results import chosen, write_runs

ACCURACIES = {"random": [[0.5, 0.6], [0.5, 0.7]], "badge": [[0.5, 0.75], [0.6, 0.8]]}


@pytest.fixture
def drawn(monkeypatch):
    """The pictures that would be drawn; each takes longer than all else."""
    made = []

    def draw(*args):
        path = next(arg for arg in args if hasattr(arg, "suffix"))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        made.append((path.name, args))

    for name in ("plot", "plot_pairwise"):
        monkeypatch.setattr(pages, name, draw)
    monkeypatch.setattr("lightning_al.reproduction.reporting.draw_beside", draw)
    return made


def links_of(page):
    return re.findall(r"\]\((\S+?)\)", page.read_text())


def test_the_page_leads_to_all_that_is_there(tmp_path, drawn):
    choice, runs, needs = chosen(tmp_path, "toy/table-1", only="cubes-adam")
    write_runs(runs, ACCURACIES)
    said = report(choice, runs, needs, ["toy/table-1", "--only", "cubes-adam"])
    page = choice.folder / "index.md"
    text = page.read_text()
    assert text.startswith("# toy/table-1: Accuracy\n\nTable 1 of Paper: a title. 2024\n")
    assert "lightning-al reproduce toy/table-1 --only cubes-adam" in text
    assert "| badge  | maximum over rounds | 82.5 ± 1.0    | 77.5 ± 3.5 | 2     | -5.0       | -2.0" in text
    assert said.startswith(text[text.index("| case") :].split("\n\n!")[0])
    links = links_of(page)
    assert links[:2] == ["published_and_ours.png", "cubes-adam_curves.png"]
    assert {"figures.csv", "../../runs/cubes/random", "../../runs/cubes/badge"} <= set(links)
    for link in [*links, *(f"../../{each}" for each in links_of(tmp_path / "out" / "index.md"))]:
        assert (choice.folder / link).exists(), link
    assert links_of(tmp_path / "out" / "index.md") == ["toy/table-1/index.md"]


def test_the_page_above_names_small_forms_as_such(tmp_path, drawn):
    for small in (False, True):
        choice, runs, needs = chosen(tmp_path, "toy/table-1", only="cubes-adam", small=small)
        write_runs(runs, {"random": ACCURACIES["random"]})
        report(choice, runs, needs, [])
    assert (tmp_path / "out" / "index.md").read_text().splitlines()[2:] == [
        "* [toy/table-1: Accuracy](toy/table-1/index.md)",
        "* [toy/table-1: Accuracy](toy/table-1_small/index.md), small form",
    ]
    assert [name for name, _ in drawn] == ["published_and_ours.png", *["cubes-adam_curves.png"] * 2]


def test_pairs_are_those_of_all_cases(tmp_path, drawn):
    choice, runs, needs = chosen(tmp_path, "toy/figure-2", only="cubes")
    write_runs(runs, ACCURACIES)
    said = report(choice, runs, needs, [])
    assert "Share of the 4 cases in which the row beats the column, by max over rounds (test_acc)" in said
    assert "| 1 badge  | -    | 1.00 | 1.00 |" in said
    assert [name for name, _ in drawn] == ["pairwise.png", "cubes-adam_curves.png", "cubes-sam_curves.png"]
    choice, runs, needs = chosen(tmp_path / "other", "toy/figure-2", only="cubes")
    assert "No two methods have finished runs" in report(choice, runs, needs, [])


def test_unfinished_runs_are_drawn_under_a_name_of_their_own(tmp_path, drawn):
    choice, runs, needs = chosen(tmp_path, "toy/table-1", only="cubes-adam")
    write_runs(runs, ACCURACIES)
    next((runs[0].folder / "ledger").glob("*-reported.json")).unlink()
    said = report(choice, runs, needs, [])
    assert "Not finished, and not in the table: cubes-adam: random, seed 0 (after 2 rounds)." in said
    [curves] = [args[0] for name, args in drawn if name == "cubes-adam_curves.png"]
    assert {name: len(repeats) for name, repeats in curves.items()} == {
        "random (unfinished)": 1,
        "random": 1,
        "badge": 2,
    }


def test_curves_over_pixels_are_drawn_round_by_round(tmp_path, drawn):
    """No two campaigns have labelled as many pixels, so that label counts alone would leave one point of them."""
    choice, runs, needs = chosen(tmp_path, "toy/table-1", only="cubes-adam")
    write_runs(runs, ACCURACIES)
    found = [
        replace(each, curve=replace(each.curve, counts="pixels", labels=[100 + place, 200 - place]))
        for place, each in enumerate(measured(runs, "accuracy"))
    ]
    [curves] = pages.curves_of(found).values()
    assert {tuple(curve.labels) for repeats in curves.values() for curve in repeats} == {(102, 198)}


def test_training_on_all_labels_is_a_line(tmp_path, drawn):
    choice, runs, needs = chosen(tmp_path, "toy/table-2")
    write_runs(runs, {**ACCURACIES, "full_data": [[0.9]]})
    assert "| cubes | full_data | all labels | 90.0" in report(choice, runs, needs, [])
    [(curves, full)] = [(args[0], args[2]) for name, args in drawn if name == "cubes_curves.png"]
    assert (set(curves), set(full)) == ({"random", "badge"}, {"full_data"})


def test_settings_are_a_table(tmp_path):
    choice, _, needs = chosen(tmp_path, "toy/figure-3")
    assert "| cubes | Cubes | PlainCNN | 5 " in report(choice, [], needs, [])


def test_what_diagnoses_wrote_is_shown_where_nothing_was_printed(tmp_path, drawn):
    choice, runs, needs = chosen(tmp_path, "toy/table-3", seeds="1")
    write_runs(runs, ACCURACIES)
    assert "No diagnosis has ended yet." in report(choice, runs, needs, [])
    [folder] = outputs_of(choice, runs)
    folder.mkdir(parents=True)
    (folder / "losses.csv").write_text("campaign,loss\na,0.123456\n")
    (folder / "tsne.csv").write_text("campaign,x\n" + "a,0.123456\n" * 50)
    (folder / "losses.png").touch()
    text = pages.diagnosed_tables([folder])
    assert text.startswith("losses of random+badge, seed 0:\n\n| campaign | loss   |\n")
    assert text.count("0.1235") == 1
    assert text.endswith(f"tsne of random+badge, seed 0: 50 rows, in {folder / 'tsne.csv'}.")
    report(choice, runs, needs, [])
    assert (folder / "losses.png").resolve() in [
        (choice.folder / link).resolve() for link in links_of(choice.folder / "index.md")
    ]


def test_without_matplotlib_there_are_tables(tmp_path, monkeypatch, capsys):
    choice, runs, needs = chosen(tmp_path, "toy/table-1", only="cubes-adam")
    write_runs(runs, ACCURACIES)

    def missing(*args):
        raise ImportError("pip install lightning-al[plot]")

    monkeypatch.setattr("lightning_al.reproduction.reporting.draw_beside", missing)
    assert "| badge " in report(choice, runs, needs, [])
    assert "No pictures: pip install" in capsys.readouterr().out
    assert "!" not in (choice.folder / "index.md").read_text()


@pytest.mark.slow
def test_published_beside_ours_is_drawn(tmp_path):
    choice, runs, needs = chosen(tmp_path, "toy/table-1")
    write_runs(runs, ACCURACIES)
    report(choice, runs, needs, [])
    for name in ("published_and_ours", "cubes-adam_curves", "cubes-sam_curves"):
        assert (choice.folder / f"{name}.png").read_bytes()[:4] == b"\x89PNG"
