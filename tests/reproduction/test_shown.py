"""Tables of diagnoses, written by hand in the form that `diagnose` has, read beside published figures."""

from dataclasses import replace

import pytest

from lightning_al.cli.commands import DIAGNOSES
from lightning_al.reproduction.measured import METRICS
from lightning_al.reproduction.needs import Needs
from lightning_al.reproduction.registry import Case, read_results
from lightning_al.reproduction.shown import SHOWN, Diagnosed
from tests.helpers.recipes import RECIPES
from tests.helpers.results import write_recipes


@pytest.fixture
def found(tmp_path):
    needs = Needs(write_recipes(tmp_path / "recipes"))
    case = Case("cubes", ("cubes.yaml",), ("random", "badge"))
    return Diagnosed(tmp_path, case, {"seed_0": "random", "badge_small": "badge"}, needs)


def published(found, **fields):
    return replace(found, case=replace(found.case, **fields))


def write(found, name, text):
    path = found.folder / f"{name}.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def rows(found, shows):
    return [(row.method, row.what, row.published and row.published.mean, *row.ours) for row in SHOWN[shows].read(found)]


def test_all_that_results_show_is_known():
    results = read_results(RECIPES)
    assert {result.shows for result in results.values()} == {*SHOWN, *METRICS, "settings"}
    assert {shown.diagnosis for shown in SHOWN.values()} <= set(DIAGNOSES)


def test_before_a_diagnosis_has_ended_there_is_nothing(found):
    of = {"term_correlations": {"loss": {"eigenvalue": 0.5}}, "top_overlap": {"loss": {20: 0.5}}}
    for shows, shown in SHOWN.items():
        assert shown.read(published(found, published=of.get(shows, {"random": [1.0]}))) == []


def test_percent_by_rounds(found):
    found = published(found, published={"random": [9.5, 8.5]}, at_percent=(30, 50))  # rounds 1 and 3
    write(
        found,
        "gap",
        "campaign,round,gap\nseed_0,0,0.9\nseed_0,1,0.125\nseed_0,3,0.25\nbadge_small,1,0.5\nother,1,0.5\n",
    )
    assert rows(found, "train_test_gap") == [
        ("random", "training less test accuracy, round 1", 9.5, 12.5),
        ("random", "training less test accuracy, round 3", 8.5, 25.0),
    ]


def test_counts_become_percent_of_a_rounds_picks(found):
    found = published(found, published={"random": [5, 9]})  # of 10
    write(found, "norms", "campaign,round,hits,share\nseed_0,0,3,0.75\nseed_0,1,2,0.5\n")
    what = "% of picks with the largest true norms, round"
    assert rows(found, "true_norm_overlap") == [
        ("random", f"{what} 0", 50.0, 75.0),
        ("random", f"{what} 1", 90.0, 50.0),
    ]


def test_norms_fall_by_the_scheme_that_picked(found):
    lines = "true,0.1", "entropy,0.8", "expected_norm,0.5"
    write(found, "falls", "\n".join(["campaign,round,scheme,share", *(f"seed_0,0,{line}" for line in lines)]))
    for method in ("entropy_grad_norm", "expected_grad_norm"):  # the expected loss is the entropy
        of = replace(published(found, published={method: [9]}), methods={"seed_0": method})
        assert rows(of, "falling_norms") == [(method, "% of picks whose norm fell, round 0", 90.0, 80.0)]


def test_the_overlap_of_influence_is_of_no_method_in_print(found):
    found = published(found, published={"eq_5": [8]})
    write(found, "influence_overlap", "campaign,round,approx-2,approx-3\nseed_0,0,0.1,0.7\n")
    assert rows(found, "influence_overlap") == [("random", "% of the K of largest influence, round 0", 80.0, 70.0)]


def test_correlations_and_overlaps_of_the_terms(found):
    head = "campaign,{},task loss,gradient norm,first eigenvalue\n"
    terms = published(found, published={"entropy": {"loss": 0.9, "gradient_norm": 0.8}, "saal": {"eigenvalue": 0.7}})
    write(terms, "bound_scores", head.format("score") + "seed_0,SAAL,0.1,0.2,0.3\nseed_0,Entropy,0.4,0.5,0.6\n")
    assert rows(terms, "bound_correlations") == [
        ("score of SAAL", "correlation with the first eigenvalue", 0.7, 0.3),
        ("score of Entropy", "correlation with the task loss", 0.9, 0.4),
        ("score of Entropy", "correlation with the gradient norm", 0.8, 0.5),
    ]
    among = published(found, published={"loss": {"eigenvalue": 0.7}})
    write(among, "bound_terms", head.format("term") + "seed_0,task loss,,0.2,0.3\nseed_0,gradient norm,0.2,,0.4\n")
    assert rows(among, "term_correlations") == [("task loss", "correlation with the first eigenvalue", 0.7, 0.3)]
    overlap = published(found, published={"gradient_norm": {20: 0.5, 100: 0.75}})
    write(overlap, "bound_overlap", "campaign,term,k=20,k=100\nseed_0,gradient norm,0.25,\nseed_0,task loss,1.0,1.0\n")
    assert rows(overlap, "top_overlap") == [
        ("gradient norm", "share of SAAL's 20 largest", 0.5, 0.25),
        ("gradient norm", "share of SAAL's 100 largest", 0.75),  # more than there were samples
    ]


def test_accuracies_of_classes(found):
    lines = [f"seed_0,{number},{of}" for number in (2, 10) for of in ("a,0.5", "b,0.75", "c,")]
    write(found, "classes", "\n".join(["campaign,round,class,test accuracy", *lines]))
    each = published(found, published={"random": [60.0, 70.0, 80.0]})
    assert rows(each, "class_accuracies")[:3] == [
        ("random", "class a, round 2", 60.0, 50.0),
        ("random", "class b, round 2", 70.0, 75.0),
        ("random", "class c, round 2", 80.0),
    ]
    highest = published(found, published={"random": {2: 80.0}})
    assert rows(highest, "class_accuracies") == [
        ("random", "highest of the classes, round 2", 80.0, 75.0),
        ("random", "highest of the classes, round 10", None, 75.0),
    ]


def test_the_other_network(found):
    found = published(found, published={"badge": [91.0]})
    write(
        found, "transfer", "campaign,metric,own,other model\nbadge_small,test_loss,1,2\nbadge_small,test_acc,0.5,0.75\n"
    )
    assert rows(found, "other_architecture") == [("badge", "the other network", 91.0, 75.0)]
