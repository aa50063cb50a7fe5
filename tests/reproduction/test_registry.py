import pytest

from lightning_al.reproduction.registry import Case, read_results, recipes_folder
from tests.helpers.recipes import RECIPES
from tests.helpers.results import write_recipes


def test_results_are_read_with_what_their_paper_says(tmp_path):
    results = read_results(write_recipes(tmp_path))
    assert list(results) == [
        f"toy/{name}" for name in (*(f"table-{n}" for n in range(1, 5)), "figure-1", "figure-2", "figure-3")
    ]
    result = results["toy/table-1"]
    assert (result.paper, result.repeats, result.note) == ("Paper: a title. 2024", 2, "Read this.")
    assert result.cases["cubes-adam"] == Case(
        "cubes-adam",
        ("cubes.yaml",),
        ("random", "badge"),
        small=("small.yaml",),
        published={"random": [80.0, 0.5], "badge": [82.5, 1.0]},
    )


def test_one_with_the_runs_of_another_has_its_cases_without_its_figures(tmp_path):
    results = read_results(write_recipes(tmp_path))
    mine, other = results["toy/figure-1"].cases, results["toy/table-1"].cases
    assert list(mine) == list(other)
    for name, case in mine.items():
        assert (case.protocol, case.methods, case.training) == (
            other[name].protocol,
            other[name].methods,
            other[name].training,
        )
        assert not case.published


def test_the_recipes_are_those_here_or_those_of_the_package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert recipes_folder() == RECIPES
    write_recipes(tmp_path / "recipes")
    assert recipes_folder().absolute() == tmp_path / "recipes"
    with pytest.raises(FileNotFoundError, match="--recipes FOLDER"):
        recipes_folder(str(tmp_path / "elsewhere"))


@pytest.mark.parametrize("text", ["results: [", "paper: a", "paper: a\nrepeats: 3\nresults: {t: {shows: x}}", "3"])
def test_a_damaged_file_is_named(tmp_path, text):
    write_recipes(tmp_path)
    (tmp_path / "published" / "toy.yaml").write_text(text)
    with pytest.raises(ValueError, match=r"toy\.yaml is not as it should be"):
        read_results(tmp_path)
