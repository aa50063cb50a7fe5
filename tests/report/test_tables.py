import re

import pytest

from lightning_al.drawing.numbers import decimals
from lightning_al.report import seconds_table, table
from lightning_al.report.alignment import align
from lightning_al.report.comparison import differences, labels_saved
from lightning_al.report.tables import (
    class_table,
    differences_table,
    full_data_line,
    limits_of_wilcoxon,
    on_tests,
    pairwise_tables,
    reach_table,
    thinned,
    too_few_cases,
)
from tests.helpers.curves import curve, repeats


class TestTable:
    def test_text(self):
        text = table({"saal": [curve([0.5, 0.7]), curve([0.6, 0.8])], "random": [curve([0.4, 0.45])]})
        assert text.splitlines() == [
            "| labels (test_acc) | saal (n=2)      | random (n=1) |",
            "|-------------------|-----------------|--------------|",
            "| 20                | 0.5500 ± 0.0707 | 0.4000       |",
            "| 30                | 0.7500 ± 0.0707 | 0.4500       |",
            "| last round        | 0.7500 ± 0.0707 | 0.4500       |",
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
        shown = [line.split()[1] for line in text.splitlines()[2:-3]]
        assert shown == ["20", "220", "420", "620", "820", "1020"]

    def test_different_label_counts_are_said(self):
        text = table({"a": [curve([0.1, 0.2, 0.3])], "b": [curve([0.1, 0.2])]})
        assert "| 40                | 0.3000  | -       |" in text
        assert "do not compare" in text
        assert "a 20 to 40 (3), b 20 to 30 (2)" in text

    def test_different_seeds_are_said(self):
        text = table({"a": repeats([0.1, 0.2], [0.2, 0.3]), "b": repeats([0.1, 0.2])})
        assert text.endswith(
            "\n\nMeans are over each method's own repeats, and these differ (b lacks seed 1): compare over those that "
            "both have."
        )
        assert "differ" not in table({"a": repeats([0.1, 0.2], [0.2, 0.3]), "b": repeats([0.1, 0.2], [0.1, 0.2])})

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

    def test_many_methods_are_rows(self):
        lines = table({f"m{i}": [curve([0.1, 0.2, 0.3, 0.4, 0.1 * i])] for i in range(7)}).splitlines()
        assert lines[0].split("|")[1:-1] == [
            *(" labels (test_acc) ", " 20     ", " 30     ", " 50     ", " 60     "),
            *(" last round ", " mean over curve ", " max over rounds "),
        ]
        numbers = ["m3 (n=1)", "0.1000", "0.2000", "0.4000", "0.3000", "0.3000", "0.2600", "0.4000"]
        assert [cell.strip() for cell in lines[5].split("|")[1:-1]] == numbers

    def test_what_is_better_may_be_said(self):
        text = table({"m": [curve([0.5, 0.25])]}, lower_is_better=True)
        assert text.endswith("| min over rounds   | 0.2500  |")

    @pytest.mark.parametrize(
        ("values", "digits"), [([0.5, 1.0], 4), ([2876.1], 1), ([12.0, 99.5], 2), ([3e-6], 9), ([0.0], 4), ([-50.0], 2)]
    )
    def test_four_figures_of_the_largest_value(self, values, digits):
        assert decimals(values) == digits

    def test_all_labels(self):
        assert full_data_line("full_data", [curve([0.1, 0.9], [5, 80]), curve([0.8], [81])]) == (
            "full_data (80 to 81 labels): test_acc 0.8500 ± 0.0707 (n=2)."
        )


def shifted(shift, count=6):
    return repeats(*([0.5 + shift, 0.7 + shift + 0.01 * (i % 3)] for i in range(count)))


class TestDifferences:
    def remarks(self, curves):
        return on_tests(differences(align(curves), "last"))

    def text(self, curves, measure="last", **options):
        aligned = align(curves, **options)
        return differences_table(aligned, differences(aligned, measure), measure)

    def test_numbers_and_what_they_say(self):
        text = self.text(
            {"saal": shifted(0.1), "random": repeats(*[[0.5, 0.7]] * 6), "same": shifted(0.0), "bad": shifted(-0.1)}
        )
        rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
        assert rows[0] == [
            *("last round (test_acc)", "seeds", "difference", "95 % t interval"),
            *("p (paired t)", "Holm", "p (Wilcoxon)", "Holm"),
        ]
        small = ["< 0.0001", "< 0.0001", "0.0312", "0.0938"]
        assert rows[2:5] == [
            ["saal", "6", "+0.1100", "+0.1006 to +0.1194", *small],
            ["same", "6", "+0.0100", "+0.0006 to +0.0194", "0.0409", "0.0409", "0.1250", "0.1250"],
            ["bad", "6", "-0.0900", "-0.0994 to -0.0806", *small],
        ]
        assert text.splitlines()[6] == (
            "Beside random, by the paired t-test after Holm's correction (0.05), better: saal, same; worse: bad; not "
            "told apart from it: none."
        )

    def test_of_an_error_less_is_better(self):
        text = self.text({"saal": shifted(-0.1), "random": repeats(*[[0.5, 0.7]] * 6)}, lower_is_better=True)
        assert "better: saal; worse: none" in text

    @pytest.mark.parametrize(("count", "said"), [(1, "[^|]* -  "), (4, r"\+0.0923 to \+0.1227")])
    def test_fewer_than_five_seeds(self, count, said):
        curves = {"saal": shifted(0.1, count), "random": repeats(*[[0.5, 0.7]] * 4)}
        text = self.text(curves)
        assert re.search(said, text.splitlines()[2])
        assert text.splitlines()[2].count("| -  ") >= 4
        assert len(text.splitlines()) == 3  # the table alone
        assert self.remarks(curves) == ["Fewer than 5 seeds: nothing can be concluded."]

    def test_some_have_fewer(self):
        curves = {"saal": shifted(0.1), "few": shifted(0.1, 3), "random": repeats(*[[0.5, 0.7]] * 6)}
        assert "better: saal; worse: none; not told apart from it: none." in self.text(curves)
        assert self.remarks(curves)[0] == "Fewer than 5 seeds: nothing can be concluded of few (3)."

    def test_what_holms_correction_is_over_is_said_once_with_the_tests(self):
        said = self.remarks({"saal": shifted(0.1), "random": repeats(*[[0.5, 0.7]] * 6)})
        assert [text.partition(":")[0] for text in said] == [
            "Holm's correction is over the methods of a table, and not over the three measures as well"
        ]

    def test_many_methods_are_not_all_named(self):
        curves = {f"m{i}": shifted(0.1) for i in range(10)} | {"random": repeats(*[[0.5, 0.7]] * 6)}
        assert "better: m0, m1, m2, m3, m4, m5, m6, m7 and 2 more; worse: none" in self.text(curves)

    @pytest.mark.parametrize(
        ("seeds", "methods", "said"),
        [
            (5, 1, "cannot fall below 0.0625 with 5 seeds and Holm's correction over 1 method: it takes 6 seeds"),
            (6, 3, "cannot fall below 0.0938 with 6 seeds and Holm's correction over 3 methods: it takes 7 seeds"),
            (7, 3, None),
            (4, 3, None),
        ],
    )
    def test_too_few_seeds_for_wilcoxon(self, seeds, methods, said):
        curves = {f"m{i}": shifted(0.1, seeds) for i in range(methods)} | {"random": shifted(0, seeds)}
        text = limits_of_wilcoxon(differences(align(curves), "last"))
        assert text is None if said is None else said in text


class TestReach:
    def test_text(self):
        aligned = align(
            {
                "saal": repeats([0.3, 0.5, 0.9]),
                "random": repeats([0.2, 0.4, 0.7]),
                "worse": repeats([0.2, 0.3, 0.4]),
                "at_once": repeats([0.8, 0.8, 0.8]),
            }
        )
        assert reach_table(aligned, labels_saved(aligned)).splitlines() == [
            "| to random's last round (40) | target | labels      | saved    | seeds that do by themselves |",
            "|-----------------------------|--------|-------------|----------|-----------------------------|",
            "| at_once                     | 0.7000 | 20 or fewer | 20 (50%) | 1 of 1                      |",
            "| saal                        | 0.7000 | 35          | 5 (12%)  | 1 of 1                      |",
            "| random                      | 0.7000 | 40          | 0 (0%)   | 1 of 1                      |",
            "| worse                       | 0.7000 | not reached | -        | 0 of 1                      |",
        ]


class TestPairwise:
    def test_matrices(self):
        text = pairwise_tables(
            [align({"saal": repeats([0.5], [0.75]), "random": repeats([0.5], [0.5], [0.5])})], "last"
        )
        assert text.splitlines() == [
            "Share of the 2 cases in which the row beats the column, by last round (test_acc):",
            "",
            "|          | 1    | 2    | mean |",
            "|----------|------|------|------|",
            "| 1 saal   | -    | 0.50 | 0.50 |",
            "| 2 random | 0.00 | -    | 0.00 |",
            "",
            "By how much the row is better than the column, the mean over the cases:",
            "",
            "|          | 1       | 2       | mean    |",
            "|----------|---------|---------|---------|",
            "| 1 saal   | -       | +0.1250 | +0.1250 |",
            "| 2 random | -0.1250 | -       | -0.1250 |",
        ]

    def test_of_many_methods_only_the_means(self):
        curves = {f"m{i}": repeats([0.1 * i], seeds=[0]) for i in range(9)} | {"m8": repeats([0.8], [0.9])}
        lines = pairwise_tables([align(curves)], "mean").splitlines()
        assert lines[0] == (
            "Each method beside each other one, the mean over the others and the 1 case, by mean over curve (test_acc):"
        )
        assert lines[2:5] == [
            "| beside the others | share won | better by |",
            "|-------------------|-----------|-----------|",
            "| m8                | 1.00      | +0.4500   |",
        ]
        assert lines[8] == "| m4                | 0.50      | +0.0000   |"

    def test_too_few_cases(self):
        several = [align({"saal": repeats(*[[0.5]] * n), "random": repeats(*[[0.4]] * n)}) for n in (4, 1)]
        assert too_few_cases(several, "last") is None
        assert too_few_cases(several[:1], "last") == "Fewer than 5 cases: nothing can be concluded."


class TestClasses:
    curves = {
        "saal": repeats([0.5, 0.6], [0.5, 0.6], classes={"cat": [0.0, 0.25], "dog": [1.0, 0.5]}),
        "none": repeats([0.5, 0.6]),
    }

    def test_of_each_method(self):
        assert class_table(self.curves, 30).splitlines() == [
            "| test_acc of class (30) | saal            | none |",
            "|------------------------|-----------------|------|",
            "| cat                    | 0.2500 ± 0.0000 | -    |",
            "| dog                    | 0.5000 ± 0.0000 | -    |",
        ]

    def test_methods_are_rows_where_they_are_more(self):
        text = class_table(self.curves | {"b": self.curves["saal"]}, 20)
        assert text.splitlines()[2] == "| saal                   | 0.0000 ± 0.0000 | 1.0000 ± 0.0000 |"

    def test_nobody_recorded_them_or_they_are_many(self):
        assert class_table({"m": repeats([0.5])}, 20) is None
        many = {"m": repeats([0.5], classes={str(i): [0.5] for i in range(21)})}
        assert class_table(many, 20) == "The metrics of 21 classes are in the file of classes alone."


def test_one_of_many_is_the_first():
    assert thinned(list(range(9)), 1) == [0]
    assert thinned(list(range(9)), 2) == [0, 8]


def test_a_table_of_less_than_two_rows_is_refused():
    with pytest.raises(ValueError, match=r"`max_rows` must be 2 or more, .* got 1"):
        table({"m": [curve([0.1, 0.2, 0.3])]}, max_rows=1)
