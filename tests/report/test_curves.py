import pytest

from lightning_al import Campaign
from lightning_al.cli.diagnose import names_of
from lightning_al.report import Curve, load_curves
from lightning_al.report.curves import round_by_round
from lightning_al.report.page.reading import read_campaigns
from tests.helpers.curves import fitted, write_campaign


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

    def test_one_campaign_has_one_name_everywhere(self, tmp_path, monkeypatch):
        folder = write_campaign(tmp_path / "saal/seed_0", [0.5])
        assert list(load_curves(folder)) == ["saal"]
        assert list(names_of([folder])) == ["saal"]
        assert list(read_campaigns([folder]).methods) == ["saal"]
        monkeypatch.chdir(folder)
        assert list(load_curves(".")) == ["saal"]

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

    def test_that_of_a_single_class_is_taken_when_it_is_asked_for(self, tmp_path):
        write_campaign(tmp_path / "m", [0.5], metric="test_acc", extra=["test_acc_class_0", "test_acc_class_11"])
        assert load_curves(tmp_path)["m"][0].metric == "test_acc"
        assert load_curves(tmp_path, "test_acc_class_11")["m"][0].metric == "test_acc_class_11"

    def test_classes_go_by_their_names_where_the_campaign_has_them(self, tmp_path):
        metrics = ["test_acc_class_0", "test_acc_class_1", "test_acc_class_2"]
        folder = write_campaign(tmp_path / "m", [0.5], extra=metrics)
        assert list(load_curves(tmp_path)["m"][0].classes) == ["0", "1", "2"]
        campaign = Campaign.load(folder)
        campaign.apply(campaign.write("named", annotations={"kind": "class", "classes": ["cat", "dog"]}))
        assert load_curves(tmp_path)["m"][0].classes == {"cat": [0.5], "dog": [0.5], "2": [0.5]}

    def test_else_the_only_one(self, tmp_path):
        write_campaign(tmp_path / "m", [0.5], metric="mAP")
        assert load_curves(tmp_path)["m"][0].metric == "mAP"

    @pytest.mark.parametrize(
        ("recorded", "main", "others"),
        [
            (["loss", "b_acc", "a_acc"], "b_acc", ["a_acc"]),
            (["loss", "a_acc"], "a_acc", []),
            (["loss", "mAP"], "mAP", ["loss"]),
            (["val_nll", "val_mae"], "val_nll", ["val_mae"]),
        ],
    )
    def test_else_the_first_of_the_best_kind_and_it_says_which_else_there_are(self, tmp_path, recorded, main, others):
        write_campaign(tmp_path / "m", [0.5], metric=recorded[0], extra=recorded[1:])
        (curve,) = load_curves(tmp_path)["m"]
        assert (curve.metric, curve.others) == (main, others)
        (curve,) = load_curves(tmp_path, recorded[0])["m"]
        assert (curve.metric, curve.others) == (recorded[0], [])

    def test_an_unknown_one(self, tmp_path):
        write_campaign(tmp_path / "m", [0.5])
        with pytest.raises(ValueError, match=r"No metric 'f1' in .*found: \['test_acc'\]"):
            load_curves(tmp_path, "f1")
        with pytest.raises(ValueError, match=r"No metric 'test_ac' \(did you mean 'test_acc'\?\) in "):
            load_curves(tmp_path, "test_ac")

    def test_of_campaigns_with_different_metrics_one_that_all_have(self, tmp_path):
        write_campaign(tmp_path / "m", [0.5], extra=["test_loss"])
        write_campaign(tmp_path / "n", [0.5], metric="val_acc", extra=["test_loss"])
        with pytest.warns(UserWarning, match=r"By test_loss, .*not all have \['test_acc', 'val_acc'\]"):
            curves = load_curves(tmp_path)
        assert [(curve.metric, curve.others) for (curve,) in curves.values()] == [("test_loss", [])] * 2
        assert len(load_curves(tmp_path, "test_loss")) == 2

    def test_campaigns_that_share_no_metric(self, tmp_path):
        write_campaign(tmp_path / "m", [0.5], extra=["test_loss"])
        write_campaign(tmp_path / "n", [0.5], metric="val_acc")
        with pytest.raises(ValueError, match=r"share none.*m: test_acc, test_loss.*n: val_acc"):
            load_curves(tmp_path)

    def test_one_that_comes_in_later_rounds_is_not_meant(self, tmp_path):
        campaign = Campaign.load(write_campaign(tmp_path / "m", [0.5], metric="loss"))
        fitted(campaign, round=1, labelled=30, metrics={"val_acc": 0.5, "loss": 0.25}, seconds={"fit": 1.0})
        assert load_curves(tmp_path)["m"][0].values == [0.5, 0.25]

    def test_a_round_without_it(self, tmp_path):
        folder = write_campaign(tmp_path / "m", [0.5])
        campaign = Campaign.load(folder)
        fitted(campaign, round=1, labelled=30, metrics={}, seconds={"fit": 1.0, "evaluate": 0.0})
        with pytest.raises(ValueError, match=r"m has no metric 'test_acc' in the rounds \[1\]"):
            load_curves(tmp_path)


class TestRoundByRound:
    """Campaigns that count pixels never have labelled as many."""

    def curve(self, *labels, counts="pixels"):
        return Curve("x", "iou", list(labels), [0.0] * len(labels), counts=counts)

    def test_counts_are_the_means_of_all_campaigns_that_asked_for_as_many(self):
        put = round_by_round({"a": [self.curve(90, 190, 300), self.curve(100, 200)], "b": [self.curve(110, 213)]})
        assert [[each.labels for each in repeats] for repeats in put.values()] == [
            [[100, 201, 300], [100, 201]],
            [[100, 201]],
        ]

    def test_campaigns_that_asked_for_other_amounts_are_put_together_by_method(self):
        put = round_by_round({"a": [self.curve(90), self.curve(100)], "b": [self.curve(30)]})
        assert [[each.labels for each in repeats] for repeats in put.values()] == [[[95], [95]], [[30]]]

    def test_other_curves_stay(self):
        curves = {"a": [self.curve(10, 20, counts="labels"), self.curve(12, counts="labels")]}
        assert round_by_round(curves) == curves
