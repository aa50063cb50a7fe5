"""A history is a list, and shows itself whatever is in it."""

import csv
import importlib.util
import math
import re

import pytest

from lightning_al import Campaign
from lightning_al.campaign import History, RoundResult


def result(number, *, picked=(1, 2), counts="labels", **metrics):
    seconds = {"fit": 1.5, "select": 0.5}
    return RoundResult(number, 20 + 10 * number, list(picked), [], metrics, seconds, 100.0 * (number + 1), counts)


def history(rounds=3):
    return History(result(n, val_loss=1.0 / (n + 1), val_acc=0.5 + 0.125 * n) for n in range(rounds))


def cells(html):
    return [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row) for row in re.findall(r"<tr>(.*?)</tr>", html)]


def test_it_is_a_list_of_which_slices_are_histories():
    all_of = history()
    assert all_of == list(all_of)
    assert list(all_of) == all_of
    assert isinstance(all_of[1:], History)
    assert all_of[1:] == list(all_of)[1:]
    assert all_of[-1] is list(all_of)[-1]
    assert isinstance(all_of[::-1][0], RoundResult)


def test_a_notebook_shows_a_row_for_each_round_the_main_metric_first():
    html = history()._repr_html_()
    assert cells(html) == [
        ["round", "labels", "val_acc", "val_loss", "asked for", "seconds"],
        ["0", "20", "0.500", "1.0000", "2", "2.0"],
        ["1", "30", "0.625", "0.5000", "2", "2.0"],
        ["2", "40", "0.750", "0.3333", "2", "2.0"],
    ]
    assert html.count("<svg") == 1
    assert "val_acc by labels: 0.500 to 0.750" in html


def test_what_is_not_finite_or_not_there_is_shown_too():
    assert "No round is finished yet" in History()._repr_html_()
    bare = History([result(0)])._repr_html_()
    assert cells(bare)[1] == ["0", "20", "2", "2.0"]
    assert "<svg" not in bare
    odd = History([result(0, val_acc=math.nan), result(1, val_acc=math.inf)])._repr_html_()
    assert [row[2] for row in cells(odd)] == ["val_acc", "nan", "inf"]
    assert "<svg" not in odd


def test_a_long_history_is_cut_in_the_middle():
    rows = cells(history(50)._repr_html_())
    assert [row[0] for row in rows[1:]] == [*map(str, range(10)), "…", *map(str, range(40, 50))]


def test_names_of_metrics_are_text():
    html = History([result(0, **{"<img src=x>": 1.0})])._repr_html_()
    assert "<img" not in html
    assert "&lt;img src=x&gt;" in html


def test_pixels_are_counted_where_regions_are_asked_for():
    html = History([result(0, counts="pixels", iou=0.5)])._repr_html_()
    assert cells(html)[0][1] == "pixels"
    assert cells(html)[1][1] == "100"


def test_a_csv_file_has_the_rows(tmp_path):
    history().to_csv(tmp_path / "rounds.csv")
    with (tmp_path / "rounds.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["labelled"] for row in rows] == ["20", "30", "40"]
    assert [float(row["val_acc"]) for row in rows] == [0.5, 0.625, 0.75]
    assert rows[0]["fit_seconds"] == "1.5"


def test_a_frame_or_what_to_install():
    if importlib.util.find_spec("pandas") is None:
        with pytest.raises(ImportError, match="pip install pandas"):
            history().to_frame()
        return
    frame = history().to_frame()
    columns = ["round", "labelled", "spent", "picked", "val_loss", "val_acc", "fit_seconds", "select_seconds"]
    assert list(frame.columns) == columns
    assert frame["val_acc"].tolist() == [0.5, 0.625, 0.75]
    assert list(History().to_frame().columns) == ["round", "labelled", "spent", "picked"]


def test_a_plot_is_the_metric_by_labels_on_axes_that_are_given():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    ax = figure.add_subplot()
    assert history().plot(ax=ax) is ax
    assert history(2).plot("val_loss", ax=ax) is ax
    first, second = ax.lines
    assert list(first.get_xdata()) == [20, 30, 40]
    assert list(first.get_ydata()) == [0.5, 0.625, 0.75]
    assert list(second.get_ydata()) == [1.0, 0.5]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("labelled samples", "val_loss")


def test_what_cannot_be_drawn_is_said():
    with pytest.raises(ValueError, match="no round is finished yet"):
        History().plot()
    with pytest.raises(ValueError, match="evaluate=None"):
        History([result(0)]).plot()
    with pytest.raises(ValueError, match=r"No metric 'f1'; these rounds have \['val_loss', 'val_acc'\]"):
        history().plot("f1")


def test_an_empty_campaign_shows_where_it_stands(tmp_path):
    Campaign.create(tmp_path / "<c>", size=5, options={})
    campaign = Campaign.load(tmp_path / "<c>")
    assert "0 rounds, Pool(5 units: 5 unlabelled" in repr(campaign)
    html = campaign._repr_html_()
    assert "<c>" not in html
    assert "&lt;c&gt;" in html
    assert "No round is finished yet" in html
