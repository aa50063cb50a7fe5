import sys

import pytest

from lightning_al.report import (
    plot,
)
from tests.helpers.curves import curve


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
