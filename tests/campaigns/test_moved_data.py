"""Whole campaigns whose data are reordered, grown or shrunk between starts."""

import random

import pytest
import torch

from lightning_al import ActiveLearningLoop, AwaitTell, Campaign
from tests.helpers.marks import slow
from tests.helpers.moving import MovingData, Rows, X, Y
from tests.helpers.processes import fork
from tests.helpers.projects import Net, make_trainer

ROWS = list(range(60))
SHUFFLED = random.Random(0).sample(ROWS, 60)
INITIAL = [3, 14, 15, 9, 26, 5]


def loop_over(path, data, **options):
    options = {
        "initial": [data.order.index(row) for row in INITIAL if row in data.order],
        "query_size": 4,
        "dirpath": path,
        **options,
    }
    return ActiveLearningLoop(Net(), data, **options)


def rows_of(data, history):
    return [[data.order[i] for i in result.picked] for result in history]


@pytest.mark.parametrize(("reset", "processes"), [("initial", 1), slow("initial", 2), slow("warm", 1)])
def test_a_campaign_goes_on_over_shuffled_data_as_if_they_were_not(tmp_path, reset, processes):
    """Entropy has no ties here, and the order of training batches is that in which labels came."""

    def run(path, data, rounds, devices=processes):
        options = {"strategy": fork(devices)[0], "devices": devices} if devices > 1 else {}
        loop = loop_over(path, data, rounds=rounds, reset=reset)
        return loop.run(make_trainer(tmp_path, **options), resume=True)

    whole = run(tmp_path / "whole", MovingData(ROWS), 3)
    run(tmp_path / "moved", MovingData(ROWS), 1)
    data = MovingData(SHUFFLED)
    moved = run(tmp_path / "moved", data, 3)
    assert rows_of(data, moved) == rows_of(MovingData(ROWS), whole)
    assert [r.metrics for r in moved] == [r.metrics for r in whole]
    ledgers = [Campaign.load(tmp_path / name) for name in ("whole", "moved")]
    assert len(ledgers[0].fits) == len(ledgers[1].fits)  # nothing was fitted again
    back = run(tmp_path / "moved", MovingData(ROWS), 3)  # finished: its history, in today's indices
    assert [r.picked for r in back] == [r.picked for r in whole]


def test_what_was_told_is_trained_on_with_its_own_sample(tmp_path):
    """In a pool without labels that is reordered, and grows and shrinks, at every start."""
    shuffles, told = random.Random(1), {}
    pool, expected = set(range(50)), 0
    for start in range(4):
        rows = sorted(pool)
        data = MovingData(shuffles.sample(rows, len(rows)), own={})
        if start == 0:
            loop = ActiveLearningLoop(
                Net(), data, initial=6, query_size=4, dirpath=tmp_path / "c", oracle=AwaitTell()
            )  # fmt: skip
        else:
            loop = loop_over(tmp_path / "c", data, initial=6, oracle=AwaitTell())
        asked = loop.ask(make_trainer(tmp_path))
        assert not told.keys() & {data.order[i] for i in asked}
        loop.tell(asked, [int(Y[data.order[i]]) for i in asked])
        told |= {data.order[i]: int(Y[data.order[i]]) for i in asked}
        expected += 6 if start == 0 else 4
        assert {data.order[i]: label for i, label in loop.campaign.labels.items()} == told
        assert len(told) == expected
        pairs = [pair for x, y in loop.datamodule.train_dataloader() for pair in zip(x, y, strict=True)]
        assert sorted(int((x == X).all(1).nonzero()) for x, _ in pairs) == sorted(told)
        assert all(told[int((x == X).all(1).nonzero())] == int(y) for x, y in pairs)
        free = sorted(pool - told.keys())
        pool = (pool - set(shuffles.sample(free, 3))) | {50 + start * 7 + i for i in range(5)}


def test_answers_to_an_earlier_question_go_by_its_indices_until_the_data_are_opened(tmp_path):
    first = MovingData(ROWS, own={})
    asked = loop_over(tmp_path / "c", first, oracle=AwaitTell()).ask(make_trainer(tmp_path))
    data = MovingData(SHUFFLED, own={})
    loop = loop_over(tmp_path / "c", data, oracle=AwaitTell())
    loop.tell(asked[:5], [int(Y[i]) for i in asked[:5]])
    loop.ask(make_trainer(tmp_path))
    assert {data.order[i]: y for i, y in loop.campaign.labels.items()} == {r: int(Y[r]) for r in INITIAL[:5]}
    [late] = [i for i in loop.pool.pending.tolist() if data.order[i] == INITIAL[5]]
    loop.tell([late], [int(Y[INITIAL[5]])])  # as today
    assert {data.order[i] for i in loop.campaign.labels} == set(INITIAL)


def test_what_is_gone_is_refused_where_it_is_labelled_and_told_where_not(tmp_path, caplog):
    loop = loop_over(tmp_path / "c", MovingData(ROWS, own={}), oracle=AwaitTell())
    loop.tell(loop.ask(make_trainer(tmp_path)), [int(Y[row]) for row in INITIAL])
    pending = loop.ask(make_trainer(tmp_path))
    without = MovingData([row for row in ROWS if row != pending[0]], own={})
    with caplog.at_level("INFO"):
        loop_over(tmp_path / "c", without, oracle=AwaitTell()).ask(make_trainer(tmp_path))
    assert "has 59 samples (60 when" in caplog.text
    assert f"1 without a label are gone: dataset index {pending[0]} (sha256:" in caplog.text
    less = MovingData([row for row in ROWS if row != INITIAL[0]], own={})
    with pytest.raises(ValueError, match=r"1 of 6 labelled samples .*forget") as refused:
        loop_over(tmp_path / "c", less, oracle=AwaitTell()).ask(make_trainer(tmp_path))
    exec(str(refused.value).split("`")[1], {"Campaign": Campaign})  # the way out that it names
    again = loop_over(tmp_path / "c", less, oracle=AwaitTell())
    again.ask(make_trainer(tmp_path))
    assert {less.order[i] for i in again.campaign.labels} == set(INITIAL[1:])


def test_random_inputs_are_known_by_their_index_with_one_line(tmp_path):
    class Noisy(Rows):
        def __getitem__(self, index):
            x, y = super().__getitem__(index)
            return x + 1e-3 * torch.randn(4), y

    def run(order, rounds):
        return loop_over(tmp_path / "c", MovingData(order, kind=Noisy), rounds=rounds).run(
            make_trainer(tmp_path), resume=True
        )

    with pytest.warns(UserWarning, match=r"inputs of the pool are random .* by their index.*`sample_key\(index\)`"):
        first = run(ROWS, 1)
    assert set(Campaign.load(tmp_path / "c").keys) == set()
    assert run(ROWS, 2)[:1] == first[:1]  # nothing is taken for moved
    with pytest.raises(ValueError, match=r"is of a dataset of 60 samples; this one has 61.*sample_key"):
        run([*ROWS, 70], 2)


def test_processes_that_list_their_samples_in_other_orders_are_refused(tmp_path):
    class Apart(MovingData):
        def setup(self, stage):
            self.order = random.Random(self.trainer.global_rank).sample(ROWS, 60)
            super().setup(stage)

    data = Apart(ROWS)
    loop = ActiveLearningLoop(Net(), data, initial=6, query_size=4, rounds=1, dirpath=tmp_path / "c")
    with pytest.raises(Exception, match=r"processes have other samples at dataset index 0: .*same\s+order"):
        loop.run(make_trainer(tmp_path, strategy=fork(2)[0], devices=2))
    assert not Campaign.exists(tmp_path / "c")
