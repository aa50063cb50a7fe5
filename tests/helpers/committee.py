"""Committees that remember what they voted with, in campaigns that can be killed."""

import math
from functools import partial

import lightning as L
import pytest
import torch

from lightning_al import ActiveLearningLoop, Campaign
from lightning_al.acquisition import QueryByCommittee
from lightning_al.inference.calling import tensors_of
from tests.helpers.projects import Data, Net, make_trainer, picks

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
        self._voted.append([own if state is None else dict(state) for state in self._members])
        self._scored.append(query.candidates.tolist())


def same(one, two):
    return all(torch.equal(one[name], two[name]) for name in one)


SOURCES = ("fits", "snapshots")


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


class Killer(L.Callback):
    """Kills the campaign after a number of training batches, those of all fits and of members counted."""

    def __init__(self, after, error=KeyboardInterrupt):
        self.after, self.error, self.batches = after, error, 0

    def on_round_start(self, trainer, pl_module, loop):
        """Which is why it is not put back at every fit."""

    def on_train_batch_end(self, *args):
        self.batches += 1
        if self.batches == self.after:
            raise self.error


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
