"""Going on with a campaign: where it was, further, or without all of its files. For kills: `tests/reliability`."""

from lightning_al import ActiveLearningLoop
from tests.helpers.projects import Data, Net, make_trainer, picks


def again(tmp_path, *, resume=True, **options):
    options = {"initial": 6, "query_size": 4, "rounds": 2, "dirpath": tmp_path / "c", **options}
    loop = ActiveLearningLoop(Net(), Data(), **options)
    return loop.run(make_trainer(tmp_path), resume=resume), loop


def test_resume_with_no_ledger_starts_and_a_finished_one_returns_its_history(tmp_path):
    history, _ = again(tmp_path)
    files = {p: p.stat().st_mtime_ns for p in (tmp_path / "c").rglob("*") if p.is_file()}
    same, loop = again(tmp_path)
    assert same == history
    assert loop.status == "finished"
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "c").rglob("*") if p.is_file()} == files


def test_a_finished_campaign_can_be_given_more_rounds(tmp_path):
    again(tmp_path)
    longer, _ = again(tmp_path, rounds=4)
    assert picks(longer) == picks(again(tmp_path / "x", rounds=4)[0])


def test_running_again_without_resume_goes_on_in_the_same_process(tmp_path):
    history, loop = again(tmp_path)
    assert loop.run(make_trainer(tmp_path)) == history
