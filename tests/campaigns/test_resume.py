"""Going on with a campaign: where it was, further, or without all of its files. For kills: `tests/reliability`."""

import pytest

from lightning_al import ActiveLearningLoop, AwaitTell
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


@pytest.mark.parametrize("reset", ["initial", "warm"])
def test_lost_weights(tmp_path, reset):
    again(tmp_path, reset=reset)
    [weights] = (tmp_path / "c").rglob("weights_*.ckpt")  # only the last round's are kept
    weights.unlink()
    if reset == "warm":
        with pytest.raises(FileNotFoundError, match=r"weights_\w+.ckpt is missing, and `reset='warm'`"):
            again(tmp_path, reset=reset, rounds=3)
    else:
        longer, _ = again(tmp_path, reset=reset, rounds=3)  # fitted again from the initial weights
        assert picks(longer) == picks(again(tmp_path / "x", reset=reset, rounds=3)[0])
    (tmp_path / "c" / "initial.ckpt").unlink()
    with pytest.raises(FileNotFoundError, match=r"initial.ckpt is missing"):
        again(tmp_path, reset=reset)


def test_an_initial_set_that_a_kill_kept_from_being_asked_is_handed_out(tmp_path):
    def loop_in(name):
        options = {"initial": 6, "query_size": 4, "dirpath": tmp_path / name, "oracle": AwaitTell()}
        return ActiveLearningLoop(Net(), Data(), **options)

    expected = loop_in("whole").ask(make_trainer(tmp_path))
    loop_in("killed").ask(make_trainer(tmp_path))
    (tmp_path / "killed" / "ledger" / "000001-asked.json").unlink()
    loop = loop_in("killed")
    assert loop.ask(make_trainer(tmp_path)) == expected
    with pytest.raises(RuntimeError, match=r"Nothing is labelled yet.*`loop\.pool\.pending`"):
        loop.ask(make_trainer(tmp_path))
