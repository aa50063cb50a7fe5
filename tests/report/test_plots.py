import sys

import pytest

from lightning_al.report import plot
from lightning_al.report.plots import plot_pairwise
from lightning_al.report.statistics import pairwise
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

    def test_many_methods_and_the_line_of_all_labels(self, tmp_path, drawn):
        """What is drawn, of nine methods: no bands, and names beside the axes."""
        many = {f"m{i}": [curve([0.1 * i, 0.5]), curve([0.2, 0.6])] for i in range(9)}
        plot(many, tmp_path / "c.png", {"full_data": [curve([0.1, 0.9], [10, 800]), curve([0.7], [800])]})
        plot(self.curves, tmp_path / "c.png")
        beside, inside = (figure.axes[0] for figure in drawn)
        assert len(beside.lines) == 10
        assert list(beside.lines[-1].get_ydata()) == pytest.approx([0.8, 0.8])
        assert beside.lines[-1].get_label() == "full_data: 800 labels (n=2)"
        assert (len(beside.collections), len(inside.collections)) == (0, 1)
        assert beside.get_legend().get_title().get_text() == "mean over repeats"


@pytest.fixture
def drawn(monkeypatch):
    """The figures that would be written."""
    module = pytest.importorskip("matplotlib.figure")
    figures = []
    monkeypatch.setattr(module.Figure, "savefig", lambda figure, *args, **kwargs: figures.append(figure))
    return figures


class TestPlotPairwise:
    def test_writes_the_picture(self, tmp_path):
        pytest.importorskip("matplotlib")
        plot_pairwise(["a", "b"], pairwise([[0.5], [0.6]]), "x", tmp_path / "new" / "p.svg")
        assert "<svg" in (tmp_path / "new" / "p.svg").read_text()

    @pytest.mark.parametrize("count", [2, 9])
    def test_every_number_stands_in_its_place(self, tmp_path, drawn, count):
        matrices = pairwise([[0.1 * i, 0.5] for i in range(count)])
        plot_pairwise([f"m{i}" for i in range(count)], matrices, "last round (acc)", tmp_path / "p.png")
        [figure] = drawn
        assert figure.get_suptitle() == "Row against column by last round (acc); 2 cases"
        for axes, matrix, digits in zip(
            figure.axes, (matrices.wins, matrices.gains), (2, 2 + (count == 2)), strict=True
        ):
            assert [label.get_text() for label in axes.get_xticklabels()] == [f"m{i}" for i in range(count)]
            shown = {text.get_position(): text.get_text() for text in axes.texts}
            expected = {(j, i): f"{matrix[i, j]:.{digits}f}" for i in range(count) for j in range(count) if i != j}
            assert shown == expected

    def test_methods_without_a_difference_or_a_case(self, tmp_path, drawn):
        for values in ([[0.5], [0.5]], [[0.5, float("nan")], [float("nan"), 0.5]]):
            plot_pairwise(["a", "b"], pairwise(values), "x", tmp_path / "p.png")
        some, none = drawn
        assert [text.get_text() for text in some.axes[0].texts] == ["0.00", "0.00"]
        assert len(none.axes[0].texts) == 0
        assert none.get_suptitle().endswith("0 cases")

    def test_names_the_extra_without_matplotlib(self, tmp_path, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib", None)
        with pytest.raises(ImportError, match=r"lightning-al\[plot\]"):
            plot_pairwise(["a", "b"], pairwise([[0.5], [0.6]]), "x", tmp_path / "c.png")
