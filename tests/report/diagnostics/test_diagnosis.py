"""Tables and pictures."""

import csv
import sys

import pytest

from lightning_al.report.diagnostics import Diagnosis
from lightning_al.report.diagnostics.pictures import add_point, bars, clouds, curves, groups_of_points, surfaces


def diagnosis(draw=lambda figure: None, rows=((1, 0.123456), (2, None), (3, 1e-7)), note="Read so."):
    return Diagnosis("name", "Title", ["round", "value"], rows, draw, note)


def test_the_table_and_its_file(tmp_path):
    found = diagnosis()
    assert found.table().splitlines() == [
        "| round | value  |", "|-------|--------|", "| 1     | 0.1235 |", "| 2     | -      |", "| 3     | 1e-07  |",
        "", "Read so.",
    ]  # fmt: skip
    assert found.table(most=1).endswith("| 1     | 0.1235 |\n\nRead so.\n\n2 more rows are in name.csv.")
    found.to_csv(tmp_path / "new" / "table.csv")
    with (tmp_path / "new" / "table.csv").open() as file:
        assert list(csv.reader(file)) == [["round", "value"], ["1", "0.123456"], ["2", ""], ["3", "1e-07"]]


def every_picture():
    panel = {}
    for x in range(4):
        add_point(panel, "a", x, 2.0**x)
    assert panel == {"a": ([0, 1, 2, 3], [1.0, 2.0, 4.0, 8.0])}
    panels = {f"panel {number}": panel for number in range(4)}
    yield curves(panels, x="labels", log=["panel 1"])
    yield curves({"alone": panel}, x="labels")
    yield clouds({"cloud": panel["a"]}, x="x", y="y", notes={"cloud": "r = 1"})
    yield bars({"one": {"a": [1.0, 2.0], "b": [2.0, 1.0]}, "two": {}}, ["x", "y"])
    yield surfaces({"surface": ([-1.0, 0.0, 1.0], [[2.0, 1.0, 2.0], [1.0, 0.0, 1.0], [2.0, 1.0, 2.0]])})
    yield surfaces({"flat": ([-1.0, 0.0, 1.0], [[1.0] * 3] * 3)})
    yield groups_of_points({"points": {"0": panel["a"], "picked": panel["a"]}})


def test_bars_have_one_scale_and_names_that_can_be_read():
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    panels = {"one": {"a": [0.1, 0.2]}, "two": {"a": [0.4, 0.3]}, "counts": {"a": [90.0, 10.0]}}
    for groups, rotation in ((["x", "y"], 0), (["a name of a class", "another name of another class"], 90)):
        figure = Figure()
        bars(panels, groups, apart=["counts"])(figure)
        one, two, counts = figure.axes[:3]
        assert one.get_ylim() == two.get_ylim() == (0, pytest.approx(0.42))
        assert counts.get_ylim()[1] > 90
        assert {label.get_rotation() for label in one.get_xticklabels()} == {rotation}


@pytest.mark.slow
def test_every_picture_is_drawn_with_its_titles(tmp_path):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    for number, draw in enumerate(every_picture()):
        figure = Figure(layout="constrained")
        draw(figure)
        titles = [axes.get_title() for axes in figure.axes if axes.get_visible() and axes.get_title()]
        assert titles
        diagnosis(draw).plot(tmp_path / "new" / f"{number}.png")
        assert (tmp_path / "new" / f"{number}.png").read_bytes().startswith(b"\x89PNG")
    figure = Figure(layout="constrained")
    next(every_picture())(figure)
    assert [axes.get_yscale() for axes in figure.axes[:2]] == ["linear", "log"]
    assert [line.get_label() for line in figure.axes[0].lines] == ["a"]


def test_pictures_need_matplotlib(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match=r"lightning-al\[plot\]"):
        diagnosis().plot(tmp_path / "a.png")
