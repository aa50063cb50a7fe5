import pytest

from lightning_al.campaign.metrics import class_metrics
from lightning_al.report import load_curves
from tests.helpers.curves import write_campaign


@pytest.mark.parametrize("form", ["test_acc/{}", "test_acc_{}", "test_acc_class_{}", "test_acc/class{}", "test_acc.{}"])
def test_forms_of_names(form):
    names = ["test_acc", "test_loss", "val_acc/0", "test_accuracy", *(form.format(i) for i in (10, 2, 0))]
    assert class_metrics("test_acc", names) == {str(i): form.format(i) for i in (0, 2, 10)}


@pytest.mark.parametrize(
    "names",
    [
        ["test_acc_step", "test_acc_epoch"],
        ["test_acc_top1", "test_acc_top5"],
        ["test_acc/cat"],
        ["test_acc_std", "test_acc/a"],
    ],
)
def test_what_is_no_class(names):
    assert class_metrics("test_acc", ["test_acc", *names]) == {}


def test_curves_hold_them_and_the_metric_of_all_is_chosen(tmp_path):
    write_campaign(tmp_path / "m", [0.7, 0.8], extra=["test_acc/cat", "test_acc/dog", "test_loss"])
    curve = load_curves(tmp_path)["m"][0]
    assert (curve.metric, curve.values) == ("test_acc", [0.7, 0.8])
    assert curve.classes == {"cat": [0.5, 0.5], "dog": [0.5, 0.5]}


def test_of_one_class_the_metric_may_be_asked_for(tmp_path):
    write_campaign(tmp_path / "m", [0.7], extra=["test_acc/cat", "test_acc/dog"])
    curve = load_curves(tmp_path, "test_acc/cat")["m"][0]
    assert (curve.values, curve.classes) == ([0.5], {})


@pytest.mark.parametrize("name", ["test_acc_class_3", "test_iou_class_3"])
def test_one_of_a_single_class_is_not_chosen(tmp_path, name):
    write_campaign(tmp_path / "m", [0.7], extra=[name])
    assert load_curves(tmp_path)["m"][0].metric == "test_acc"
