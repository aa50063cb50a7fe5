"""What a campaign yields, and what callbacks and loggers see of it."""

import warnings

import pytest
import torch

from lightning_al import AwaitTell, Campaign
from lightning_al.acquisition import SAAL, Entropy, Margin, Random
from tests.helpers.marks import slow
from tests.helpers.projects import Data, Net, make_data, make_trainer, picks
from tests.helpers.recorder import Recorder, run


def test_history_and_pool(tmp_path):
    loop, history, _ = run(tmp_path)
    assert [r.round for r in history] == [0, 1, 2, 3]
    assert [r.labelled for r in history] == [6, 10, 14, 18]
    assert [len(r.picked) for r in history] == [4, 4, 4, 0]
    everything = [i for r in history for i in r.picked]
    assert len(set(everything)) == 12
    assert set(loop.pool.labelled.tolist()) >= set(everything)
    assert loop.status == "finished"
    for r in history[:-1]:
        assert r.scores == sorted(r.scores, reverse=True)  # entropy, top
        assert set(r.seconds) == {"fit", "evaluate", "score", "select"}
        assert r.seconds["fit"] > 0
    assert set(history[0].metrics) == {"val_acc"}
    assert Campaign.load(tmp_path / "c").rounds == history


def test_every_round_trains_from_epoch_0_and_step_0(tmp_path):
    recorder, steps = Recorder(), []

    class Steps(Recorder):
        def on_round_start(self, trainer, pl_module, loop):
            steps.append((loop.round_step, loop.campaign_step))

        def on_round_end(self, trainer, pl_module, loop):
            steps.append((loop.round_step, loop.campaign_step))

    loop, _, _ = run(tmp_path, recorder, Steps())
    assert recorder.epochs == [[0, 1]] * 4
    assert recorder.steps == [4, 6, 8, 10]  # 2 epochs of ceil(labels / 4) batches
    assert steps == [(0, 0), (4, 4), (0, 4), (6, 10), (0, 10), (8, 18), (0, 18), (10, 28)]
    assert (loop.round_step, loop.campaign_step) == (10, 28)
    for before, after in zip(recorder.started, recorder.weights, strict=True):
        assert not torch.equal(before, after)


def test_initial_indices_are_taken_as_given(tmp_path):
    loop, _, _ = run(tmp_path, initial=[5, 50, 7], rounds=0)
    assert loop.pool.labelled.tolist() == [5, 50, 7]


def test_same_seed_same_picks_and_another_seed_others(tmp_path):
    results = [
        picks(run(tmp_path / name, seed=seed, subpool_size=20)[1]) for name, seed in [("a", 1), ("b", 1), ("c", 2)]
    ]
    assert results[0] == results[1] != results[2]


def test_random_runs_no_inference(tmp_path):
    class Silent(Net):
        def forward(self, x):
            assert self.trainer.state.fn != "predict"
            return super().forward(x)

    _, history, _ = run(tmp_path, model=Silent(), trainer=make_trainer(tmp_path, acquisition=Random()))
    assert [len(r.picked) for r in history] == [4, 4, 4, 0]


def test_training_batches_carry_the_told_labels(tmp_path):
    class Liar(AwaitTell):
        annotator = "liar"

        def request(self, indices):
            self.asked = list(indices)

        def poll(self):
            return {i: (int(labels[i]) + 1) % 3 for i in self.asked}

    _, labels = make_data()
    lookup = {tuple(x.tolist()): i for i, x in enumerate(make_data()[0])}
    seen = {}

    class Net2(Net):
        def training_step(self, batch, batch_idx):
            for x, y in zip(*batch, strict=True):
                seen[lookup[tuple(x.tolist())]] = int(y)
            return super().training_step(batch, batch_idx)

    loop, _, _ = run(tmp_path, model=Net2(), oracle=Liar())
    assert set(seen) == set(loop.pool.labelled.tolist())
    assert all(y == (int(labels[i]) + 1) % 3 for i, y in seen.items())


def test_plain_fit_with_an_acquisition_warns(tmp_path):
    trainer = make_trainer(tmp_path)
    with pytest.warns(UserWarning, match="Entropy is among the callbacks, but no loop is bound"):
        trainer.fit(Net(), datamodule=Data())


def test_the_loop_itself_does_not_warn_of_that(tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*no loop is bound.*")
        run(tmp_path)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "acquisition", [Entropy, slow(Margin), slow(SAAL), lambda: SAAL(group_size=3, selection="top")]
)
def test_batch_sizes_pick_the_same(tmp_path, acquisition):
    one, many = (
        run(
            tmp_path / f"{size}", trainer=make_trainer(tmp_path, acquisition=acquisition(), max_epochs=1), rounds=2,
            pool_batch_size=size, subpool_size=31, dirpath=None,
        )[1]
        for size in (7, 64)
    )  # fmt: skip
    assert picks(one) == picks(many)


# -- options as attributes -----------------------------------------------------------------------------------------


def test_options_are_read_from_the_loop_and_may_be_set_between_launches(tmp_path):
    trainer = make_trainer(tmp_path)
    loop, history, _ = run(tmp_path, trainer=trainer, rounds=1)
    assert (loop.query_size, loop.initial, loop.rounds, loop.reset, loop.seed) == (4, 6, 1, "initial", 0)
    loop.rounds, loop.query_size = 2, 5
    assert picks(loop.run(trainer))[0] == picks(history)[0]
    assert [r.labelled for r in loop.history] == [6, 10, 15]


def test_an_option_that_is_set_is_checked_beside_the_others(tmp_path):
    loop, _, _ = run(tmp_path, rounds=0, subpool_size=9)
    with pytest.raises(ValueError, match="`query_size=10` is larger than the sub-pool"):
        loop.query_size = 10
    with pytest.raises(TypeError, match="`rounds` must be an integer of at least 0 or None, got 'all'"):
        loop.rounds = "all"
    assert (loop.query_size, loop.rounds) == (4, 0)
