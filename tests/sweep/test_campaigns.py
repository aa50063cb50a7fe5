import json

import pytest

from lightning_al import Campaign
from lightning_al.sweep.campaigns import CampaignJob, is_finished, rounds_planned
from tests.helpers.curves import write_campaign


def finish(folder, number):
    events = [json.loads(path.read_text()) for path in sorted((folder / "ledger").glob("*.json"))]
    path = folder / "ledger" / f"{len(events):06d}-reported.json"
    path.write_text(json.dumps({**events[0], "kind": "reported", "round": number}))


def job(folder, recipe, *options):
    return CampaignJob("a", ("true",), folder / "log", folder=folder, recipes=(recipe,), options=options)


@pytest.fixture
def recipe(tmp_path):
    (tmp_path / "recipe.yaml").write_text("loop: {rounds: 2}")
    return tmp_path / "recipe.yaml"


def test_it_is_finished_once_its_last_round_is_reported_and_asks_for_nothing(tmp_path):
    assert not is_finished(tmp_path / "none")
    folder = write_campaign(tmp_path / "c", [0.5, 0.6])
    assert not is_finished(folder)
    finish(folder, 0)
    assert not is_finished(folder)
    finish(folder, 1)
    assert is_finished(folder)
    campaign = Campaign.load(folder)
    assert set(campaign.reported) == {0, 1}  # what was written by hand is what the campaign reads
    (folder / "ledger" / "000000-started.json").write_text("{")
    assert not is_finished(folder)


def test_one_whose_last_round_asks_for_more_waits_for_labels(tmp_path, recipe):
    folder = write_campaign(tmp_path / "c", [0.5, 0.6])
    for path in (folder / "ledger").glob("*000003*"):  # the second training
        path.unlink()
    finish(folder, 0)
    assert not job(folder, recipe).end()
    assert not job(folder, recipe).is_done()


def test_it_is_done_by_the_same_recipes_and_options_alone(tmp_path, recipe):
    folder = write_campaign(tmp_path / "c", [0.5])
    finish(folder, 0)
    assert not job(folder, recipe, "--x=1").is_done()  # by whom, nobody knows
    assert job(folder, recipe, "--x=1").end()
    assert job(folder, recipe, "--x=1").is_done()
    assert not job(folder, recipe, "--x=2").is_done()
    others = [job(folder, recipe, *options).is_by_others() for options in (["--x=1"], ["--x=2"], [], ["--x=1", "--y"])]
    assert others == [False, True, True, True]
    assert not job(folder, recipe, "--data.root=/mnt", "--x=1").is_by_others()
    recipe.write_text("# said otherwise\nloop:\n  rounds: 2\n")
    assert job(folder, recipe, "--x=1").is_done()
    recipe.write_text("loop: {rounds: 3}")
    assert not job(folder, recipe, "--x=1").is_done()
    assert job(folder, recipe, "--x=1").is_by_others()
    recipe.write_text("loop: {rounds: 2}")
    for torn in ("", "[", "{}", "3"):
        (folder / "swept.json").write_text(torn)
        assert not job(folder, recipe, "--x=1").is_done()
        assert not job(folder, recipe, "--x=1").is_by_others()  # by whom, nobody knows


def test_its_progress_is_that_of_its_ledger(tmp_path, recipe):
    at_work = job(tmp_path / "c", recipe)
    assert (at_work.progress().done, at_work.progress().total) == (0, None)
    write_campaign(tmp_path / "c", [0.5, 0.6, 0.7], fit=2.0, score=1.0)
    progress = at_work.progress()
    # fit and evaluation; then scores and selection, which the last round has not
    assert list(progress.seconds) == pytest.approx([2.1 + 1.5, 3.1 + 1.5, 4.1])
    assert progress.seconds == at_work.progress().seconds  # each event counts once
    (tmp_path / "c" / "ledger" / "000009-fitted.json").write_text("{")
    assert at_work.progress().done == 3


@pytest.mark.parametrize(
    ("options", "rounds"),
    [
        ({"initial": 20, "query_size": 10, "rounds": 5}, 6),
        ({"initial": 20, "query_size": 10, "rounds": 10, "budget": 50}, 4),
        ({"initial": [1, 2], "query_size": 3, "rounds": None, "budget": 10}, 4),
        ({"initial": 20, "query_size": 10, "rounds": None}, 9),
        ({"initial": 4, "query_size": 0.1, "rounds": 5, "budget": 9}, 6),
        ({"initial": 4, "query_size": 0.1, "rounds": None, "budget": 9}, None),
        ({"initial": 20, "query_size": 1, "rounds": 0}, 1),
        ({"initial": "all", "query_size": 10, "rounds": None}, 1),
        ({}, None),
    ],
)
def test_how_many_rounds_there_will_be(options, rounds):
    assert rounds_planned(options, size=100) == rounds
