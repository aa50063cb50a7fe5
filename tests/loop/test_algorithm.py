"""Asking and telling: a campaign whose labels come from outside, in parts, and late."""

import csv
import json

import pytest
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from lightning_al import SKIP, ActiveLearningLoop, AwaitTell, Campaign
from tests.helpers.projects import SIZE, Data, Net, loop_in, make_trainer
from tests.helpers.recorder import Recorder, run


def ask_loop(tmp_path, **options):
    recorder = Recorder()
    trainer = make_trainer(tmp_path, recorder)
    options = {"initial": 6, "query_size": 4, "dirpath": tmp_path / "c", **options}
    return ActiveLearningLoop(Net(), Data(), **options), trainer, recorder


def test_ask_hands_nothing_out_twice_and_fits_only_when_labels_changed(tmp_path):
    loop, trainer, recorder = ask_loop(tmp_path)
    first = loop.ask(trainer)
    second = loop.ask(trainer, k=3)
    assert (len(first), len(second)) == (4, 3)
    assert not set(first) & set(second)
    assert len(recorder.weights) == 1  # nothing was told in between
    loop.tell(first[:1], [0])
    third = loop.ask(trainer)
    assert len(recorder.weights) == 2
    assert not set(third) & {*first, *second}
    assert loop.pool.pending.tolist() == [*first[1:], *second, *third]
    assert [r.picked for r in loop.history] == [first, second, third]


def test_partial_late_and_repeated_tells(tmp_path):
    loop, trainer, _ = ask_loop(tmp_path)
    a = loop.ask(trainer)
    b = loop.ask(trainer)
    loop.tell(b, [0, 1, 2, 0])
    loop.tell(a[:2], [1, 1])  # late, and only a part
    loop.tell(a[:1], [2])  # a correction
    loop.tell(a[2:3], [SKIP])
    unasked = next(i for i in loop.pool.unlabelled.tolist())
    loop.tell([unasked], [1])
    told = Campaign.load(tmp_path / "c")
    assert [told.labels[i] for i in a[:2]] == [2, 1]
    assert told.pool.pending.tolist() == [a[3]]
    assert told.pool.skipped.tolist() == [a[2]]
    assert told.labels[unasked] == 1
    assert set(loop.ask(trainer, k=40)).isdisjoint({*a, *b, unasked})


def test_another_process_goes_on_where_the_ledger_is(tmp_path):
    loop, trainer, _ = ask_loop(tmp_path)
    first = loop.ask(trainer)
    later, _, _ = ask_loop(tmp_path)
    later.tell(first, [0, 1, 2, 0])
    again, trainer, recorder = ask_loop(tmp_path)
    assert set(again.ask(trainer)).isdisjoint(first)
    assert again.history[-1].labelled == 10
    assert len(recorder.weights) == 1


def test_nothing_labelled_yet(tmp_path, caplog):
    loop, trainer, recorder = ask_loop(tmp_path, oracle=AwaitTell())
    with caplog.at_level("INFO"):
        initial = loop.ask(trainer, k=5)
    assert "The initial set is asked for first, 6 by `initial`; k=5 is of later questions." in caplog.text
    assert len(initial) == 6
    with pytest.raises(RuntimeError, match="Nothing is labelled yet"):
        loop.ask(trainer)
    assert recorder.weights == []
    loop.tell(initial, [0, 1, 2, 0, 1, 2])
    assert len(loop.ask(trainer)) == 4


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("indices", "labels", "error", "words"),
    [
        ([1, 2], [0], ValueError, "2 indices and 1 labels"),
        ([SIZE], [0], IndexError, f"between 0 and {SIZE - 1}"),
        ([1, 1], [0, 0], ValueError, "more than once"),
        ([1], [0.5], TypeError, r"cannot be taken. Dataset index 1: .*task="),
        ([1], [[0, 1]], TypeError, r"cannot be taken. Dataset index 1: .*task="),
    ],
)
def test_bad_tells_change_nothing(tmp_path, indices, labels, error, words):
    loop, trainer, _ = ask_loop(tmp_path)
    loop.ask(trainer)
    files = sorted(p.name for p in (tmp_path / "c" / "ledger").iterdir())
    with pytest.raises(error, match=words):
        loop.tell(indices, labels)
    assert sorted(p.name for p in (tmp_path / "c" / "ledger").iterdir()) == files


def test_tell_before_there_is_a_campaign(tmp_path):
    loop, _, _ = ask_loop(tmp_path, dirpath=None)
    with pytest.raises(RuntimeError, match="dirpath='None'"):
        loop.tell([1], [0])


@pytest.mark.parametrize(
    ("k", "error", "words"),
    [(0, ValueError, "at least 1, got 0"), (1.5, TypeError, "an integer of at least 1 or None, got 1.5")],
)
def test_bad_k(tmp_path, k, error, words):
    loop, trainer, _ = ask_loop(tmp_path)
    with pytest.raises(error, match=f"`k` must be {words}"):
        loop.ask(trainer, k=k)


def test_loggers_get_a_row_a_round_with_the_labels_as_step(tmp_path):
    csv_logger = CSVLogger(tmp_path, name="csv")
    board = TensorBoardLogger(tmp_path, name="tb")
    trainer = make_trainer(tmp_path, logger=[csv_logger, board], log_every_n_steps=1)
    loop, history, _ = run(tmp_path, trainer=trainer)
    with open(f"{csv_logger.log_dir}/metrics.csv") as file:
        rows = list(csv.DictReader(file))
    ours = [r for r in rows if r["al/labelled"]]
    assert [int(r["step"]) for r in ours] == [r.labelled for r in history]
    assert [float(r["al/val_acc"]) for r in ours] == pytest.approx([r.metrics["val_acc"] for r in history])
    assert all(float(r["al/fit_seconds"]) > 0 for r in ours)
    steps = [int(r["step"]) for r in rows if r["train_loss"]]
    assert steps == sorted(steps)
    assert len(set(steps)) == len(steps) == loop.campaign_step

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(board.log_dir)
    events.Reload()
    assert [e.step for e in events.Scalars("al/val_acc")] == [r.labelled for r in history]


def test_ask_keeps_to_the_limits(tmp_path):
    loop, trainer = loop_in(tmp_path, budget=10, subpool_size=5, query_size=4), make_trainer(tmp_path)
    for k, what in ((6, "sub-pool"), (3, "budget")):
        with pytest.raises(ValueError, match=rf"`ask\(k={k}\)` is more than the {what} has left"):
            loop.ask(trainer, k=k)
    asked = loop.ask(trainer)
    assert len(asked) == 2
    loop.tell(asked, [0, 1])
    assert loop.ask(trainer) == []
    assert loop.status == "finished"


def test_ask_with_nothing_left(tmp_path):
    loop, trainer = loop_in(tmp_path, data=Data(n=12), rounds=None), make_trainer(tmp_path)
    loop.tell(loop.ask(trainer), [0] * 4)
    fits = len(list((tmp_path / "c" / "ledger").glob("*fitted*")))
    assert loop.ask(trainer) == []
    assert len(list((tmp_path / "c" / "ledger").glob("*fitted*"))) == fits


def test_a_round_that_a_kill_kept_from_the_loggers_is_reported_later(tmp_path):
    from lightning.pytorch.callbacks import Callback
    from lightning.pytorch.loggers import CSVLogger

    class Kill(Callback):
        def on_query_end(self, trainer, pl_module, loop):
            if loop.campaign.next_round == 2:
                raise SystemExit

    def rows(name):
        lines = (tmp_path / name / "version_0" / "metrics.csv").read_text().splitlines()
        column = lines[0].split(",").index("al/round")
        return [float(r.split(",")[column]) for r in lines[1:] if r.split(",")[column]]

    with pytest.raises(SystemExit):
        loop_in(tmp_path).run(make_trainer(tmp_path, Kill(), logger=CSVLogger(tmp_path, "a")))
    loop_in(tmp_path).run(make_trainer(tmp_path, logger=CSVLogger(tmp_path, "b")), resume=True)
    assert rows("a") + rows("b") == [0.0, 1.0, 2.0]
    kinds = [json.loads(f.read_text())["kind"] for f in sorted((tmp_path / "c" / "ledger").glob("*.json"))]
    assert kinds.count("reported") == 3
