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


def test_a_name_has_one_colour_in_all_panels_and_a_place_in_the_legend():
    pytest.importorskip("matplotlib")
    from matplotlib.colors import to_hex
    from matplotlib.figure import Figure

    xs = ([0.0, 1.0], [1.0, 2.0])
    panels = {"one": {"a": xs, "b": xs, "picked": xs}, "two": {"b": xs, "c": xs, "picked": xs}}
    figure = Figure(layout="constrained")
    groups_of_points(panels, ["c", "b", "a", "nowhere"])(figure)
    of = [[to_hex(points.get_facecolor()[0]) for points in axes.collections] for axes in figure.axes]
    assert of == [["#2ca02c", "#ff7f0e", "#000000"], ["#ff7f0e", "#1f77b4", "#000000"]]
    [legend] = figure.legends
    assert [text.get_text() for text in legend.get_texts()] == ["c", "b", "a", "picked"]
    figure = Figure(layout="constrained")
    curves(panels, x="labels")(figure)
    assert [[line.get_color() for line in axes.lines] for axes in figure.axes] == [
        ["C0", "C1", "C2"],
        ["C1", "C3", "C2"],
    ]
    figure = Figure(layout="constrained")
    bars({"one": {"a": [1.0]}, "two": {"b": [1.0]}}, ["x"])(figure)
    assert [to_hex(axes.patches[0].get_facecolor()) for axes in figure.axes[:2]] == ["#1f77b4", "#ff7f0e"]


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 2, 3])
def test_titles_and_legends_fit_into_the_picture(tmp_path, count):
    pytest.importorskip("matplotlib")
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    names = [f"a_method_of_a_long_name_{number}, ρ=0.05" for number in range(6)]
    panel = {name: ([0.0, 1.0], [0.0, 1.0]) for name in names}
    figures = []

    def draw(figure):
        curves({f"panel {number}": panel for number in range(count)}, x="labels")(figure)
        figures.append(figure)

    title = "Share of the K samples of largest influence among the K of largest criterion, and more that is said"
    Diagnosis("name", title, ["a"], [], draw).plot(tmp_path / "picture.png")
    [figure] = figures
    renderer = FigureCanvasAgg(figure).get_renderer()
    for text in (figure.legends[0], figure._suptitle):
        box = text.get_window_extent(renderer)
        assert box.x0 >= 0
        assert box.x1 <= figure.bbox.width


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
