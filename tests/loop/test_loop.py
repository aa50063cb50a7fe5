import csv
import warnings

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from lightning_al import SKIP, ActiveLearningLoop, AwaitTell, Campaign
from lightning_al.acquisition import SAAL, Entropy, Margin, Random
from tests.helpers.projects import SIZE, Data, Net, make_data, make_trainer, picks


def run(tmp_path, *callbacks, model=None, data=None, trainer=None, **options):
    options = {"initial": 6, "query_size": 4, "rounds": 3, "dirpath": tmp_path / "c", **options}
    trainer = trainer or make_trainer(tmp_path, *callbacks)
    loop = ActiveLearningLoop(model or Net(), data or Data(), **options)
    return loop, loop.run(trainer), trainer


class Recorder(L.Callback):
    """Knows of the rounds, so it keeps its state."""

    def __init__(self):
        self.events, self.weights, self.epochs, self.steps, self.started = [], [], [], [], []

    def on_round_start(self, trainer, pl_module, loop):
        self.events.append("round_start")

    def on_query_start(self, trainer, pl_module, loop):
        self.events.append("query_start")

    def on_query_end(self, trainer, pl_module, loop):
        self.events.append("query_end")

    def on_round_end(self, trainer, pl_module, loop):
        self.events.append("round_end")

    def on_train_start(self, trainer, pl_module):
        self.started.append(pl_module.net[0].weight.detach().clone())
        self.epochs.append([])

    def on_train_epoch_start(self, trainer, pl_module):
        self.epochs[-1].append(trainer.current_epoch)

    def on_train_end(self, trainer, pl_module):
        self.events.append("fit")
        self.weights.append(pl_module.net[0].weight.detach().clone())
        self.steps.append(trainer.global_step)


# -- what a campaign yields ---------------------------------------------------------------------------------------


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


def test_every_round_trains_from_epoch_0_and_steps_never_go_back(tmp_path):
    recorder = Recorder()
    run(tmp_path, recorder)
    assert recorder.epochs == [[0, 1]] * 4
    assert recorder.steps == [4, 10, 18, 28]  # 2 epochs of ceil(labels / 4) batches, added up
    for before, after in zip(recorder.started, recorder.weights, strict=True):
        assert not torch.equal(before, after)


def test_hooks_reach_every_callback_in_order(tmp_path):
    recorder = Recorder()
    run(tmp_path, recorder, rounds=1)
    query = ["query_start", "query_end"]
    assert recorder.events == ["round_start", "fit", *query, "round_end", "round_start", "fit", "round_end"]


@pytest.mark.parametrize(
    ("options", "labelled"),
    [
        ({"rounds": 0}, [6]),
        ({"rounds": None, "budget": 13}, [6, 10, 13]),  # the last query is cut to the budget
        ({"rounds": 1, "budget": 13}, [6, 10]),
        ({"rounds": 5, "budget": 10}, [6, 10]),
        ({"rounds": None, "query_size": 20}, [6, 26, 46, 60]),  # until the pool is empty
        ({"rounds": 9, "query_size": 30}, [6, 36, 60]),
    ],
)
def test_when_it_ends(tmp_path, options, labelled):
    _, history, _ = run(tmp_path, trainer=make_trainer(tmp_path, max_epochs=1), **options)
    assert [r.labelled for r in history] == labelled
    assert history[-1].picked == []


def test_subpool_is_clamped_to_what_is_left(tmp_path):
    _, history, _ = run(tmp_path, rounds=None, query_size=20, subpool_size=25)
    assert [r.labelled for r in history] == [6, 26, 46, 60]


def test_initial_indices_are_taken_as_given(tmp_path):
    loop, _, _ = run(tmp_path, initial=[5, 50, 7], rounds=0)
    assert loop.pool.labelled.tolist() == [5, 50, 7]


def test_same_seed_same_picks_and_another_seed_others(tmp_path):
    results = [
        picks(run(tmp_path / name, seed=seed, subpool_size=20)[1]) for name, seed in [("a", 1), ("b", 1), ("c", 2)]
    ]
    assert results[0] == results[1] != results[2]


def test_default_folder_is_new_each_time(tmp_path):
    first, _, _ = run(tmp_path, rounds=0, dirpath=None)
    second, _, _ = run(tmp_path, rounds=0, dirpath=None)
    assert first.dirpath == tmp_path / "al" / "version_0"
    assert second.dirpath == tmp_path / "al" / "version_1"


def test_random_runs_no_inference(tmp_path):
    class Silent(Net):
        def forward(self, x):
            assert self.trainer.state.fn != "predict"
            return super().forward(x)

    _, history, _ = run(tmp_path, model=Silent(), trainer=make_trainer(tmp_path, acquisition=Random()))
    assert [len(r.picked) for r in history] == [4, 4, 4, 0]


# -- what rounds start from ----------------------------------------------------------------------------------------


def test_reset_initial_starts_every_round_from_the_same_weights(tmp_path):
    recorder = Recorder()
    run(tmp_path, recorder)
    assert all(torch.equal(recorder.started[0], w) for w in recorder.started)


def test_reset_warm_keeps_the_weights_and_makes_a_fresh_optimizer(tmp_path):
    momentum = []

    class Net2(Net):
        def on_train_start(self):
            momentum.append(len(self.optimizers().state))

    recorder = Recorder()
    run(tmp_path, recorder, model=Net2(), reset="warm")
    assert all(torch.equal(a, b) for a, b in zip(recorder.weights, recorder.started[1:], strict=False))
    assert momentum == [0, 0, 0, 0]


def test_reset_continue_keeps_momentum_but_starts_the_schedule_afresh(tmp_path):
    seen = []

    class Net2(Net):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.1)]

        def on_train_start(self):
            optimizer = self.optimizers()
            buffers = [s["momentum_buffer"].clone() for s in optimizer.state.values()]
            seen.append((buffers, optimizer.param_groups[0]["lr"]))

        def on_train_end(self):
            self.last = [s["momentum_buffer"].clone() for s in self.optimizers().state.values()]
            assert self.optimizers().param_groups[0]["lr"] < 0.01

    ends = []

    class Ends(Recorder):
        def on_train_end(self, trainer, pl_module):
            super().on_train_end(trainer, pl_module)
            ends.append([s["momentum_buffer"].clone() for s in pl_module.optimizers().state.values()])

    recorder = Ends()
    run(tmp_path, recorder, model=Net2(), reset="continue")
    assert all(torch.equal(a, b) for a, b in zip(recorder.weights, recorder.started[1:], strict=False))
    assert seen[0][0] == []
    for end, (start, lr) in zip(ends, seen[1:], strict=False):
        assert lr == 0.05
        assert len(start) == len(end) > 0
        assert all(torch.equal(a, b) for a, b in zip(end, start, strict=True))


def test_reset_fresh_draws_new_weights_that_follow_from_the_seed(tmp_path):
    one, two = Recorder(), Recorder()
    run(tmp_path / "a", one, reset="fresh")
    run(tmp_path / "b", two, reset="fresh")
    assert len({w.sum().item() for w in one.started}) == 4
    assert all(torch.equal(a, b) for a, b in zip(one.started, two.started, strict=True))


def test_reset_fresh_names_what_it_cannot_draw(tmp_path):
    class Net2(Net):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones((), dtype=torch.double))

        def forward(self, x):
            return self.scale * super().forward(x)

    with pytest.raises(ValueError, match=r"cannot re-draw scale.*reset_parameters"):
        run(tmp_path, model=Net2(), reset="fresh")
    assert not (tmp_path / "c").exists()  # nothing was trained or written


def test_reset_by_a_function(tmp_path):
    def halve(model):
        with torch.no_grad():
            model.net[0].weight.mul_(0.5)

    recorder = Recorder()
    run(tmp_path, recorder, reset=halve)
    assert all(torch.equal(0.5 * a, b) for a, b in zip(recorder.weights, recorder.started[1:], strict=False))


def test_weights_best_are_scored_and_reported(tmp_path):
    class Net2(Net):
        """Gets worse after its first epoch."""

        def on_validation_epoch_end(self):
            if self.trainer.state.fn == "fit":
                self.log("monitored", -float(self.trainer.current_epoch))

        def on_train_epoch_end(self):
            self.ends = [*getattr(self, "ends", []), self.net[0].weight.detach().clone()]

    checkpoint = ModelCheckpoint(monitor="monitored", mode="max")
    trainer = make_trainer(tmp_path, checkpoint, max_epochs=3, enable_checkpointing=True, num_sanity_val_steps=0)
    model = Net2()
    run(tmp_path, model=model, trainer=trainer, rounds=1, weights="best")
    assert torch.equal(model.net[0].weight, model.ends[3])  # the first epoch of the second round
    assert not torch.equal(model.net[0].weight, model.ends[-1])


# -- one Trainer, many fits ----------------------------------------------------------------------------------------


def test_callbacks_start_afresh_and_stay_the_same_objects(tmp_path):
    class Once(L.Callback):
        """Does something in the first epoch of its life only; knows nothing of rounds."""

        def __init__(self):
            self.done = False

        def on_train_epoch_start(self, trainer, pl_module):
            if not self.done:
                fired.append(trainer.current_epoch)
            self.done = True

    fired = []
    once = Once()
    stopping = EarlyStopping("val_acc", mode="max", patience=1, min_delta=2.0)
    recorder = Recorder()
    trainer = make_trainer(tmp_path, once, stopping, recorder, max_epochs=9)
    run(tmp_path, trainer=trainer)
    assert fired == [0, 0, 0, 0]
    assert recorder.epochs == [[0, 1]] * 4  # patience is counted anew: stopped after two epochs each time
    assert once in trainer.callbacks
    assert stopping in trainer.callbacks


def test_a_callback_that_points_at_the_model_still_does(tmp_path):
    class Points(L.Callback):
        def __init__(self, model):
            self.target = model

        def on_train_start(self, trainer, pl_module):
            same.append(self.target is pl_module)

    same = []
    model = Net()
    run(tmp_path, Points(model), model=model)
    assert same == [True] * 4


def test_a_callback_that_cannot_be_copied_warns(tmp_path):
    import threading

    class Locked(L.Callback):
        def __init__(self):
            self.lock = threading.Lock()

    with pytest.warns(UserWarning, match="Locked cannot be copied"):
        run(tmp_path, Locked(), rounds=0)


def test_a_best_checkpoint_exists_each_round(tmp_path):
    checkpoint = ModelCheckpoint(monitor="val_acc", mode="max", filename="best")
    own = ModelCheckpoint(dirpath=tmp_path / "mine", filename="last")
    trainer = make_trainer(tmp_path, checkpoint, own, enable_checkpointing=True)
    run(tmp_path, trainer=trainer)
    for number in range(4):
        assert (tmp_path / "c" / f"round_{number}" / "checkpoints" / "best.ckpt").is_file()
        assert (tmp_path / "mine" / f"round_{number}" / "last.ckpt").is_file()


def test_max_steps_counts_per_round_and_schedules_see_it(tmp_path):
    seen = []

    class Net2(Net):
        def configure_optimizers(self):
            seen.append(self.trainer.estimated_stepping_batches)
            return super().configure_optimizers()

    recorder = Recorder()
    trainer = make_trainer(tmp_path, recorder, max_epochs=-1, max_steps=5)
    run(tmp_path, model=Net2(), trainer=trainer)
    assert recorder.steps == [5, 10, 15, 20]
    assert seen == [5, 5, 5, 5]
    assert trainer.max_steps == 5


def test_one_cycle_ends_where_it_should_every_round(tmp_path):
    ends = []

    class Net2(Net):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            total = self.trainer.estimated_stepping_batches
            schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=0.1, total_steps=total + 1)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

        def on_train_end(self):
            ends.append(self.optimizers().param_groups[0]["lr"])

    run(tmp_path, model=Net2())
    assert all(lr < 1e-6 for lr in ends)
    assert len(ends) == 4


def test_loggers_get_a_row_a_round_with_the_labels_as_step(tmp_path):
    csv_logger = CSVLogger(tmp_path, name="csv")
    board = TensorBoardLogger(tmp_path, name="tb")
    trainer = make_trainer(tmp_path, logger=[csv_logger, board], log_every_n_steps=1)
    _, history, _ = run(tmp_path, trainer=trainer)
    with open(f"{csv_logger.log_dir}/metrics.csv") as file:
        rows = list(csv.DictReader(file))
    ours = [r for r in rows if r["al/labelled"]]
    assert [int(r["step"]) for r in ours] == [r.labelled for r in history]
    assert [float(r["al/val_acc"]) for r in ours] == pytest.approx([r.metrics["val_acc"] for r in history])
    assert all(float(r["al/fit_seconds"]) > 0 for r in ours)
    steps = [int(r["step"]) for r in rows if r["train_loss"]]
    assert steps == sorted(steps)
    assert len(set(steps)) == len(steps) == trainer.global_step

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(board.log_dir)
    events.Reload()
    assert [e.step for e in events.Scalars("al/val_acc")] == [r.labelled for r in history]


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


def test_nothing_trained_is_an_error(tmp_path):
    class Net2(Net):
        def __init__(self):
            super().__init__()
            self.automatic_optimization = False  # and nobody steps

    with pytest.raises(RuntimeError, match="Round 0 trained 0 optimizer steps on 6 labelled"):
        run(tmp_path, model=Net2())


def test_plain_fit_with_an_acquisition_warns(tmp_path):
    trainer = make_trainer(tmp_path)
    with pytest.warns(UserWarning, match="Entropy is among the callbacks, but no loop is bound"):
        trainer.fit(Net(), datamodule=Data())


def test_the_loop_itself_does_not_warn_of_that(tmp_path):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*no loop is bound.*")
        run(tmp_path)


def test_batch_sizes_pick_the_same(tmp_path):
    for acquisition in (Entropy, Margin, SAAL, lambda: SAAL(group_size=3, selection="top")):
        results = [
            run(
                tmp_path / f"{size}", trainer=make_trainer(tmp_path, acquisition=acquisition()), rounds=2,
                pool_batch_size=size, subpool_size=31, dirpath=None,
            )[1]
            for size in (1, 7, 64)
        ]  # fmt: skip
        assert picks(results[0]) == picks(results[1]) == picks(results[2])


# -- ask and tell --------------------------------------------------------------------------------------------------


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


def test_nothing_labelled_yet(tmp_path):
    loop, trainer, recorder = ask_loop(tmp_path, oracle=AwaitTell())
    initial = loop.ask(trainer)
    assert len(initial) == 6
    with pytest.raises(RuntimeError, match="Nothing is labelled yet"):
        loop.ask(trainer)
    assert recorder.weights == []
    loop.tell(initial, [0, 1, 2, 0, 1, 2])
    assert len(loop.ask(trainer)) == 4


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
