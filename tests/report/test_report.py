import statistics
import sys

import pytest

from lightning_al import Campaign
from lightning_al.report import (
    Curve,
    Spread,
    compare,
    load_curves,
    max_over_rounds,
    mean_over_curve,
    plot,
    seconds_table,
    shared_labels,
    summarise,
    table,
)


def fitted(campaign, **fields):
    return campaign.write("fitted", digest=campaign.label_digest, steps={}, **fields)


def write_campaign(folder, values, initial=20, query=10, metric="test_acc", extra=(), fit=2.0, score=1.0):
    """A real ledger of len(values) trainings."""
    folder.mkdir(parents=True)
    campaign = Campaign(folder, Campaign.create(folder, size=1000, options={}))
    for number, value in enumerate(values):
        metrics = {metric: value, **dict.fromkeys(extra, 0.5)}
        seconds = {"fit": fit + number, "evaluate": 0.1}
        labelled = initial + query * number
        campaign.apply(fitted(campaign, round=number, labelled=labelled, metrics=metrics, seconds=seconds))
        if number < len(values) - 1:
            indices = list(range(number * query, (number + 1) * query))
            campaign.apply(
                campaign.write(
                    "asked",
                    round=number,
                    indices=indices,
                    keys=[str(i) for i in indices],
                    scores=[0.5] * query,
                    seconds={"score": score, "select": 0.5},
                )
            )
    return folder


def curve(values, labels=None, path="a"):
    return Curve(path, "test_acc", labels or [20 + 10 * i for i in range(len(values))], list(values))


class TestLoad:
    def test_groups_repeats_by_their_parent_folder(self, tmp_path):
        for method, values in {"saal": [0.5, 0.6], "nested/random": [0.4, 0.5]}.items():
            for seed in (0, 1):
                write_campaign(tmp_path / method / f"seed_{seed}", values, extra=["test_loss"])
        curves = load_curves(tmp_path)
        assert {method: len(repeats) for method, repeats in curves.items()} == {"saal": 2, "nested/random": 2}
        first = curves["saal"][0]
        assert first.path == str(tmp_path / "saal" / "seed_0")
        assert (first.metric, first.labels, first.values) == ("test_acc", [20, 30], [0.5, 0.6])
        assert first.fit_seconds == [2.0, 3.0]
        assert first.query_seconds == [1.5]  # the last round asks nothing

    def test_repeats_are_in_the_order_of_their_numbers(self, tmp_path):
        for seed in (10, 2, 1):
            write_campaign(tmp_path / "m" / f"seed_{seed}", [0.1])
        assert [c.path.rsplit("_")[-1] for c in load_curves(tmp_path)["m"]] == ["1", "2", "10"]

    def test_campaigns_directly_below_root_are_methods_of_their_own(self, tmp_path):
        write_campaign(tmp_path / "saal", [0.5])
        write_campaign(tmp_path / "random", [0.4])
        assert list(load_curves(tmp_path)) == ["random", "saal"]

    @pytest.mark.parametrize("names", [("seed_0", "seed_1"), ("version_0", "version_12"), ("0", "1"), ("run1", "run2")])
    def test_unless_their_names_only_count_repeats(self, tmp_path, names):
        for name in names:
            write_campaign(tmp_path / "saal" / name, [0.5])
        [(method, repeats)] = load_curves(tmp_path / "saal").items()
        assert (method, len(repeats)) == ("saal", 2)

    def test_root_may_be_a_campaign(self, tmp_path):
        assert list(load_curves(write_campaign(tmp_path / "one", [0.5]))) == ["one"]

    def test_a_campaign_before_its_first_training_is_left_out(self, tmp_path):
        write_campaign(tmp_path / "m" / "seed_0", [0.5])
        write_campaign(tmp_path / "m" / "seed_1", [])
        (tmp_path / "other" / "ledger").mkdir(parents=True)  # made, and then killed
        assert {method: len(repeats) for method, repeats in load_curves(tmp_path).items()} == {"m": 1}

    def test_no_campaign(self, tmp_path):
        with pytest.raises(FileNotFoundError, match=f"No campaign at or below '{tmp_path}'.*dirpath"):
            load_curves(tmp_path)
        write_campaign(tmp_path / "m", [])
        with pytest.raises(FileNotFoundError, match="has finished a round"):
            load_curves(tmp_path)


class TestMetric:
    def test_the_accuracy_is_preferred(self, tmp_path):
        write_campaign(tmp_path / "m", [0.5], metric="val_acc", extra=["val_loss", "other"])
        assert load_curves(tmp_path)["m"][0].metric == "val_acc"

    def test_else_the_only_one(self, tmp_path):
        write_campaign(tmp_path / "m", [0.5], metric="mAP")
        assert load_curves(tmp_path)["m"][0].metric == "mAP"

    @pytest.mark.parametrize(("metric", "extra"), [("a_acc", ["b_acc", "loss"]), ("loss", ["mAP"])])
    def test_else_an_error_that_lists_them(self, tmp_path, metric, extra):
        write_campaign(tmp_path / "m", [0.5], metric=metric, extra=extra)
        with pytest.raises(ValueError, match="Which metric.*" + ".*".join(sorted([metric, *extra]))):
            load_curves(tmp_path)
        assert load_curves(tmp_path, extra[-1])["m"][0].values == [0.5]

    def test_an_unknown_one(self, tmp_path):
        write_campaign(tmp_path / "m", [0.5])
        with pytest.raises(ValueError, match=r"No metric 'f1' in .*found: \['test_acc'\]"):
            load_curves(tmp_path, "f1")

    def test_campaigns_with_different_metrics(self, tmp_path):
        write_campaign(tmp_path / "m", [0.5], extra=["test_loss"])
        write_campaign(tmp_path / "n", [0.5], metric="val_acc", extra=["test_loss"])
        with pytest.raises(ValueError, match=r"different metrics.*m: test_acc, test_loss.*n: test_loss, val_acc"):
            load_curves(tmp_path)
        assert len(load_curves(tmp_path, "test_loss")) == 2

    def test_a_round_without_it(self, tmp_path):
        folder = write_campaign(tmp_path / "m", [0.5])
        campaign = Campaign.load(folder)
        fitted(campaign, round=1, labelled=30, metrics={}, seconds={"fit": 1.0, "evaluate": 0.0})
        with pytest.raises(ValueError, match=r"m has no metric 'test_acc' in the rounds \[1\]"):
            load_curves(tmp_path)


class TestSummary:
    def test_mean_and_sample_deviation(self):
        summary = summarise([curve([0.1, 0.5]), curve([0.2, 0.6]), curve([0.6, 0.7])])
        assert list(summary) == [20, 30]
        assert summary[20].mean == pytest.approx(0.3)
        assert summary[20].std == pytest.approx((((0.2**2) + (0.1**2) + (0.3**2)) / 2) ** 0.5)  # ddof = 1

    def test_one_repeat_has_no_deviation(self):
        assert summarise([curve([0.25])]) == {20: Spread(0.25, None)}
        assert str(Spread(0.25, None)) == "0.2500"

    def test_repeats_of_different_length_are_cut_not_interpolated(self):
        long, short = curve([0.1, 0.2, 0.9]), curve([0.3, 0.4])
        assert summarise([long, short]) == {20: Spread.of([0.1, 0.3]), 30: Spread.of([0.2, 0.4])}
        assert max_over_rounds([long, short]) == Spread.of([0.2, 0.4])
        assert mean_over_curve([long, short]).mean == pytest.approx((0.15 + 0.35) / 2)

    def test_repeats_with_no_label_count_in_common(self):
        with pytest.raises(ValueError, match=r"x: 20 to 30; y: 25 to 35.*different folders"):
            shared_labels([curve([0, 0], path="x"), curve([0, 0], [25, 35], path="y")])

    def test_the_maximum_is_taken_per_repeat_and_before_the_mean(self):
        repeats = [curve([0.1, 0.9, 0.5]), curve([0.8, 0.2, 0.4])]
        best = max_over_rounds(repeats)
        assert best.mean == pytest.approx(0.85)
        assert best.std == pytest.approx(statistics.stdev([0.9, 0.8]))


class TestTable:
    def test_text(self):
        text = table({"saal": [curve([0.5, 0.7]), curve([0.6, 0.8])], "random": [curve([0.4, 0.45])]})
        assert text.splitlines() == [
            "| labels (test_acc) | saal (n=2)      | random (n=1) |",
            "|-------------------|-----------------|--------------|",
            "| 20                | 0.5500 ± 0.0707 | 0.4000       |",
            "| 30                | 0.7500 ± 0.0707 | 0.4500       |",
            "| mean over curve   | 0.6500 ± 0.0707 | 0.4250       |",
            "| max over rounds   | 0.7500 ± 0.0707 | 0.4500       |",
        ]

    def test_long_curves_are_thinned_and_keep_both_ends(self):
        text = table({"m": [curve([i / 101 for i in range(101)])]}, max_rows=6)
        shown = [line.split()[1] for line in text.splitlines()[2:-2]]
        assert shown == ["20", "220", "420", "620", "820", "1020"]

    def test_different_label_counts_are_said(self):
        text = table({"a": [curve([0.1, 0.2, 0.3])], "b": [curve([0.1, 0.2])]})
        assert "| 40                | 0.3000  | -       |" in text
        assert "do not compare" in text
        assert "a 20 to 40 (3), b 20 to 30 (2)" in text

    def test_nothing(self):
        with pytest.raises(ValueError, match="no curves"):
            table({})

    def test_seconds(self):
        one, two = curve([0.1]), curve([0.1])
        one.fit_seconds, two.fit_seconds = [1.0, 2.0], [30.0]
        one.query_seconds = [0.25]
        text = seconds_table({"a": [one, two], "b": [curve([0.1])]})
        assert text.splitlines()[2:] == [
            "| a              | 2.00 | 0.25  |",
            "| b              | -    | -     |",
        ]


class TestPlot:
    curves = {"saal": [curve([0.5, 0.7]), curve([0.6, 0.8])], "random": [curve([0.4, 0.45])]}

    @pytest.mark.parametrize(("name", "magic"), [("c.png", b"\x89PNG"), ("new/folder/c.pdf", b"%PDF")])
    def test_writes_the_picture(self, tmp_path, name, magic):
        pytest.importorskip("matplotlib")
        plot(self.curves, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(magic)

    def test_leaves_pyplot_alone(self, tmp_path):
        pytest.importorskip("matplotlib")
        from matplotlib import pyplot

        before = pyplot.get_fignums()
        plot(self.curves, tmp_path / "c.png")
        assert pyplot.get_fignums() == before

    def test_nothing(self, tmp_path):
        with pytest.raises(ValueError, match="no curves"):
            plot({}, tmp_path / "c.png")

    def test_names_the_extra_without_matplotlib(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(ImportError, match=r"lightning-al\[plot\]"):
            plot(self.curves, tmp_path / "c.png")


class TestCompare:
    def test_prints_and_writes(self, tmp_path, capsys):
        pytest.importorskip("matplotlib")
        for method, top in {"saal": 0.9, "random": 0.7}.items():
            for seed in (0, 1):
                write_campaign(tmp_path / method / f"seed_{seed}", [0.5, 0.6, top + seed / 100])
        compare(str(tmp_path))
        out = capsys.readouterr().out
        assert "| max over rounds   | 0.7050 ± 0.0071 | 0.9050 ± 0.0071 |" in out
        assert "| saal           | 3.00 | 1.50  |" in out
        assert out.endswith(f"Learning curves: {tmp_path / 'curves.png'}\n")
        assert (tmp_path / "curves.png").stat().st_size > 1000

    def test_output(self, tmp_path, capsys):
        pytest.importorskip("matplotlib")
        write_campaign(tmp_path / "m", [0.5], extra=["other"])
        compare(str(tmp_path), metric="other", output=str(tmp_path / "x.svg"))
        assert "other" in capsys.readouterr().out
        assert (tmp_path / "x.svg").is_file()
        assert not (tmp_path / "curves.png").exists()

    def test_the_tables_come_even_without_matplotlib(self, tmp_path, capsys, monkeypatch):
        write_campaign(tmp_path / "m", [0.5])
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(ImportError):
            compare(str(tmp_path))
        assert "max over rounds" in capsys.readouterr().out
