import csv
import json

import pytest

from lightning_al.report.alignment import align, split_full_data
from lightning_al.report.exports import write_comparison, write_json
from tests.helpers.curves import curve, repeats


def read(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def written(tmp_path):
    classes = {"cat": [0.25, 0.5], "dog": [0.75, 1.0]}
    curves = {
        "saal": repeats([0.5, 0.75], [0.25, 1.0], classes=classes),
        "random": repeats([0.25, 0.5], [0.5, 0.5]),
        "full_data": [curve([0.9], [900], path="x/full_data")],
    }
    methods, full_data = split_full_data(curves)
    files = write_comparison(methods, full_data, align(methods), tmp_path / "new" / "x")
    return {path.name: path for path in files}


def test_a_label_count_that_was_measured_twice_is_one_row(tmp_path):
    curves = {"m": [curve([0.9, 0.4, 0.6], [20, 20, 30], classes={"cat": [0.1, 0.2, 0.3]})]}
    _, points, of_classes = write_comparison(curves, {}, align(curves), tmp_path / "x")
    assert [(row["labels"], row["value"]) for row in read(points)] == [("20", "0.4"), ("30", "0.6")]
    assert [(row["labels"], row["value"]) for row in read(of_classes)] == [("20", "0.2"), ("30", "0.3")]


def test_files_are_named_after_the_stem(written):
    endings = (".json", ".csv", "_differences.csv", "_pairwise.csv", "_labels_saved.csv", "_classes.csv")
    assert list(written) == [f"x{ending}" for ending in endings]


def test_json_has_everything(written):
    got = json.loads(written["x.json"].read_text())
    assert (got["metric"], got["baseline"], got["labels"]) == ("test_acc", "random", [20, 30])
    assert got["methods"]["saal"]["curves"] == {"seed 0": [0.5, 0.75], "seed 1": [0.25, 1.0]}
    assert got["methods"]["saal"]["mean over curve"] == {"seed 0": 0.625, "seed 1": 0.625}
    [row] = got["differences"]["last round"]
    assert (row["values"], row["mean"], row["t"]) == ([0.25, 0.5], 0.375, None)
    assert [each["method"] for each in got["labels_saved"]] == ["saal", "random"]
    assert got["pairwise"]["max over rounds"] == {
        "methods": ["saal", "random"],
        "wins": [[None, 1.0], [0.0, None]],
        "gains": [[None, 0.375], [-0.375, None]],
        "cases": [[2, 2], [2, 2]],
    }
    assert got["full_data"] == {"full_data": [{"path": "x/full_data", "labels": [900], "values": [0.9]}]}


def test_csv_has_a_row_of_each(written):
    points = read(written["x.csv"])
    assert len(points) == 9
    assert points[1] == {
        "method": "saal", "path": "x/seed_0", "seed": "0", "counts": "labels", "labels": "30", "metric": "test_acc",
        "value": "0.75",
    }  # fmt: skip
    assert points[-1]["method"] == "full_data"
    [last, mean, best] = read(written["x_differences.csv"])
    assert (last["measure"], last["difference"], last["t"]) == ("last round", "0.375", "")
    pairs = read(written["x_pairwise.csv"])
    assert [row["wins"] for row in pairs if row["measure"] == "last round"] == ["1.0", "0.0"]
    assert [(row["method"], row["reached"]) for row in read(written["x_labels_saved.csv"])] == [
        ("saal", "2"),
        ("random", "2"),
    ]
    assert len(read(written["x_classes.csv"])) == 2 * 2 * 2


def test_what_is_not_finite_is_null(tmp_path):
    path = write_json(tmp_path / "x.json", {"a": [1.0, float("nan")], "b": {"c": float("inf")}})
    assert json.loads(path.read_text()) == {"a": [1.0, None], "b": {"c": None}}
