"""What callbacks hold alone is put back before each fit; what others hold too is shared."""

import functools
import gc
import types

import lightning as L
import torch
import torchmetrics
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lightning_al import ActiveLearningLoop, Loaders
from lightning_al.fitting.ownership import held_by_others
from tests.helpers.projects import Data, Net, make_data, make_trainer


class Thing:
    def __init__(self, **attributes):
        vars(self).update(attributes)


class Slotted:
    __slots__ = ("value",)


NODES = 8


@settings(max_examples=40, deadline=None)
@given(
    arrows=st.lists(st.tuples(st.integers(0, NODES), st.integers(0, NODES - 1)), max_size=24),
    held=st.sets(st.integers(0, NODES - 1)),
)
def test_any_graph_of_objects(arrows, held):
    """Held by others: reachable from the owner, and from a thing that we hold. Here both are followed by hand."""
    things = [Thing(out=[]) for _ in range(NODES)]
    owner = Thing(out=[])
    parts = {i: [j for start, j in arrows if start == i] for i in range(NODES + 1)}
    for start, j in arrows:
        (owner if start == NODES else things[start]).out.append(things[j])

    def reachable(starts):
        seen, waiting = set(), list(starts)
        while waiting:
            i = waiting.pop()
            if i not in seen:
                seen.add(i)
                waiting += parts[i]
        return seen

    expected = reachable(parts[NODES]) & reachable(held)
    numbers = {id(thing): i for i, thing in enumerate(things)}
    ours = [thing for i, thing in enumerate(things) if i in held]
    things.clear()
    gc.collect(1)  # the young: circles that nobody holds any more are holders until then
    others = held_by_others(owner, {})
    assert {numbers[number] for number in others if number in numbers} == expected, ours


def test_each_way_to_hold_something():
    for hold in (
        lambda x: Thing(a=x),
        lambda x: [x],
        lambda x: (x,),
        lambda x: {"a": x},
        lambda x: functools.partial(print, x),
        lambda x: lambda: x,
        lambda x: types.MethodType(print, Thing(a=x)),
        _slot,
    ):
        shared, holder = {}, Thing()
        holder.a, holder.own = hold(shared), hold({})
        assert [id(x) for x in held_by_others(holder, {}).values() if isinstance(x, dict)] == [id(shared)], hold


def _slot(x):
    slotted = Slotted()
    slotted.value = x
    return slotted


def test_metrics_and_modules_of_its_own_with_their_cycles():
    model = nn.Linear(1, 1)
    average = Thing(of=model, shadow=[p.detach().clone() for p in model.parameters()])
    holder = Thing(metric=torchmetrics.MeanMetric(), net=nn.Linear(2, 2), average=average)
    del average
    others = held_by_others(holder, {}).values()
    assert any(x is model for x in others)
    assert not any(x is t for x in others for t in (holder.metric, holder.net, holder.average, *holder.average.shadow))


class Graded(Dataset):
    level = 0

    def __len__(self):
        return 60

    def __getitem__(self, i):
        x, y = make_data()
        return x[i] + 100 * self.level, y[i]


class Curriculum(L.Callback):
    def __init__(self, dataset, epochs):
        self.schedule, self.epochs = Thing(dataset=dataset, steps=0), epochs
        self.own, self.mean = [], torchmetrics.MeanMetric()

    def on_train_epoch_start(self, trainer, module):
        self.schedule.dataset.level = self.schedule.steps
        self.schedule.steps += 1
        self.epochs.append(trainer.current_epoch)
        self.own.append(trainer.current_epoch)
        self.mean.update(1.0)
        self.mean_weight = float(self.mean.weight)


def test_a_curriculum_reaches_the_dataset_in_every_round(tmp_path):
    levels = []

    class Sees(Net):
        def training_step(self, batch, batch_idx):
            if batch_idx == 0:
                levels.append(round(float(batch[0].mean()) / 100))
            return super().training_step(batch, batch_idx)

    dataset, epochs = Graded(), []
    callback = Curriculum(dataset, epochs)
    x, y = make_data()
    plain = torch.utils.data.TensorDataset(x, y)
    data = Loaders(DataLoader(dataset, 4, shuffle=True), DataLoader(plain, 10), pool=plain)
    loop = ActiveLearningLoop(Sees(), data, initial=12, query_size=4, rounds=2)
    loop.run(make_trainer(tmp_path, callback, max_epochs=3))
    assert levels == epochs == [0, 1, 2] * 3
    # Its own list, counter and metric began anew in each fit.
    assert callback.own == [0, 1, 2]
    assert callback.schedule.steps == 3
    assert callback.mean_weight == 3


def test_a_killed_round_shares_the_same_things(tmp_path):
    """What is shared is found again in a process that is begun anew, by the same rule."""

    class Dies(L.Callback):
        def __init__(self, sink):
            self.sink, self.count = sink, 0

        def on_train_epoch_end(self, trainer, module):
            self.count += 1
            self.sink.append(self.count)
            if self.sink == [1, 2, 1]:
                raise ZeroDivisionError

    sink = []
    options = {"initial": 8, "query_size": 4, "rounds": 1, "dirpath": tmp_path / "c"}
    try:
        ActiveLearningLoop(Net(), Data(), **options).run(make_trainer(tmp_path, Dies(sink)))
    except ZeroDivisionError:
        again = []
        ActiveLearningLoop(Net(), Data(), **options).run(make_trainer(tmp_path, Dies(again)), resume=True)
    assert sink == [1, 2, 1]
    assert again[-1] == 2
