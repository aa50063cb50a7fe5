import math
import re

import numpy as np
import pytest

from lightning_al.report import load_curves
from lightning_al.report.alignment import align, split_full_data
from tests.helpers.curves import curve, repeats, write_campaign


class TestPairs:
    def test_are_runs_of_one_seed(self):
        aligned = align({"saal": repeats([0.5], [0.6], seeds=(3, 1)), "random": repeats([0.4], [0.3], seeds=(1, 3))})
        assert {method: list(of) for method, of in aligned.values.items()} == {
            "saal": ["seed 3", "seed 1"],
            "random": ["seed 1", "seed 3"],
        }
        assert aligned.measured("random", "last") == {"seed 1": 0.4, "seed 3": 0.3}

    def test_the_ledger_says_the_seed(self, tmp_path):
        for method, seeds in {"saal": (5, 6), "random": (6, 5)}.items():
            for number, seed in enumerate(seeds):
                write_campaign(tmp_path / method / f"run_{number}", [0.1 * seed], options={"seed": seed})
        aligned = align(load_curves(tmp_path))
        assert aligned.measured("random", "last") == pytest.approx({"seed 6": 0.6, "seed 5": 0.5})

    @pytest.mark.parametrize("seed", [None, 0])
    def test_else_runs_in_folders_of_one_name(self, seed):
        """Where ledgers say nothing, or the same of several runs."""
        curves = {
            method: [curve([0.5], path=f"r/{method}/{name}", seed=seed) for name in names]
            for method, names in {"saal": ("a", "b"), "random": ("b", "a")}.items()
        }
        aligned = align(curves)
        assert [list(of) for of in aligned.values.values()] == [["a", "b"], ["b", "a"]]
        assert [("saal, random: several runs have one seed" in note) for note in aligned.notes] == [True] * (seed == 0)

    def test_methods_of_one_run_each(self, tmp_path):
        for method in ("saal", "random"):
            write_campaign(tmp_path / method, [0.5])
        aligned = align(load_curves(tmp_path))
        assert aligned.shared_repeats("saal", "random") == [""]
        assert aligned.notes == []

    def test_those_that_lack_some_are_named(self):
        aligned = align({"saal": repeats([0.5], [0.6]), "random": repeats([0.5])})
        assert aligned.notes == ["Every two methods are compared over the repeats that both have: random lacks seed 1."]


class TestLabelCounts:
    def test_those_that_all_have(self):
        aligned = align(
            {"saal": repeats([0.1, 0.2, 0.3], [0.4, 0.5]), "random": repeats([0.0, 0.1, 0.2], [0.0, 0.1, 0.2])}
        )
        assert aligned.labels == [20, 30]
        assert aligned.measured("saal", "mean") == pytest.approx({"seed 0": 0.15, "seed 1": 0.45})
        assert aligned.notes == [
            "Compared at the 2 of 3 label counts that all campaigns have, 20 to 30: saal seed 1 has 20 to 30 (2)."
        ]

    def test_none(self):
        aligned = align({"saal": repeats([0.1, 0.2]), "random": repeats([0.1, 0.2], labels=[25, 35])})
        assert aligned.labels == []
        assert aligned.values == {"saal": {}, "random": {}}
        assert aligned.notes == [
            "No label count is common to all campaigns, so that nothing more is compared: saal seed 0 has 20 to 30 "
            "(2); random seed 0 has 25 to 35 (2)."
        ]

    def test_of_one_that_was_measured_twice_the_later_counts(self):
        [[cut]] = [
            list(of.values()) for of in align({"m": repeats([0.1, 0.2, 0.3], labels=[20, 20, 30])}).values.values()
        ]
        assert cut.tolist() == [0.2, 0.3]

    @pytest.mark.parametrize("value", [math.nan, math.inf])
    def test_values_that_are_not_finite_take_their_repeat_out(self, value):
        aligned = align({"saal": repeats([0.1, value], [0.2, 0.3]), "random": repeats([0.1, 0.2], [0.1, 0.2])})
        assert list(aligned.values["saal"]) == ["seed 1"]
        assert aligned.notes[0] == (
            "saal seed 0 is left out, since its test_acc is not finite: saal looks better than it is."
        )


class TestMeasures:
    @pytest.mark.parametrize(
        ("lower", "best", "name"), [(None, 0.5, "max over rounds"), (True, 0.2, "min over rounds")]
    )
    def test_each(self, lower, best, name):
        aligned = align({"m": repeats([0.2, 0.5, 0.3])}, lower_is_better=lower)
        measured = [aligned.measured("m", measure)["seed 0"] for measure in ("last", "mean", "best")]
        assert measured == pytest.approx([0.3, 1 / 3, best])
        assert [aligned.label_of(measure) for measure in ("last", "mean", "best")] == [
            "last round",
            "mean over curve",
            name,
        ]

    def test_the_name_of_the_metric_says_what_is_better(self):
        assert align({"m": repeats([0.2], metric="test_mse")}).lower_is_better
        assert not align({"m": repeats([0.2], metric="test_mse")}, lower_is_better=False).lower_is_better

    def test_pixels(self):
        assert align({"m": repeats([0.2], counts="pixels")}).counts == "pixels"


class TestBaseline:
    @pytest.mark.parametrize("name", ["random", "Random", "fashion/random"])
    def test_is_the_one_called_random(self, name):
        assert align({"saal": repeats([0.5]), name: repeats([0.4])}).baseline == name

    def test_or_the_one_that_is_named(self):
        curves = {"saal": repeats([0.5]), "random": repeats([0.4])}
        assert align(curves, baseline="saal").baseline == "saal"
        with pytest.raises(
            ValueError, match=r"No method is called 'sal' \(did you mean 'saal'\?\); there are: saal, random"
        ):
            align(curves, baseline="sal")

    @pytest.mark.parametrize(
        ("methods", "text"),
        [
            (("saal", "badge"), "No method is called 'random', so.*one of saal, badge"),
            (
                ("x/random", "y/random", "x/saal"),
                "Several methods are called 'random', so.*one of x/random, y/random\\.",
            ),
        ],
    )
    def test_else_it_is_said_that_there_is_none(self, methods, text):
        aligned = align({method: repeats([0.5]) for method in methods})
        assert aligned.baseline is None
        [note] = aligned.notes
        assert re.search(text, note)

    def test_one_method_needs_none(self):
        aligned = align({"saal": repeats([0.5])})
        assert (aligned.baseline, aligned.notes) == (None, [])

    def test_nothing(self):
        with pytest.raises(ValueError, match="no curves"):
            align({})


class TestFullData:
    def test_is_a_folder_of_its_name(self):
        of_all = [curve([0.9], [50000])]
        curves = {"saal": repeats([0.5]), "full_data": of_all}
        assert split_full_data(curves) == ({"saal": curves["saal"]}, {"full_data": of_all})
        nested = {"x/full_data": of_all, "x/saal": curves["saal"], "y/full_data": curves["saal"]}
        assert list(split_full_data(nested)[1]) == ["x/full_data", "y/full_data"]

    def test_alone_it_is_a_method(self):
        curves = {"full_data": [curve([0.9], [50000])]}
        assert split_full_data(curves) == (curves, {})


def test_cut_curves_are_arrays_of_float64():
    assert align({"m": repeats([1, 2])}).values["m"]["seed 0"].dtype == np.float64
