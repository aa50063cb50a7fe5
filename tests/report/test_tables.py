import pytest

from lightning_al.report import seconds_table, table
from tests.helpers.curves import curve


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

    def test_of_an_error_the_least_is_the_best(self):
        errors = [curve([0.5, 0.25, 0.75], metric="test_mse"), curve([0.75, 1.0, 0.25], metric="test_mse")]
        assert table({"m": errors}).splitlines()[-1] == "| min over rounds   | 0.2500 ± 0.0000 |"

    @pytest.mark.parametrize(
        ("metric", "row"),
        [
            *[(name, "min") for name in ("val_loss", "test/RMSE", "err", "top1_error", "val_MAE/cells", "nll", "ece")],
            *[(name, "max") for name in ("acc", "auroc", "terror_recall", "lossless_dice", "maestro", "val_f1")],
        ],
    )
    def test_its_name_says_whether_less_is_better(self, metric, row):
        assert table({"m": [curve([0.5], metric=metric)]}).splitlines()[-1].startswith(f"| {row} over rounds ")

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
