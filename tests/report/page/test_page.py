import json
import shutil
from statistics import mean, stdev

import numpy as np
import pytest
from scipy import stats

from lightning_al import SKIP
from lightning_al.report import write_html
from tests.helpers.curves import write_campaign
from tests.helpers.ledger import a_campaign, answered, asked, begin, fitted, record
from tests.helpers.pages import page_of

CURVES = {
    "random": [[0.40, 0.50, 0.58], [0.42, 0.49, 0.55], [0.38, 0.52, 0.60], [0.41, 0.47, 0.57], [0.39, 0.51, 0.56]],
    "saal": [[0.40, 0.61, 0.70], [0.42, 0.60, 0.69], [0.38, 0.63, 0.72], [0.41, 0.59, 0.68], [0.39, 0.62, 0.71]],
}


def write_methods(root, **options):
    for method, of_seeds in CURVES.items():
        for seed, values in enumerate(of_seeds):
            write_campaign(root / method / f"seed_{seed}", values, options={"seed": seed, **options})


@pytest.fixture(scope="module")
def two_methods(tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    write_methods(root)
    return page_of(write_html(root)), root


def events_of(folder):
    return [json.loads(path.read_text()) for path in sorted((folder / "ledger").glob("*.json"))]


def test_curves_are_those_of_the_ledgers_with_t_intervals(two_methods):
    page, root = two_methods
    head, *rows = page.tables["curve-table"]
    assert head == ["labels (test_acc)", "random (n=5)", "saal (n=5)"]
    assert [row[0] for row in rows] == ["20", "30", "40"]
    for column, method in enumerate(("random", "saal"), 1):
        found = [[e for e in events_of(path) if e["kind"] == "fitted"] for path in sorted((root / method).iterdir())]
        for place in range(3):
            values = [events[place]["metrics"]["test_acc"] for events in found]
            half = stats.t.ppf(0.975, 4) * stdev(values) / 5**0.5
            ends = (mean(values), mean(values) - half, mean(values) + half)
            assert rows[place][column] == "{:.4f} ({:.4f} to {:.4f})".format(*ends)
    assert any(tip.startswith("30 labels\nrandom (n=5): 0.4980 (") for tip in page.tips)


def test_differences_and_labels_saved_are_those_of_scipy(two_methods):
    page, _ = two_methods
    row = next(row for row in page.tables["by-mean"] if row[0] == "saal")
    values = np.mean(CURVES["saal"], 1) - np.mean(CURVES["random"], 1)
    p = stats.ttest_rel(np.mean(CURVES["saal"], 1), np.mean(CURVES["random"], 1)).pvalue
    assert row[1:3] == ["5", f"{values.mean():+.4f}"]
    assert float(row[4].strip("< ")) == pytest.approx(max(p, 1e-4), rel=0.01, abs=1e-4)
    saved = next(row for row in page.tables["labels-saved"] if row[0] == "saal")
    random_ends, first, then = (mean(c[i] for c in CURVES[m]) for m, i in (("random", 2), ("saal", 0), ("saal", 1)))
    needed = 20 + 10 * (random_ends - first) / (then - first)
    assert saved[2] == f"{needed:.0f}"
    assert saved[3].startswith(f"{40 - needed:.0f} (")


def test_it_says_what_the_result_means(two_methods):
    page, _ = two_methods
    assert "Choosing what to label paid here: saal (+0.0" in page.text
    assert "saal got where random ends (0.5720 with 40 labels) with 28: 30% fewer." in page.text


def test_every_part_is_there_and_linked(two_methods):
    page, _ = two_methods
    links = [value for tag, name, value in page.attributes if (tag, name) == ("a", "href")]
    assert page.sections == ["curves", "methods", "rounds", "picks", "scores", "seconds", "warnings", "settings"]
    assert links == [f"#{name}" for name in page.sections]
    assert all("table below" in about or "by labels of" in about for about in page.charts)
    lang = [value for tag, name, value in page.attributes if (tag, name) == ("html", "lang")]
    assert lang == ["en"]


def test_seconds_and_cost_are_sums_of_the_ledgers(two_methods):
    page, root = two_methods
    events = [e for e in events_of(root / "saal" / "seed_0") if "seconds" in e]
    fit, query = [[e["seconds"] for e in events if e["kind"] == kind] for kind in ("fitted", "asked")]
    row = dict(zip(page.tables["seconds-table"][0], next(r for r in page.tables["seconds-table"] if r[0] == "saal")))
    assert row["fit"] == f"{sorted(s['fit'] for s in fit)[1]:.1f}"
    whole = sum(s["fit"] + s["evaluate"] for s in fit) + sum(s["score"] + s["select"] for s in query)
    assert row["whole campaign"] == f"{whole:.1f}"
    assert row["of which asking"] == f"{sum(s['score'] + s['select'] for s in query) / whole:.0%}"


def test_one_campaign_with_questions_answers_and_skips(tmp_path):
    a_campaign(tmp_path / "x")
    page = page_of(write_html(tmp_path / "x"))
    assert "From 2 to 3 labels, acc went from 0.50 to 0.75 in 2 trainings." in page.text
    assert "One campaign says nothing about its method: Random may do as well" in page.text
    assert "lightning-al sweep -c recipe.yaml --methods yours,random --seeds 0..4 ." in page.text
    assert "`" not in page.text
    assert "It did not get better." not in page.text
    head, *rows = page.tables["rounds-1"]
    assert head[2:] == ["labels before", "acc", "asked for", "answered", "waiting", "skipped", "spent"]
    assert [row[2:] for row in rows] == [
        ["0", "-", "2", "2", "0", "0", "2"],
        ["2", "0.50", "2", "1", "0", "1", "3"],
        ["3", "0.75", "-", "-", "-", "-", "3"],
    ]
    assert [words.startswith(label) for words, label in zip(page.captions, ["0", "2", "skipped", "1"])] == [True] * 4
    assert "score 0.9" in page.captions[2]
    assert page.tables["class-table"][1:] == [["0", "1"], ["1", "1"], ["2", "1"]]


def test_one_campaign_that_does_not_get_better_and_waits_for_people(tmp_path):
    def campaign(name, *values, classes=("a", "b", "c")):
        made = begin(tmp_path / name)
        made.apply(made.write("named", annotations={"kind": "class", "classes": list(classes)}))
        for number, value in enumerate(values):
            asked(made, number - 1, [number])
            answered(made, [number], [0])
            fitted(made, number, value)
        asked(made, len(values) - 1, [9])
        return page_of(write_html(tmp_path / name)).text

    text = campaign("chance", 0.3933, 0.36, 0.3733)
    assert "acc went from 0.3933 to 0.3733 in 3 trainings. It did not get better." in " ".join(text.split())
    assert "1 sample is asked for and not answered yet: the campaign is waiting for people." in text
    # 0.3733 is 0.04 above 1/3, and the trainings are 0.0333 apart; 0.36 is not farther above than they are apart.
    assert "at chance" not in text
    assert "Guessing among 3 classes that are as many gives 0.3333" in campaign("nearer", 0.3933, 0.36, 0.36)
    assert "at chance" not in campaign("higher", 0.35, 0.3933)
    assert "at chance" not in campaign("far", 0.9, 0.8, 0.85)


def test_labels_that_were_there_before_are_said_and_no_question_of_nothing_is_a_row(tmp_path):
    """Two were asked for, of eleven that the last training had."""
    campaign = begin(tmp_path / "x", initial=0)
    campaign.apply(campaign.write("named", annotations={"kind": "class", "classes": ["a", "b", "c"]}))
    asked(campaign, -1, [])
    more = {"digest": campaign.label_digest, "seconds": {}, "steps": {}}
    record(campaign, "fitted", round=0, labelled=9, metrics={"acc": 0.5}, **more)
    asked(campaign, 0, [3, 4])
    answered(campaign, [3, 4], [1, 1])
    record(campaign, "fitted", round=1, labelled=11, metrics={"acc": 0.6}, **more)
    page = page_of(write_html(tmp_path / "x"))
    assert [row[0] for row in page.tables["rounds-1"]] == ["question", "round 0", "round 1"]
    assert "Classes with a label, of 3: x: 1." in page.text
    assert page.tables["seen-table"] == [["labelled samples", "x, seed 0"], ["0", "0"], ["2", "1"]]
    assert "Not counted: the 9 that were there before, of the training set beside the pool." in page.text
    assert "2 of 10 samples of the pool are labelled (20.0%), beside 9 that were labelled before." in page.text
    a_campaign(tmp_path / "y")
    assert "Not counted" not in page_of(write_html(tmp_path / "y")).text


def test_methods_of_different_seeds_are_put_in_order_over_those_that_all_have(tmp_path):
    """One seed more made saal's own mean the lowest: 0.55 beside 0.6 and 0.5875."""
    for method, of_seeds in {"saal": [[0.5, 0.8], [0.3, 0.6]], "project": [[0.5, 0.7]]}.items():
        for seed, values in enumerate(of_seeds):
            write_campaign(tmp_path / method / f"seed_{seed}", values, options={"seed": seed})
    for seed, values in enumerate([[0.5, 0.675], [0.5, 0.675]]):
        write_campaign(tmp_path / "random" / f"seed_{seed}", values, options={"seed": seed})
    page = page_of(write_html(tmp_path))
    order = (
        "Mean test_acc over the curve, over the 1 of 2 seeds that all have, best first: saal 0.6500, project 0.6000, "
    )
    assert f"{order}random 0.5875." in page.text
    differ = "Means are over each method's own repeats, and these differ (project lacks seed 1): compare over those"
    assert differ in page.text
    assert page.tables["curve-table"][0] == ["labels (test_acc)", "project (n=1)", "random (n=2)", "saal (n=2)"]
    [head, *rows] = page.tables["pairs"]
    cells = {row[0][2:]: dict(zip([name[2:] for name in (r[0] for r in rows)], row[1:])) for row in rows}
    assert cells["saal"] == {"saal": "-", "project": "100% of 1+0.0500", "random": "50% of 2-0.0375"}
    # Of two repeats and one there is no band, and the interval is in the table.
    assert "band s" not in (tmp_path / "report.html").read_text()
    assert "Fewer than 3 repeats have no band" in page.text
    assert page.tables["curve-table"][1][3].startswith("0.400 (-0.871 to 1.671)")


def test_only_scored_picks_are_said_to_be_from_the_best_to_the_last(tmp_path):
    campaign = begin(tmp_path / "x", size=100)
    asked(campaign, -1, list(range(20)))
    asked(campaign, 0, list(range(20, 40)), [1 - 0.01 * i for i in range(20)])
    asked(campaign, 1, list(range(40, 60)), [0.5 + 0.01 * (i % 7) for i in range(20)])  # picks that differ
    page = page_of(write_html(tmp_path / "x"))
    assert "Initial set: 20 asked for, 16 of them below" in page.text
    assert "Round 0 with 0 labels: 20 asked for, 16 of them below, from the best to the last" in page.text
    assert page.text.count("from the best to the last") == 1


def test_what_comes_from_the_data_is_no_html(tmp_path):
    evil = "<script>alert('x')</script>\"&\u202e\x00\x1a0\x1a"
    campaign = begin(tmp_path / "<b>m" / "seed_0", note=evil, acquisition={"class": evil})
    campaign.apply(campaign.write("named", annotations={"kind": "class", "classes": [evil, "b", "c"]}))
    record(campaign, "asked", round=-1, indices=[1, 2], keys=[evil, "</figure>\udcff"], scores=[], seconds={})
    record(campaign, "answered", indices=[1], keys=[evil], labels=[0], annotator=evil)
    record(campaign, "said", indices=[1], keys=[evil], labels=[1], annotator="<i>")
    fitted(campaign, 0, 0.5)
    (tmp_path / "<b>m" / "seed_0" / "config.yaml").write_text("a: </pre><script>\n")
    (tmp_path / "<b>m" / "seed_0.log").write_text("x.py:1: UserWarning: </div><script>now</script>\n")
    path = write_html(tmp_path, tmp_path / "out.html")
    page = page_of(path)
    assert page.scripts == 1
    assert "<script>alert" not in path.read_text()
    assert "<script>alert('x')</script>" in page.text  # shown as it is
    assert "</div><script>now</script>" in page.text
    assert "\x00" not in path.read_text()


def test_people_who_disagree_are_shown_with_what_each_said(tmp_path):
    campaign = begin(tmp_path / "x")
    asked(campaign, -1, [3, 1, 4])
    record(campaign, "answered", indices=[3, 1, 4], keys=["k3", "k1", "k4"], labels=[0, 2, 1], annotator="anna")
    record(campaign, "said", indices=[3, 1], keys=["k3", "k1"], labels=[1, 2], annotator="ben")
    page = page_of(write_html(tmp_path / "x"))
    who = page.tables[next(name for name in page.tables if page.tables[name][0][0] == "annotator")]
    assert who[1:] == [["anna", "3", "0", "1", "1"], ["ben", "2", "0", "0", "1"]]
    assert page.tables["agreement-1"][1:] == [["anna and ben", "2", "1", "50%"]]
    assert "1 sample that people disagree on" in page.text
    assert "anna: 0" in page.captions[-1]
    assert "ben: 1" in page.captions[-1]


def test_a_campaign_under_way_says_what_waits(tmp_path):
    campaign = begin(tmp_path / "x", rounds=3)
    asked(campaign, -1, [3, 1])
    page = page_of(write_html(tmp_path / "x"))
    assert "2 samples are asked for and not answered yet" in page.text
    assert "No round is finished yet" in page.text
    assert "2 samples wait for an answer" in page.text
    answered(campaign, [3], [0])
    assert "1 sample is asked for" in page_of(write_html(tmp_path / "x")).text


def test_what_cannot_be_read_is_named_and_left_out(tmp_path):
    a_campaign(tmp_path / "good" / "seed_0")
    shutil.copytree(tmp_path / "good" / "seed_0", tmp_path / "bad" / "seed_0")
    next((tmp_path / "bad" / "seed_0" / "ledger").glob("000002*")).write_text('{"schema": 1, "ki')
    page = page_of(write_html(tmp_path))
    assert "1 campaign" in page.text
    assert "bad/seed_0 is left out: The ledger file" in page.text
    with pytest.raises(ValueError, match="No campaign can be read"):
        write_html(tmp_path / "bad")


def test_wrong_uses_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(FileNotFoundError, match="No campaign at or below"):
        write_html(tmp_path)
    with pytest.raises(ValueError, match="at least one folder"):
        write_html([])
    a_campaign(tmp_path / "x")
    with pytest.raises(ValueError, match="No metric 'f1' that all campaigns have; there are: acc"):
        write_html(tmp_path / "x", metric="f1")
    with pytest.raises(ValueError, match="No method is called 'y'"):
        write_html(tmp_path / "x", baseline="y")
    (tmp_path / "mine.html").write_text("<p>mine</p>")
    with pytest.raises(FileExistsError, match="is no report"):
        write_html(tmp_path / "x", tmp_path / "mine.html")
    with pytest.raises(IsADirectoryError, match="name a file"):
        write_html(tmp_path / "x", tmp_path)
    assert (tmp_path / "mine.html").read_text() == "<p>mine</p>"
    assert write_html(tmp_path / "x") == write_html(tmp_path / "x") == tmp_path / "x" / "report.html"


def test_several_folders_are_methods_beside_each_other(tmp_path, monkeypatch):
    write_methods(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    path = write_html(["runs/saal/seed_1", "runs/random/seed_1"])
    assert path.resolve() == tmp_path / "runs" / "report.html"
    page = page_of(path)
    assert page.tables["curve-table"][0] == ["labels (test_acc)", "saal", "random"]
    assert "Nothing can be concluded yet: with 1 seed in common" in page.text


def test_many_rounds_and_many_methods_are_thinned_and_it_is_said(tmp_path):
    for number in range(7):
        write_campaign(tmp_path / f"m{number}" / "seed_0", [0.5 + 0.01 * number] * 14, options={"seed": 0})
    page = page_of(write_html(tmp_path))
    assert "Shown are 6 of 7 methods" in page.text
    assert "10 of 13 questions, evenly spread." in page.text
    assert "asked for, 8 of them below" in page.text
    assert len(page.captions) == 6 * 10 * 8
    assert len(page.tables["curve-table"]) == 8  # methods are rows


def test_a_campaign_that_has_just_begun_does_not_cut_the_curves_of_all(tmp_path):
    write_methods(tmp_path, rounds=2)
    write_campaign(tmp_path / "late" / "seed_0", [0.4], options={"seed": 0, "rounds": 2})
    page = page_of(write_html(tmp_path))
    assert len(page.tables["curve-table"]) == 4
    assert "under way and far behind: late, seed 0 (1 of 3)." in page.text
    assert "1 of 3 trainings are done" in page.text


def test_a_baseline_that_was_named_is_compared_with_however_late_it_is(tmp_path):
    write_methods(tmp_path, rounds=2)
    write_campaign(tmp_path / "late" / "seed_0", [0.4], options={"seed": 0, "rounds": 2})
    page = page_of(write_html(tmp_path, baseline="late"))
    assert "far behind" not in page.text
    assert "Difference to late" in page.text


def test_one_method_beside_training_on_all_labels_is_one_method(tmp_path):
    for seed in (0, 1):
        write_campaign(tmp_path / "saal" / f"seed_{seed}", [0.4, 0.5], options={"seed": seed})
    write_campaign(tmp_path / "full_data" / "seed_0", [0.9], initial=900, options={"seed": 0})
    page = page_of(write_html(tmp_path))
    assert "From 20 to 30 labels, test_acc went from 0.4 to 0.5, the mean of 2 campaigns." in page.text
    assert "no two methods" not in page.text
    assert "one of each method that is shown: that with the most rounds" in page.text


def test_campaigns_without_metrics_and_repeats_that_do_not_meet(tmp_path):
    folder = tmp_path / "bare" / "seed_0"
    campaign = begin(folder)
    asked(campaign, -1, [3])
    record(campaign, "answered", indices=[3], keys=["k3"], labels=[0.25], annotator="x")
    campaign.apply(
        campaign.write("fitted", round=0, labelled=1, digest=campaign.label_digest, metrics={}, seconds={}, steps={})
    )
    page = page_of(write_html(tmp_path / "bare"))
    assert "The campaign records no metrics." in page.text
    assert page.tables["value-table"][1][1:] == ["1", *["0.25"] * 5]
    write_campaign(tmp_path / "apart" / "seed_0", [0.5, 0.6], options={"seed": 0})
    write_campaign(tmp_path / "apart" / "seed_1", [0.5, 0.6], initial=25, options={"seed": 1})
    page = page_of(write_html(tmp_path / "apart"))
    assert "have no label count in common, so there is no mean" in page.text
    assert page.tables["curve-table"][0][1:] == ["apart, 1", "apart, 2"]


def test_campaigns_of_different_projects_are_shown_without_curves(tmp_path):
    write_campaign(tmp_path / "a" / "seed_0", [0.5, 0.6], options={"seed": 0})
    write_campaign(tmp_path / "b" / "seed_0", [0.5, 0.6], metric="val_iou", options={"seed": 0})
    page = page_of(write_html(tmp_path))
    assert "record no metric in common: give folders of one project" in page.text
    assert "2 campaigns of 2 methods, without a metric that all have: nothing is compared." in page.text
    assert "rounds-2" in page.tables


def test_a_metric_that_only_some_rounds_have_is_no_curve(tmp_path):
    campaign = a_campaign(tmp_path / "x")
    record(
        campaign, "fitted", round=2, labelled=4, digest=campaign.label_digest, metrics={"acc": 0.8, "f1": 0.7},
        seconds={}, steps={},
    )  # fmt: skip
    page = page_of(write_html(tmp_path / "x"))
    assert [row[0] for row in page.tables["curve-table"]] == ["labels (acc)", "2", "3", "4"]
    assert "curve-table-1" not in page.tables


def test_several_campaigns_of_people_have_a_table_each(tmp_path):
    for name in ("x", "y"):
        campaign = begin(tmp_path / name)
        asked(campaign, -1, [3, 1])
        record(campaign, "answered", indices=[3, 1], keys=["k3", "k1"], labels=[0, 2], annotator="anna")
        record(campaign, "said", indices=[3], keys=["k3"], labels=[1], annotator="ben")
    page = page_of(write_html(tmp_path))
    assert page.tables["agreement-1"] == page.tables["agreement-2"]


def test_what_one_person_said_of_a_skip_is_in_words():
    from lightning_al.report.page.picks import said_in_words

    assert said_in_words(SKIP) == "skipped"
