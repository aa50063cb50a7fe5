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
