"""Committees in whole campaigns: members, snapshots, kills. Picks from given members: ``test_contract.py``."""

import contextlib
import math
from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from lightning_al import ActiveLearningLoop, Campaign
from lightning_al.acquisition import Entropy, QueryByCommittee
from lightning_al.acquisition.committee import _moved
from lightning_al.fitting import RepeatedFit
from lightning_al.inference.calling import tensors_of
from lightning_al.inference.outputs import plain_outputs
from lightning_al.training import AutoSAMMixin, SAMMixin
from tests.campaigns.test_processes import Frozen, fork
from tests.helpers import reference
from tests.helpers.projects import Data, Net, make_data, make_trainer, picks

NORM = partial(Net, batch_norm=True, dropout=0.2)


def run(folder, acquisition, *callbacks, model=None, resume=False, loop=None, **trainer):
    options = {"initial": 8, "query_size": 3, "rounds": 2, "dirpath": folder / "c", **(loop or {})}
    made = ActiveLearningLoop(model or NORM(), Data(), **options)
    made.run(make_trainer(folder, *callbacks, acquisition=acquisition, **{"max_epochs": 3, **trainer}), resume=resume)
    return made


class Kept(QueryByCommittee):
    """Remembers what it voted with, and can be killed."""

    kill_after = None

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._fits, self._voted, self._scored = 0, [], []

    def learn(self, query):
        def counted(*args):
            self._fits += 1
            made = query.refit(*args)
            if self._fits == self.kill_after:
                raise KeyboardInterrupt
            return made

        super().learn(type(query)(**{**vars(query), "refit": counted}))
        own = tensors_of(query.model)
        self._voted.append([own if state is None else dict(state) for state in self._states])
        self._scored.append(query.candidates.tolist())


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


def brute_force(members, indices, score):
    """One member and one sample at a time."""
    nets = []
    for state in members:
        nets.append(NORM().eval())
        nets[-1].load_state_dict(state)
    with torch.no_grad():
        return [
            reference.committee(score, [net(make_data()[0][i : i + 1])[0].tolist() for net in nets]) for i in indices
        ]


SOURCES = ("fits", "snapshots")


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("score", ["vote_entropy", "kl"])
def test_picks_where_its_members_disagree(tmp_path, source, score):
    acquisition = Kept(4, source=source, score=score)
    loop = run(tmp_path, acquisition)
    assert len(acquisition._voted) == 2
    for result, members, candidates in zip(loop.history, acquisition._voted, acquisition._scored, strict=False):
        scores = brute_force(members, candidates, score)
        best = sorted(range(len(scores)), key=lambda i: (-round(scores[i], 12), i))[:3]
        assert result.picked == [candidates[i] for i in best]
        assert result.scores == pytest.approx([scores[i] for i in best])
        assert not any(same(a, b) for i, a in enumerate(members) for b in members[:i])
        means = {tuple(m["net.1.running_mean"].tolist()) for m in members}
        assert len(means) == 4


@pytest.mark.parametrize("source", SOURCES)
def test_the_model_is_the_round_s_own_fit(tmp_path, source):
    acquisition = Kept(3, source=source)
    loop = run(tmp_path, acquisition, loop={"rounds": 1, "initial": 57})
    [members] = acquisition._voted
    assert len(loop.pool.unlabelled) == 0
    last = torch.load(next((tmp_path / "c").rglob("weights_*.ckpt")), weights_only=True)  # of the round after
    assert last["state_dict"].keys() == members[0].keys()
    plain = run(tmp_path / "plain", Entropy(), loop={"rounds": 0, "initial": 57})
    own = tensors_of(plain.model)
    assert same(members[0], own) == (source == "fits")


@pytest.mark.parametrize("source", SOURCES)
def test_nothing_is_kept_that_is_not_needed(tmp_path, source):
    class Looks(L.Callback):
        found: list = []

        def on_query_end(self, trainer, pl_module, loop):
            self.found.append(sorted(p.name.rsplit("_", 1)[0] for p in loop.dirpath.glob("round_*/*")))

    looks = Looks()
    acquisition = Kept(3, source=source)
    run(tmp_path, acquisition, looks)
    names = ["member_1", "member_2"] if source == "fits" else [f"snapshot_{i}_of_3" for i in range(3)]
    assert looks.found[-2:] == [[*names, "weights"]] * 2
    assert acquisition._states == [None]  # room for the next fit
    left = [p.name for p in (tmp_path / "c").rglob("*.ckpt")]
    # The last round's snapshots are of its weights, and go when those do.
    assert sum(name.startswith("snapshot") for name in left) == (3 if source == "snapshots" else 0)
    assert sum(name.startswith("member") for name in left) == 0


# ---------------------------------------------------------------------------------------------------------------- kills


def killed_and_resumed(tmp_path, make, kill, **options):
    whole = make()
    expected = run(tmp_path / "whole", whole, **options)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        kill(tmp_path / "killed")
    again = make()
    resumed = run(tmp_path / "killed", again, resume=True, **options)
    assert picks(resumed.history) == picks(expected.history)
    assert [r.scores for r in resumed.history] == [r.scores for r in expected.history]
    assert same(tensors_of(resumed.model), tensors_of(expected.model))
    steps = [[e["steps"] for e in Campaign.read_events(loop.dirpath) if e["kind"] == "fitted"] for loop in
             (resumed, expected)]  # fmt: skip
    assert steps[0] == steps[1]
    for a, b in zip(again._voted[-1], whole._voted[-1], strict=True):
        assert same(a, b)
    return again


@pytest.mark.parametrize("reset", ["continue", pytest.param("initial", marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("after", "refitted"), [(2, 3), *(pytest.param(*n, marks=pytest.mark.slow) for n in ((1, 4), (3, 2)))]
)
def test_a_kill_loses_at_most_one_member_s_fit(tmp_path, reset, after, refitted):
    """Two further fits in each of two rounds; the killed one is made again."""
    options = {"loop": {"reset": reset}}

    def kill(folder):
        acquisition = Kept(3)
        acquisition.kill_after = after
        run(folder, acquisition, **options)

    again = killed_and_resumed(tmp_path, partial(Kept, 3), kill, **options)
    assert again._fits == refitted


class Killer(L.Callback):
    """Kills the campaign after a number of training batches, those of members counted."""

    def __init__(self, after):
        self.after, self.batches = after, 0

    def on_round_start(self, trainer, pl_module, loop):
        """Which is why it is not put back at every fit."""

    def on_train_batch_end(self, *args):
        self.batches += 1
        if self.batches == self.after:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("batches", "refitted"), [(6 + 3, 4), (6 + 6 + 3, 3), (6 + 6 + 6 + 9 + 9 + 1, 1)])
def test_killed_in_a_member_s_fit(tmp_path, batches, refitted):
    again = killed_and_resumed(
        tmp_path, partial(Kept, 3), lambda folder: run(folder, QueryByCommittee(3), Killer(batches))
    )
    assert again._fits == refitted


def test_killed_after_the_members_were_fitted(tmp_path):
    class Stops(QueryByCommittee):
        def select(self, *args, **kwargs):
            raise KeyboardInterrupt

    again = killed_and_resumed(tmp_path, partial(Kept, 3), lambda folder: run(folder, Stops(3)))
    assert again._fits == 2  # of the second round


@pytest.mark.parametrize("batches", [4, *(pytest.param(n, marks=pytest.mark.slow) for n in (1, 6, 9, 12, 15))])
@pytest.mark.parametrize("every", [0.0, 1e9])
def test_snapshots_survive_a_kill_in_the_middle_of_the_fit(tmp_path, monkeypatch, batches, every):
    """Whether the round goes on from a checkpoint, or starts over."""
    monkeypatch.setattr(RepeatedFit, "checkpoint_every_seconds", every)
    make = partial(Kept, 3, source="snapshots")
    killed_and_resumed(tmp_path, make, lambda folder: run(folder, make(), Killer(batches)))


def test_snapshots_of_a_killed_fit_go_when_its_labels_have_changed(tmp_path):
    def begin(*callbacks):
        trainer = make_trainer(tmp_path, *callbacks, acquisition=QueryByCommittee(3, source="snapshots"), max_epochs=3)
        return ActiveLearningLoop(Net(), Data(), initial=8, query_size=3, dirpath=tmp_path / "c"), trainer

    loop, trainer = begin(Killer(4))
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        loop.ask(trainer)
    killed = list((tmp_path / "c").rglob("snapshot_*.ckpt"))
    assert len(killed) == 2
    loop, trainer = begin()
    loop.tell([3], [1])
    loop.ask(trainer)
    left = [path for path in (tmp_path / "c").rglob("*.ckpt") if path.name != "initial.ckpt"]
    assert len(left) == 4  # three snapshots and the weights
    assert not set(left) & set(killed)


# ------------------------------------------------------------------------------------------------------------ snapshots


class Rates(L.Callback):
    """The learning rate of every batch, the weights after it, and the number of optimizer steps."""

    def __init__(self):
        self.rates, self.states = [], []

    def on_round_start(self, trainer, pl_module, loop):
        self.rates, self.states = [], []

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.rates.append(optimizer.param_groups[0]["lr"])

    def on_train_batch_end(self, trainer, pl_module, *args):
        self.states.append(tensors_of(pl_module))

    def on_round_end(self, trainer, pl_module, loop):
        self.last = (self.rates, self.states) if loop.campaign.next_round == 1 else self.last


def cosine(lengths, lr=0.05):
    return [lr / 2 * (math.cos(math.pi * t / n) + 1) for n in lengths for t in range(n)]


@pytest.mark.parametrize("base", [None, AutoSAMMixin, SAMMixin])
@pytest.mark.parametrize("reset", ["initial", "continue"])
def test_a_snapshot_at_the_end_of_each_cycle(tmp_path, base, reset):
    """Also in manual optimization."""
    model = NORM if base is None else type("Sharp", (base, Net), {})
    acquisition, rates = Kept(4, source="snapshots"), Rates()
    run(tmp_path, acquisition, rates, model=model(batch_norm=True), loop={"reset": reset}, max_epochs=5)
    seen, states = rates.last
    assert len(states) == 10
    assert seen == pytest.approx(cosine([2, 3, 2, 3]))
    for member, batch in zip(acquisition._voted[0], (1, 4, 6, 9), strict=True):
        assert same(member, states[batch])


@pytest.mark.parametrize(
    ("limits", "lengths"),
    [
        ({"max_steps": 6, "max_epochs": -1}, [2, 2, 2]),
        ({"max_steps": 4, "max_epochs": 9}, [1, 1, 2]),
        ({"max_steps": 99, "max_epochs": 3}, [2, 2, 2]),
        ({"limit_train_batches": 1}, [1, 1, 1]),
    ],
)
def test_cycles_make_up_the_round(tmp_path, limits, lengths):
    rates = Rates()
    acquisition = Kept(3, source="snapshots")
    run(tmp_path, acquisition, rates, **limits)
    assert rates.last[0] == pytest.approx(cosine(lengths))
    assert [len(voted) for voted in acquisition._voted] == [3, 3]


def test_cycles_count_batches_that_are_accumulated(tmp_path):
    rates = Rates()
    acquisition = Kept(3, source="snapshots")
    run(tmp_path, acquisition, rates, accumulate_grad_batches=2, max_steps=3, max_epochs=-1)
    assert len(rates.last[1]) == 6
    assert rates.last[0] == pytest.approx(cosine([2, 2, 2])[1::2])  # a step at every second batch


def test_a_schedule_of_the_model_s_own_is_refused(tmp_path):
    class Scheduled(Net):
        def configure_optimizers(self):
            optimizer = super().configure_optimizers()
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 2)]

    with pytest.raises(ValueError, match=r'source="snapshots"\) sets the learning rate itself.*StepLR.*source="fits"'):
        run(tmp_path, QueryByCommittee(source="snapshots"), model=Scheduled())
    run(tmp_path / "fits", QueryByCommittee(2), model=Scheduled(), loop={"rounds": 1})


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"max_epochs": 2}, "members=5.*this one has 4: max_epochs=2 of 2 batches"),
        ({"max_epochs": -1, "max_time": "00:01:00:00"}, "it is not known how many this one has"),
    ],
)
def test_fits_that_cannot_be_divided_are_refused(tmp_path, limits, said):
    with pytest.raises(ValueError, match=said):
        run(tmp_path, QueryByCommittee(5, source="snapshots"), **limits)


def test_a_fit_that_is_stopped_early(tmp_path):
    class Stop(L.Callback):
        def __init__(self, at):
            self.at, self.seen = at, 0

        def on_round_start(self, trainer, pl_module, loop):
            pass  # counts on from round to round, so that only the first is stopped

        def on_train_batch_end(self, trainer, *args):
            self.seen += 1
            trainer.should_stop = self.seen == self.at

    acquisition = Kept(3, source="snapshots")
    with pytest.warns(UserWarning, match="round 0 was stopped early: 2 of 3 snapshots vote"):
        run(tmp_path, acquisition, Stop(4))
    assert [len(voted) for voted in acquisition._voted] == [2, 3]
    with pytest.raises(RuntimeError, match="found 1 snapshots of the fit of round 0"):
        run(tmp_path / "b", Kept(3, source="snapshots"), Stop(2))


def test_a_round_that_was_fitted_without_snapshots(tmp_path):
    class Stops(Entropy):
        def select(self, *args, **kwargs):
            raise KeyboardInterrupt

    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run(tmp_path, Stops())
    with pytest.warns(UserWarning, match="options that changed"):
        with pytest.raises(RuntimeError, match="made by another acquisition"):
            run(tmp_path, QueryByCommittee(3, source="snapshots"), resume=True)
    assert len(run(tmp_path, Entropy(), resume=True).history) == 3


def test_the_user_s_checkpoints_hold_nothing_of_it(tmp_path):
    saved = ModelCheckpoint(tmp_path / "mine", save_last=True)
    for source in SOURCES:
        acquisition = QueryByCommittee(3, source=source)
        run(tmp_path / source, acquisition, saved, enable_checkpointing=True)
        for path in (tmp_path / "mine").rglob("*.ckpt"):
            state = torch.load(path, weights_only=True)
            assert not [key for key in state["callbacks"] if "Committee" in key]
            assert state["state_dict"].keys() == NORM().state_dict().keys()


def test_a_plain_fit_is_left_alone(tmp_path):
    rates = Rates()
    trainer = make_trainer(tmp_path, rates, acquisition=QueryByCommittee(3, source="snapshots"), max_epochs=1)
    with pytest.warns(UserWarning, match="no loop is bound"):
        trainer.fit(Net(), Data(8))
    assert rates.rates == [0.05, 0.05]
    assert not list(Path(tmp_path).rglob("snapshot*"))


# ------------------------------------------------------------------------------------------------------------ the rest


@pytest.mark.parametrize("processes", [2, 3])
@pytest.mark.parametrize("source", SOURCES)
def test_picks_of_several_processes_are_those_of_one(tmp_path, processes, source):
    """From weights that do not learn, since batches differ by process otherwise."""

    def picked(count):
        strategy, devices = fork(count) if count > 1 else ("auto", 1)
        acquisition = QueryByCommittee(3, source=source, score="kl")
        loop = run(tmp_path / str(count), acquisition, model=Frozen(), strategy=strategy, devices=devices)
        assert loop.status == "finished"
        return picks(loop.history), [r.scores for r in loop.history]

    (one, scores), (many, scores_of_many) = picked(1), picked(processes)
    assert one == many
    assert [s for r in scores for s in r] == pytest.approx([s for r in scores_of_many for s in r], abs=1e-12)


@pytest.mark.parametrize("source", SOURCES)
def test_two_processes_learn_together(tmp_path, source):
    strategy, devices = fork(2)
    loop = run(tmp_path, QueryByCommittee(3, source=source), strategy=strategy, devices=devices)
    assert [r.labelled for r in loop.history] == [8, 11, 14]
    one, _ = (run(tmp_path / "again", QueryByCommittee(3, source=source), strategy=fork(2)[0], devices=2), None)
    assert picks(one.history) == picks(loop.history)


def test_ask_and_tell(tmp_path):
    from lightning_al import AwaitTell

    loop = ActiveLearningLoop(NORM(), Data(), initial=8, query_size=3, oracle=AwaitTell(), dirpath=tmp_path / "c")
    acquisition = Kept(3)
    trainer = make_trainer(tmp_path, acquisition=acquisition)
    first = loop.ask(trainer)
    loop.tell(first, [i % 3 for i in range(8)])
    second = loop.ask(trainer)
    third = loop.ask(trainer)  # no label came: the same fit, but another question
    assert len({*second, *third}) == 6
    assert len(acquisition._voted) == 2


def test_it_cannot_choose_the_initial_set(tmp_path):
    with pytest.raises(ValueError, match=r"QueryByCommittee.*needs logits of the model"):
        ActiveLearningLoop(Net(), Data(), initial=8, query_size=3, initial_by=QueryByCommittee())


def test_early_stopping_stops_a_member_too(tmp_path):
    """Each by what it has seen, as if it were alone."""

    class Epochs(L.Callback):
        def __init__(self):
            self.epochs = []

        def on_round_start(self, *args):
            pass

        def on_train_end(self, trainer, pl_module):
            self.epochs.append(trainer.current_epoch)

    stop, epochs = EarlyStopping("val_acc", mode="max", patience=1), Epochs()
    run(tmp_path, QueryByCommittee(4), stop, epochs, max_epochs=12, loop={"rounds": 1})
    assert len(epochs.epochs) == 5
    assert len(set(epochs.epochs)) > 1
    assert max(epochs.epochs) < 12


def test_before_anything_is_learnt_the_model_votes_alone(bound):
    acquisition = QueryByCommittee()
    assert bound.scores(acquisition).tolist() == [0.0] * len(bound.batch[0])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_members_run_in_full_precision_and_are_not_written_to(dtype):
    class Counts(torch.nn.Module):
        """Writes to a buffer in every forward, and shrinks the rows it looks up."""

        def __init__(self):
            super().__init__()
            self.table = torch.nn.Embedding(10, 3, max_norm=1.0)
            self.out = torch.nn.Linear(3, 4)
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x):
            self.calls += 1
            return self.out(self.table(x)) * self.calls

    torch.manual_seed(0)
    model, other = Counts().to(dtype), Counts().to(dtype)
    torch.nn.init.normal_(other.table.weight, std=9.0)
    x = torch.arange(6)
    member, before = tensors_of(other), tensors_of(model)
    kept = {name: t.clone() for name, t in member.items()}
    got = plain_outputs(model, x, tensors=member)
    assert got.dtype == torch.float32
    assert torch.allclose(got, plain_outputs(other, x))
    assert torch.equal(got, plain_outputs(model, x, tensors=member))
    assert same(member, kept)
    assert same(tensors_of(model), before)


def test_weights_that_are_sharded_are_refused():
    with contextlib.ExitStack() as stack:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.tensor import distribute_tensor
        from torch.testing._internal.distributed.fake_pg import FakeStore

        torch.distributed.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
        stack.callback(torch.distributed.destroy_process_group)
        mesh = init_device_mesh("cpu", (2,))
        model = torch.nn.Linear(4, 4)
        model.weight = torch.nn.Parameter(distribute_tensor(model.weight.detach(), mesh))
        for refused in (tensors_of, lambda model: QueryByCommittee().score_batch(model, None)):
            with pytest.raises(TypeError, match="Weights of Linear are sharded over processes"):
                refused(model)


def test_members_are_moved_once_and_stay_away_where_memory_is_short(monkeypatch):
    states = [None, {"a": torch.ones(3)}, {"a": torch.ones(3)}]
    assert _moved(states, torch.device("cpu")) is states
    moved = _moved(states, torch.device("meta"))
    assert moved[0] is None
    assert [state["a"].device.type for state in moved[1:]] == ["meta"] * 2
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2 * 24 - 1, 10**9))
    assert _moved(states, torch.device("cuda:0")) is states
