import re

from lightning_al.reproduction.listing import listing
from lightning_al.reproduction.needs import Needs
from lightning_al.reproduction.registry import read_results
from tests.helpers.results import write_data, write_recipes


def listed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recipes = tmp_path / "recipes"
    if not recipes.exists():
        write_recipes(recipes)
    text = listing(read_results(recipes), Needs(recipes))
    # What a result lacks stands below it.
    lines = re.findall(r"(?m)^(toy/\S+)(.*(?:\n  .*)*)$", text)
    return {name: " ".join(said.split()) for name, said in lines}, text


def test_each_result_is_a_line_with_what_can_run_and_what_it_lacks(tmp_path, monkeypatch):
    lines, text = listed(tmp_path, monkeypatch)
    package = "the package no_such_package (pip install no_such_package) (balls-adam)"
    of_all = f"lacks Cubes (cubes-adam, cubes-sam), Balls (balls-adam), {package}"
    assert lines == {
        "toy/table-1": f"0 of 3 0 of 3 Accuracy {of_all}",
        "toy/table-2": "0 of 1 0 of 1 At sizes lacks Cubes",
        "toy/table-3": "0 of 1 0 of 1 Gap lacks Cubes",
        "toy/table-4": "0 of 1 0 of 1 Seconds lacks Cubes",
        "toy/figure-1": f"0 of 3 0 of 3 Curves {of_all}",
        "toy/figure-2": f"0 of 3 0 of 3 Pairs {of_all}",
        "toy/figure-3": "1 of 1 1 of 1 Settings nothing is trained",
    }
    assert "  Cubes: example.org/cubes\n  Balls: example.org/balls, after registration\n" in text
    write_data(tmp_path / "data")
    lines, text = listed(tmp_path, monkeypatch)
    assert lines["toy/table-1"] == f"2 of 3 2 of 3 Accuracy lacks Balls (balls-adam), {package}"
    assert lines["toy/table-2"] == "1 of 1 1 of 1 At sizes"
    assert lines["toy/table-4"] == "1 of 1 0 of 1 Seconds"
    assert "example.org/cubes" not in text


def test_what_the_small_form_alone_lacks_is_said(tmp_path, monkeypatch):
    write_recipes(tmp_path / "recipes")
    write_data(tmp_path / "data")
    (tmp_path / "recipes" / "small.yaml").write_text("data: {class_path: BallsDataModule}")
    lines, _ = listed(tmp_path, monkeypatch)
    package = "the package no_such_package (pip install no_such_package)"
    assert lines["toy/table-2"] == f"1 of 1 0 of 1 At sizes small lacks Balls, {package}"
