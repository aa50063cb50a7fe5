"""What is in recipes/published: the tables and figures of the three papers, and recipes that there are."""

from functools import cache
from itertools import chain

import pytest

from tests.helpers.recipes import FIGURES, METHODS, OF_REGIONS, PUBLISHED, RECIPES, load

ROWS_ARE_METHODS = {"accuracy", "miou", "map", "seconds", *("true_norm_overlap", "train_test_gap", "falling_norms")}
ROWS_ARE_METHODS |= {"other_architecture", "class_accuracies"}
KEYS = {
    *("protocol", "arguments", "methods", "training", "options", "small", "small_training", "published"),
    *("published_seconds", "published_full_data", "at_labels", "at_percent", "samples_of_classes"),
}
of_paper = cache(lambda paper: load(f"published/{paper}"))


def results():
    for paper in PUBLISHED:
        for name, result in of_paper(paper)["results"].items():
            yield f"{paper}/{name}", result


def cases():
    for name, result in results():
        for case, content in result.get("cases", {}).items():
            yield f"{name}/{case}", result, content


def methods_of(case):
    return case.get("methods", list(case.get("published", {})))


def test_there_are_49():
    names = [name for name, _ in results()]
    assert {paper: len([name for name in names if name.startswith(f"{paper}/")]) for paper in PUBLISHED} == {
        **{"gradient_norms": 14, "lplgrad": 12, "saal": 23},
    }
    saal = {f"saal/table-{n}" for n in (1, 2, 3, 4, 6, 7, 8, 9, 10)} | {f"saal/figure-{n}" for n in range(1, 15)}
    lplgrad = {f"lplgrad/table-{n}" for n in range(1, 7)} | {f"lplgrad/figure-{n}" for n in range(3, 9)}
    norms = {f"gradient_norms/table-{n}" for n in range(1, 10)}
    norms |= {f"gradient_norms/figure-{n}" for n in ("1", "2-left", "2-right", "3", "4")}
    assert set(names) == saal | lplgrad | norms


def test_files_that_are_named_exist():
    named = set()
    for _, _, case in cases():
        named |= {*case["protocol"], *case.get("small", []), *(case[key] for key in case if key.endswith("training"))}
    for paper in PUBLISHED:
        for instead in of_paper(paper).get("trainings_of", {}).values():
            named |= {*instead, *instead.values()}
    assert not [name for name in named if not (RECIPES / name).is_file()]


def test_results_say_what_they_show_and_of_which_runs():
    for name, result in results():
        assert {"title", "where", "shows"} <= set(result), name
        assert ("cases" in result) != ("same_runs_as" in result), name
        if "same_runs_as" in result:
            assert f"{name.split('/')[0]}/{result['same_runs_as']}" in dict(results())
        if result["shows"] in ("accuracy", "miou", "map"):
            assert (result["unit"], result["statistic"] in ("maximum", "last", "curve", "at_labels")) == ("%", True)
    for name, _, case in cases():
        assert set(case) <= KEYS, name
        assert ("small_training" in case) == ("training" in case and "small" in case), name


def test_methods_that_are_named_exist():
    known = {*METHODS, *OF_REGIONS}
    for name, result, case in cases():
        if result["shows"] == "settings":
            assert not methods_of(case)
            continue
        assert methods_of(case), name
        assert set(methods_of(case)) | set(case.get("options", {})) <= known, name
        if result["shows"] in ROWS_ARE_METHODS:
            assert set(case.get("published", {})) | set(case.get("published_seconds", {})) <= set(methods_of(case)), (
                name
            )


def test_methods_with_sam_have_a_model_that_goes_with_it():
    for paper in PUBLISHED:
        own = of_paper(paper).get("trainings_of", {})
        for name, _, case in (case for case in cases() if case[0].startswith(f"{paper}/")):
            if "training" in case:
                with_models = {method for method in methods_of(case) if "model" in load(f"acquisitions/{method}")}
                assert with_models <= set(own), name
                for method in with_models:
                    assert {case["training"], case.get("small_training", case["training"])} <= set(own[method]), name


def test_rows_are_as_long_as_what_they_are_at():
    for name, _, case in cases():
        at = case.get("at_labels", case.get("at_percent"))
        if at is not None:
            assert {len(row) for row in case["published"].values()} == {len(at)}, name


@pytest.mark.parametrize(
    ("figure", "name"),
    [
        *(("SAAL, Table 1", "saal/table-1"), ("SAAL, Table 2", "saal/table-2"), ("SAAL, Table 6", "saal/table-6")),
        *(("LPLgrad, Table III", "lplgrad/table-3"), ("gradient norms, Fig. 1", "gradient_norms/figure-1")),
    ],
)
def test_methods_claim_the_figures_that_name_them(figure, name):
    named = set(chain.from_iterable(methods_of(case) for case in dict(results())[name]["cases"].values()))
    assert FIGURES[figure] <= named
    assert named - FIGURES[figure] <= FIGURES["SAAL, Table 1"]
