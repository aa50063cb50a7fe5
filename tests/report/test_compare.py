import sys

import pytest

from lightning_al.report import (
    compare,
)
from tests.helpers.curves import write_campaign


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
