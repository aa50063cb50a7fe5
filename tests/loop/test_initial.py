"""The initial set, chosen by an acquisition before anything trained."""

import itertools
import math
import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import StackDataset, TensorDataset

from lightning_al import SKIP, ActiveLearningLoop, AwaitTell, Campaign, ClassificationTask, Oracle, Pool
from lightning_al.acquisition import BADGE, SAAL, CoreSet, Entropy, ProbCover, Random, TypiClust
from lightning_al.distributed.randomness import generator
from lightning_al.loop.initial import choose_initial
from lightning_al.oracle.truth import Truth
from lightning_al.storage import files
from tests.helpers.greedy import farthest_first
from tests.helpers.marks import slow
from tests.helpers.processes import Frozen, fork
from tests.helpers.projects import SIZE, Data, Net, make_data, make_trainer, picks

X = make_data()[0]
CHOOSERS = {
    "Random": lambda encoder: Random(),
    "CoreSet": lambda encoder: CoreSet(encoder=encoder),
    "BADGE": lambda encoder: BADGE(encoder=encoder),
    "ProbCover": lambda encoder: ProbCover(clusters=3, encoder=encoder),
    "TypiClust": lambda encoder: TypiClust(encoder=encoder),
}


def loop_in(folder, initial_by, **options):
    options = {"initial": 7, "query_size": 4, "rounds": 1, "dirpath": folder, **options}
    return ActiveLearningLoop(options.pop("model", None) or Frozen(), Data(), initial_by=initial_by, **options)


def run(folder, initial_by, processes=1, acquisition=None, resume=False, **options):
    strategy, devices = fork(processes) if processes > 1 else ("auto", 1)
    trainer = make_trainer(
        folder.parent, acquisition=acquisition, strategy=strategy, devices=devices, max_epochs=1
    )  # fmt: skip
    loop = loop_in(folder, initial_by, **options)
    return picks(loop.run(trainer, resume=resume)), asked(folder)


class Declining(Oracle):
    """Labels all samples but these."""

    def __init__(self, declined):
        self.declined = declined

    def request(self, indices):
        self.asked = indices

    def poll(self):
        return {i: SKIP if i in self.declined else int(make_data()[1][i]) for i in self.asked}


def asked(folder):
    return next(e["indices"] for e in Campaign.read_events(folder) if e["kind"] == "asked")


ENCODERS = ("a module", "a file")


@pytest.fixture(params=ENCODERS)
def encoder(request, tmp_path):
    """Gives the inputs themselves; wrong of any other samples than it is asked for."""
    if request.param == "a module":
        return nn.Identity()
    np.save(tmp_path / "features.npy", X.numpy())
    return tmp_path / "features.npy"


QUICK = [("Random", "a module"), ("TypiClust", "a file")]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "encoder"),
    [*QUICK, *(slow(*both) for both in itertools.product(CHOOSERS, ENCODERS) if both not in QUICK)],
    indirect=["encoder"],
)
def test_on_one_and_two_processes_after_a_kill_and_through_ask(tmp_path, encoder, name):
    make = CHOOSERS[name]
    picked, initial = run(tmp_path / "one", make(encoder))
    assert len(set(initial)) == 7
    assert set(initial) <= set(range(SIZE))
    assert run(tmp_path / "two", make(encoder), 2) == (picked, initial)

    candidates = Pool(SIZE).candidates(generator=generator(0, "initial"))
    rows = {"index": candidates, "features": X[candidates]}
    draws = generator(0, "initial", "select")
    want = make(nn.Identity()).select(rows, 7, labelled_rows={}, generator=draws)
    assert initial == candidates[want].tolist()

    events = sorted((tmp_path / "one" / "ledger").glob("*.json"))
    for path in events[1:]:  # a kill between the first event and the second
        path.unlink()
    assert run(tmp_path / "one", make(encoder), resume=True) == (picked, initial)

    trainer = make_trainer(tmp_path, max_epochs=1)
    loop = loop_in(tmp_path / "asked", make(encoder), oracle=AwaitTell())
    assert loop.ask(trainer) == initial
    loop.tell(initial, make_data()[1][initial].tolist())
    assert loop.ask(trainer) == picked[0]


@pytest.mark.few(1)
@pytest.mark.parametrize("processes", [1, 2])
def test_chooses_again_where_all_of_it_is_declined(tmp_path, processes):
    _, initial = run(tmp_path / "c", CoreSet(encoder=nn.Identity()), rounds=0)
    run(tmp_path / "d", CoreSet(encoder=nn.Identity()), processes, rounds=0, oracle=Declining(initial))
    first, second = [e["indices"] for e in Campaign.read_events(tmp_path / "d") if e["kind"] == "asked"]
    assert first == initial
    left = [i for i in Pool(SIZE).candidates(generator=generator(0, "initial")).tolist() if i not in initial]
    everyone = Pool(SIZE)
    everyone.ask(initial)
    everyone.skip(initial)
    candidates = everyone.candidates(generator=generator(0, "initial", len(initial)))
    assert sorted(candidates.tolist()) == sorted(left)
    assert second == candidates[farthest_first(X[candidates], 7, None)].tolist()


def test_the_initial_set_of_core_set_is_that_of_the_definition(tmp_path):
    _, initial = run(tmp_path / "c", CoreSet(encoder=nn.Identity()))
    candidates = Pool(SIZE).candidates(generator=generator(0, "initial"))
    assert initial == candidates[farthest_first(X[candidates], 7, None)].tolist()


def test_the_seed_decides(tmp_path):
    sets = [tuple(run(tmp_path / f"{seed}", BADGE(encoder=nn.Identity()), seed=seed)[1]) for seed in (0, 1, 2)]
    assert len(set(sets)) == 3


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_one_acquisition_may_do_both(tmp_path, processes):
    both = ProbCover(clusters=3, encoder=nn.Identity())
    got = run(tmp_path / "one", both, processes, acquisition=both)
    two = ProbCover(clusters=3, encoder=nn.Identity())
    assert got == run(tmp_path / "two", both, processes, acquisition=two)
    with pytest.raises(RuntimeError, match="bound to no loop"):
        both.task


def test_the_model_is_left_untrained_and_the_chooser_unbound(tmp_path):
    model, chooser = Net(batch_norm=True, dropout=0.3), TypiClust(encoder=nn.Identity())
    before = {name: t.clone() for name, t in model.state_dict().items()}
    run(tmp_path / "c", chooser, model=model)
    initial = torch.load(tmp_path / "c" / "initial.ckpt", weights_only=True)["state_dict"]
    assert all(torch.equal(initial[name], t) for name, t in before.items())
    with pytest.raises(RuntimeError, match="bound to no loop"):
        chooser.task


# -- refusals ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [CoreSet, BADGE, TypiClust, Entropy, SAAL, lambda: ProbCover(clusters=3)])
def test_refuses_what_needs_a_trained_model(tmp_path, make):
    with pytest.raises(ValueError, match=r"`initial_by=\w+\(...\)` needs .* of the model, which is not trained yet"):
        loop_in(tmp_path / "c", make())


def test_refuses_other_misuse(tmp_path):
    with pytest.raises(ValueError, match=r"`initial_by=CoreSet\(...\)` chooses the initial set, which `initial` names"):
        loop_in(tmp_path / "c", CoreSet(encoder=nn.Identity()), initial=[1, 2, 3])
    with pytest.raises(ValueError, match=r"`initial_by=ProbCover\(...\)` needs the number of classes.*`clusters=`"):
        loop_in(tmp_path / "c", ProbCover(encoder=nn.Identity()))
    loop_in(tmp_path / "c", ProbCover(delta=0.3, encoder=nn.Identity()))
    with pytest.raises(ValueError, match="or an acquisition, got <class"):
        loop_in(tmp_path / "c", TypiClust)


@pytest.mark.few(1)
@pytest.mark.parametrize("processes", [1, 2])
def test_refuses_features_of_another_data_set_and_nan(tmp_path, processes):
    np.save(tmp_path / "features.npy", X[:59].numpy())
    with pytest.raises(Exception, match="features of 59 samples and the training dataset has 60"):
        run(tmp_path / "c", TypiClust(encoder=tmp_path / "features.npy"), processes)

    class Infinite(nn.Module):
        def forward(self, x):
            return torch.where((x == X[13]).all(1, keepdim=True), math.inf, x)

    with pytest.raises(Exception, match=r"gave NaN or infinite features for 1 of 60 samples, dataset indices \[13\]"):
        run(tmp_path / "c", CoreSet(encoder=Infinite()), processes)
    assert not (tmp_path / "c").exists()


# -- a kill --------------------------------------------------------------------------------------------------------


def test_killed_between_the_first_two_events(tmp_path, monkeypatch):
    np.save(tmp_path / "features.npy", X.numpy())
    chooser = TypiClust(encoder=tmp_path / "features.npy")

    def publish(beside, path, original=files.publish):
        if "asked" in path.name:
            os.kill(os.getpid(), signal.SIGKILL)
        original(beside, path)

    with monkeypatch.context() as killing:
        killing.setattr(files, "publish", publish)
        process = multiprocessing.get_context("fork").Process(target=run, args=(tmp_path / "killed", chooser))
        process.start()
        process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(Campaign.read_events(tmp_path / "killed")) == 1
    assert run(tmp_path / "killed", chooser, resume=True) == run(tmp_path / "whole", chooser)


# -- counts, at random or balanced over the classes ---------------------------------------------------------------


def chosen_of(count, method="random", n=60, seed=0):
    truth = Truth(TensorDataset(*make_data(n)), ClassificationTask())
    return choose_initial(count, method, Pool(n), truth=truth, seed=seed)


def test_random_initial_is_seeded():
    assert chosen_of(7) == chosen_of(7) != chosen_of(7, seed=1)
    assert chosen_of(5) == chosen_of(9)[:5]


@pytest.mark.parametrize("count", [1, 3, 6, 10, 47])
def test_balanced_initial(count):
    chosen = chosen_of(count, "balanced")
    labels = [int(make_data()[1][i]) for i in chosen]
    available = make_data()[1].bincount(minlength=3).tolist()
    counts = [labels.count(c) for c in range(3)]
    assert len(set(chosen)) == len(chosen) == count
    full = [c for c in range(3) if counts[c] < available[c]]
    assert max(counts[c] for c in full) - min(counts[c] for c in full) <= 1 if full else True
    assert all(counts[c] >= min(count // 3, available[c]) for c in range(3))
    assert chosen == chosen_of(count, "balanced")


class Listed(TensorDataset):
    """Keeps a list of targets, and notes which samples were read."""

    def __init__(self, targets, label_of=lambda target: target):
        super().__init__(make_data(len(targets))[0])
        self.targets, self.label_of = targets, label_of
        self.seen = set()

    def __getitem__(self, i):
        self.seen.add(i)
        return *super().__getitem__(i), self.label_of(self.targets[i])


def balanced_of(count, data):
    truth = Truth(data, ClassificationTask())
    return choose_initial(count, "balanced", Pool(len(data)), truth=truth, seed=0)


def test_balanced_reads_the_targets_where_the_data_set_keeps_them():
    data = Listed(make_data()[1].tolist())
    assert balanced_of(9, data) == chosen_of(9, "balanced")
    assert len(data.seen) <= 16 + 3


@pytest.mark.parametrize(
    ("targets", "label_of"),
    [
        ([i % 10 for i in range(200)], lambda target: int(target == 3)),  # as by a `target_transform`
        ([0] * 100 + [6] * 3 + [1] * 97, lambda target: min(target, 1)),  # of the only one that differs few are read
        ([{"boxes": []}] * 100 + [3] * 100, lambda target: int(target == 3)),
    ],
)
def test_balanced_goes_by_what_samples_have_where_the_list_says_otherwise(targets, label_of):
    data = Listed(targets, label_of)
    assert sorted(label_of(targets[i]) for i in balanced_of(6, data)) == [0, 0, 0, 1, 1, 1]


def test_balanced_goes_by_the_entry_that_the_task_reads():
    fine = make_data(200)[1]
    data = StackDataset(TensorDataset(make_data(200)[0]), fine)
    data.targets = [i % 10 for i in range(200)]
    assert fine[balanced_of(6, data)].bincount().tolist() == [2, 2, 2]
