import pytest

from lightning_al.reproduction.measured import measured, rows_of, settings_of
from tests.helpers.results import chosen, write_runs


def rows(tmp_path, name, values, *, write=write_runs, **options):
    """By case, method and what: the published mean, and ours of each seed."""
    choice, runs, needs = chosen(tmp_path, name, **options)
    write(runs, values)
    return {
        (row.case, row.method, row.what): (row.published and row.published.mean, pytest.approx(list(row.ours)))
        for row in rows_of(choice, runs, needs)
    }


def test_the_maximum_over_rounds_of_each_seed(tmp_path):
    found = rows(tmp_path, "toy/table-1", {"random": [[0.5, 0.8, 0.7], [0.6, 0.65, 0.75]]}, only="cubes")
    what = "maximum over rounds"
    assert found == {
        ("cubes-adam", "random", what): (80.0, [80.0, 75.0]),
        ("cubes-adam", "badge", what): (82.5, []),
        ("cubes-sam", "random", what): (81, [80.0, 75.0]),
        ("cubes-sam", "badge", what): (83, []),
    }


def test_values_at_label_counts_and_of_all_labels(tmp_path):
    values = {"random": [[0.1, 0.2, 0.3, 0.4], [0.15, 0.25, 0.35]], "full_data": [[0.9]]}
    found = rows(tmp_path, "toy/table-2", values)
    assert found == {
        ("cubes", "random", "30 labels"): (50.0, [20.0, 25.0]),
        ("cubes", "random", "50 labels"): (60.0, [40.0]),  # the second seed ends before
        ("cubes", "badge", "30 labels"): (51.0, []),
        ("cubes", "badge", "50 labels"): (61.0, []),
        ("cubes", "full_data", "all labels"): (90.0, [90.0]),
    }


def test_of_the_small_form_the_same_rounds_count(tmp_path):
    choice, runs, needs = chosen(tmp_path, "toy/table-2", small=True, methods="random", seeds="1")
    write_runs(runs, {"random": [[0.1, 0.2, 0.3, 0.4]]}, initial=7, query=3)
    assert [(row.what, *row.ours) for row in rows_of(choice, runs, needs) if row.method == "random"] == [
        ("round 1", 20.0),
        ("round 3", 40.0),
    ]


def test_curves_have_their_last_round_and_their_mean(tmp_path):
    found = rows(tmp_path, "toy/figure-1", {"badge": [[0.1, 0.2, 0.6]]}, only="cubes-adam", methods="badge", seeds="1")
    assert found == {
        ("cubes-adam", "badge", "last round"): (None, [60.0]),
        ("cubes-adam", "badge", "mean over rounds"): (None, [30.0]),
    }


def test_median_seconds(tmp_path):
    # Of the helper's campaigns: trainings of 2, 3 and 4 seconds, queries of 1 + .5.
    found = rows(tmp_path, "toy/table-4", {"random": [[0.1, 0.2, 0.6]]}, seeds="1")
    assert found == {
        ("cubes", "random", "median seconds of a training"): (3.0, [3.0]),
        ("cubes", "random", "median seconds of a query"): (2.5, [1.5]),
    }


def test_a_campaign_that_is_not_finished_is_read_and_is_not_in_the_table(tmp_path):
    choice, runs, needs = chosen(tmp_path, "toy/table-1", only="cubes-adam", methods="random", seeds="1")
    write_runs(runs, {"random": [[0.5, 0.6, 0.7]]})
    last = max((runs[0].folder / "ledger").glob("*-reported.json"))
    last.unlink()
    assert [list(row.ours) for row in rows_of(choice, runs, needs)] == [[]]
    [found] = measured(runs, "accuracy")
    assert found.curve.values == [0.5, 0.6, 0.7]


def test_settings_are_those_of_the_recipes(tmp_path):
    choice, _, needs = chosen(tmp_path, "toy/figure-3")
    [head, row] = settings_of(choice.cases, needs)
    assert dict(zip(head, row, strict=True)) == {
        **{"case": "cubes", "data": "Cubes", "network": "PlainCNN", "epochs": "5", "batch": "4", "initial": "20"},
        **{"a round": "10", "rounds": "3", "candidates": "-", "optimizer": "Adam, 0.5"},
    }
