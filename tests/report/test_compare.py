import json
import sys

import pytest

from lightning_al.report import compare, load_curves, plot, table
from tests.helpers.curves import write_campaign
from tests.helpers.ledger import answered, asked, begin, record


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

    def test_says_which_metric_it_took_of_several(self, tmp_path, capsys, undrawn):
        write_campaign(tmp_path / "m/seed_0", [0.5, 0.25], metric="val_nll", extra=["val_mae"])
        compare(str(tmp_path))
        assert "\nBy val_nll; `metric=` (`--metric`) takes another: val_mae.\n" in capsys.readouterr().out
        compare(str(tmp_path), metric="val_mae")
        assert "takes another" not in capsys.readouterr().out

    def test_takes_a_path(self, tmp_path, undrawn):
        write_campaign(tmp_path / "m", [0.5])
        compare(tmp_path, output=tmp_path / "x")
        assert undrawn == [tmp_path / "x.png"]

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


@pytest.fixture
def undrawn(monkeypatch):
    """Pictures are written down, not drawn."""
    paths = []
    module = pytest.importorskip("matplotlib.figure")
    monkeypatch.setattr(module.Figure, "savefig", lambda figure, path, **options: paths.append(path))
    return paths


def write(root, seeds=5, metric="test_acc", **methods):
    for method, top in methods.items():
        for seed in range(seeds):
            values = [0.2 + seed / 100, 0.5, top + seed * seed / 1000 * (method == "saal")]
            write_campaign(root / method / f"seed_{seed}", values, metric=metric, options={"seed": seed})
    return root


class TestStatistics:
    def test_all_of_it(self, tmp_path, capsys, undrawn):
        write(tmp_path, saal=0.9, random=0.7, badge=0.6)
        write_campaign(tmp_path / "full_data" / "seed_0", [0.95], initial=900)
        compare(str(tmp_path))
        out = capsys.readouterr().out
        assert "The max over rounds is chosen by what it reports, hence optimistic; the other two are not." in out
        assert "full_data (900 labels): test_acc 0.9500 (n=1)." in out
        assert "Method - random, over the seeds that both have:" in out
        assert "| saal                  | 5     | +0.2060    | " in out
        assert out.count("better: saal; worse: badge; not told apart from it: none.") == 3
        assert "it takes 7 seeds to get below 0.05" in out
        assert "| saal                        | 0.7000 | 35          | 5 (13%)" in out
        assert "| 1 saal   | -    | 1.00 | 1.00 | 1.00 |" in out
        assert out.count("full_data") == 1
        assert undrawn == [tmp_path / "curves_pairwise.png", tmp_path / "curves.png"]
        got = json.loads((tmp_path / "curves.json").read_text())
        assert list(got["methods"]) == ["badge", "random", "saal"]
        assert len(got["full_data"]["full_data"]) == 1

    def test_fewer_than_five_seeds(self, tmp_path, capsys, undrawn):
        compare(str(write(tmp_path, seeds=4, saal=0.9, random=0.7)))
        out = capsys.readouterr().out
        assert out.count("nothing can be concluded") == 1  # of three tables, and of methods beside each other
        assert "Fewer than 5 seeds: nothing can be concluded." in out
        assert "Holm's correction is" not in out  # there are no tests
        assert "Wilcoxon's" not in out

    def test_baseline_and_measure_and_direction(self, tmp_path, capsys, undrawn):
        write(tmp_path, saal=0.9, random=0.7, badge=0.6)
        compare(str(tmp_path), baseline="badge", wins_by="best", lower_is_better=True)
        out = capsys.readouterr().out
        assert "Method - badge, over the seeds that both have, less is better:" in out
        assert "by min over rounds (test_acc)" in out
        assert "min over rounds (test_acc) | seeds" in out

    def test_what_is_wrong_is_said_before_anything_is_printed(self, tmp_path, capsys):
        write(tmp_path, seeds=1, saal=0.9)
        for options, text in (
            ({"baseline": "x"}, "No method is called 'x'"),
            ({"wins_by": "x"}, "one of last, mean, best"),
        ):
            with pytest.raises(ValueError, match=text):
                compare(str(tmp_path), **options)
        assert capsys.readouterr().out == ""

    def test_one_method(self, tmp_path, capsys, undrawn):
        compare(str(write(tmp_path, saal=0.9)), baseline="saal")
        assert undrawn == [tmp_path / "curves.png"]
        assert "random" not in capsys.readouterr().out

    def test_a_baseline_that_is_left_out(self, tmp_path, capsys, undrawn):
        write(tmp_path, seeds=2, saal=0.9, random=float("nan"))
        compare(str(tmp_path))
        out = capsys.readouterr().out
        assert "random seed 1 is left out, since its test_acc is not finite: random looks better than it is." in out
        assert "Fewer than 5 seeds: nothing can be concluded." in out
        assert "random's last round" not in out

    def test_nothing_in_common(self, tmp_path, capsys, undrawn):
        write(tmp_path, saal=0.9)
        write_campaign(tmp_path / "random" / "seed_0", [0.5], initial=25)
        compare(str(tmp_path))
        out = capsys.readouterr().out
        assert "No label count is common to all campaigns" in out
        assert "Method - random" not in out
        assert undrawn == [tmp_path / "curves.png"]
        assert json.loads((tmp_path / "curves.json").read_text())["labels"] == []

    def test_classes(self, tmp_path, capsys, undrawn):
        for method in ("saal", "random"):
            write_campaign(tmp_path / method / "seed_0", [0.5], extra=["test_acc/cat", "test_acc/dog"])
        compare(str(tmp_path))
        assert "| cat                    | 0.5000 | 0.5000 |" in capsys.readouterr().out
        assert (tmp_path / "curves_classes.csv").is_file()


class TestSeveralFolders:
    def test_folders_of_one_method_each_have_no_methods_beside_each_other(self, tmp_path, capsys, undrawn):
        write(tmp_path / "mnist", seeds=1, saal=0.9)
        write(tmp_path / "cifar", seeds=1, saal=0.6)
        write(tmp_path / "svhn", seeds=1, badge=0.6)
        folders = [tmp_path / name for name in ("mnist", "cifar", "svhn")]
        compare(list(map(str, folders)))
        assert "beside each other" not in capsys.readouterr().out
        assert undrawn == [folder / "curves.png" for folder in folders]

    def test_each_and_then_the_cases_of_all(self, tmp_path, capsys, undrawn):
        roots = [str(write(tmp_path / name, seeds=2, saal=top, random=0.7)) for name, top in (("x", 0.9), ("y", 0.6))]
        compare(roots)
        out = capsys.readouterr().out
        assert f"# {tmp_path / 'x'}\n" in out
        assert "# All 2 folders\n\nShare of the 4 cases" in out
        assert "| 1 saal   | -    | 0.50 | 0.50 |" in out
        assert undrawn[0] == tmp_path / "pairwise.png"
        assert tmp_path / "y" / "curves.png" in undrawn
        assert json.loads((tmp_path / "pairwise.json").read_text())["last round"]["cases"] == [[4, 4], [4, 4]]
        assert len((tmp_path / "pairwise.csv").read_text().splitlines()) == 1 + 3 * 2

    def test_the_output_is_theirs(self, tmp_path, capsys, undrawn):
        roots = [str(write(tmp_path / name, seeds=1, saal=0.9, random=0.7)) for name in ("x", "y")]
        compare(roots, output=str(tmp_path / "z" / "wins"))
        assert undrawn[0] == tmp_path / "z" / "wins.png"
        assert (tmp_path / "z" / "wins.csv").is_file()
        assert (tmp_path / "x" / "curves.csv").is_file()

    def test_different_metrics(self, tmp_path, capsys, undrawn):
        roots = [str(write(tmp_path / name, seeds=1, metric=f"{name}_acc", saal=0.9)) for name in ("x", "y")]
        with pytest.raises(ValueError, match=r"different metrics: x_acc, y_acc.*--metric"):
            compare(roots)
        assert capsys.readouterr().out == ""


class TestWithoutMetrics:
    def write(self, folder, **metrics):
        campaign = begin(folder)
        asked(campaign, -1, [3, 1])
        answered(campaign, [3, 1], [0, 2])
        record(
            campaign, "fitted", round=0, labelled=2, digest=campaign.label_digest, metrics=metrics,
            seconds={"fit": 2.0, "evaluate": 0.0}, steps={"optimizer": 5, "logged": 5},
        )  # fmt: skip

    def test_there_are_seconds_alone(self, tmp_path, capsys):
        self.write(tmp_path / "m")
        compare(str(tmp_path))
        out = capsys.readouterr().out
        assert "No metrics were recorded" in out
        assert "| m              | 2.00 |" in out
        assert not (tmp_path / "curves.png").exists()
        curves = load_curves(tmp_path)
        assert (curves["m"][0].labels, curves["m"][0].values) == ([2], [])
        for draw in (table, lambda curves: plot(curves, tmp_path / "x.png")):
            with pytest.raises(ValueError, match="recorded no metrics"):
                draw(curves)
        with pytest.raises(ValueError, match=r"No metric 'acc' in .*m: they recorded none"):
            load_curves(tmp_path, "acc")

    def test_among_others_they_are_left_out(self, tmp_path):
        self.write(tmp_path / "m")
        self.write(tmp_path / "n", acc=0.5)
        with pytest.warns(UserWarning, match=r"no metrics: .*m\."):
            assert list(load_curves(tmp_path)) == ["n"]

    def test_campaigns_that_share_no_metric(self, tmp_path):
        self.write(tmp_path / "m", acc=0.5)
        self.write(tmp_path / "n", f1=0.5)
        with pytest.raises(ValueError, match="share none: compare them apart"):
            load_curves(tmp_path)
