import inspect
import math
import re

import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from lightning_al import ActiveLearningLoop, AwaitTell, ClassificationTask
from lightning_al import functional as F_al
from lightning_al.acquisition import CoreGCN, UncertainGCN
from lightning_al.stages import heard
from tests.helpers.bound import seeded
from tests.helpers.marks import slow
from tests.helpers.models import Notes
from tests.helpers.processes import fork
from tests.helpers.projects import Data, Net, make_data, make_trainer, picks

X = make_data()[0]
ROWS = {"index": torch.arange(50), "features": X[:50]}
KNOWN = {"index": torch.arange(50, 60), "features": X[50:]}
BOTH = pytest.mark.parametrize("cls", [CoreGCN, UncertainGCN])
OPTIONS = {"steps": 7, "hidden": 6, "dropout": 0.5, "lr": 0.02, "weight_decay": 0.1, "unlabelled_weight": 0.7}


def test_they_are_made_of_their_functions():
    got = CoreGCN(**OPTIONS).select(ROWS, 9, labelled_rows=KNOWN, generator=seeded(4))
    assert torch.equal(got, F_al.core_gcn(X[:50], 9, labelled=X[50:], generator=seeded(4), **OPTIONS))
    got = UncertainGCN(margin=0.4, **OPTIONS).select(ROWS, 9, labelled_rows=KNOWN, generator=seeded(4))
    scores = F_al.uncertain_gcn(X[:50], labelled=X[50:], generator=seeded(4), margin=0.4, **OPTIONS)
    assert torch.equal(got, F_al.top_k(scores, 9))


def test_defaults_are_those_of_the_functions():
    published = {
        name: p.default for name, p in inspect.signature(F_al.train_gcn).parameters.items() if p.default is not p.empty
    }
    for cls in (CoreGCN, UncertainGCN):
        mine = {name: p.default for name, p in inspect.signature(cls).parameters.items()}
        assert published.items() <= mine.items()
    assert inspect.signature(UncertainGCN).parameters["margin"].default == 0.1


@BOTH
def test_what_is_labelled_counts(cls):
    other = {"index": KNOWN["index"], "features": -X[50:]}
    both = [cls(steps=20).select(ROWS, 9, labelled_rows=rows, generator=seeded()).tolist() for rows in (KNOWN, other)]
    assert both[0] != both[1]


@BOTH
def test_needs_labelled_samples_and_a_generator(cls):
    assert "labels" in cls().requires
    assert "labels" in cls(encoder=nn.Identity()).requires
    with pytest.raises(ValueError, match=f"`{cls.__name__}` learns from what is labelled, and no sample is"):
        cls().select(ROWS, 2, labelled_rows={}, generator=seeded())
    with pytest.raises(ValueError, match=f"`{cls.__name__}` trains a network.*needs a `generator`"):
        cls().select(ROWS, 2, labelled_rows=KNOWN, generator=None)


@BOTH
def test_cannot_choose_the_initial_set(cls):
    with pytest.raises(ValueError, match=f"`initial_by={cls.__name__}.*learns from labelled samples"):
        ActiveLearningLoop(Net(), Data(), initial=6, initial_by=cls(encoder=nn.Identity()), query_size=4, rounds=1)


@BOTH
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"steps": 0}, "`steps` must be at least 1, got 0"),
        ({"hidden": 0}, "`hidden`"),
        ({"dropout": 1.0}, "`dropout`"),
        ({"lr": 0.0}, "`lr`"),
        ({"weight_decay": math.nan}, "`weight_decay`"),
        ({"unlabelled_weight": -1.0}, "`unlabelled_weight`"),
        ({"features": "net", "encoder": nn.Identity()}, "give one of them"),
    ],
)
def test_refuses(cls, options, message):
    with pytest.raises(ValueError, match=message):
        cls(**options)


def test_refuses_a_margin_that_is_no_probability():
    with pytest.raises(ValueError, match=r"`margin` must be at least 0 and at most 1, got 1\.5"):
        UncertainGCN(margin=1.5)


def test_equal_samples_are_said_once_and_taken_in_their_order():
    same = {"index": torch.arange(50), "features": torch.ones(50, 4)}
    known = {"index": torch.arange(50, 52), "features": torch.ones(2, 4)}
    acquisition = UncertainGCN(steps=3)
    with pytest.warns(UserWarning, match="UncertainGCN gave all 50 candidates the same score"):
        got = acquisition.select(same, 4, labelled_rows=known, generator=seeded())
    assert got.tolist() == [0, 1, 2, 3]


# --------------------------------------------------------------------------------------------------- bits and batches


class Single(nn.Module):
    """In float32, where matrix products round differently for batches of one."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(3)
        self.seen = Notes()
        self.net = nn.Sequential(nn.Linear(40, 300), nn.ReLU(), nn.Linear(300, 200), nn.ReLU(), nn.Linear(200, 3))

    def forward(self, x):
        self.seen.append(len(x))
        return self.net(x)


@BOTH
def test_features_do_not_depend_on_the_batch_to_the_last_bit(cls):
    x = torch.randn(90, 40, generator=seeded(5))
    acquisition = cls()
    acquisition.bind(ClassificationTask(), AwaitTell())
    model = Single()
    whole = acquisition.rows(model, (x, None))["features"]
    assert set(model.seen) == {32}
    for size in (1, 7, 33, 64):
        parts = [acquisition.rows(model, (some, None))["features"] for some in x.split(size)]
        assert torch.equal(torch.cat(parts), whole)


@BOTH
@pytest.mark.parametrize("count", [1, 31, 32, 33])
def test_chunks_take_any_inputs(cls, count):
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.last = nn.Linear(4, 2).double()

        def forward(self, inputs):
            return self.last(inputs["a"] + inputs["more"][0])

    a, b = X[:1].repeat(count, 1), torch.randn(count, 4, generator=seeded(), dtype=torch.float64)
    acquisition = cls()
    acquisition.bind(ClassificationTask(), AwaitTell())
    got = acquisition.rows(Two(), ({"a": a, "more": [b]}, None))["features"]
    assert torch.equal(got, a + b)


# ------------------------------------------------------------------------------------------------------- in a campaign


@pytest.mark.parametrize("cls", [CoreGCN, slow(UncertainGCN)])
def test_a_killed_campaign_goes_on_as_if_it_had_not_been(tmp_path, cls):
    class Killed(cls):
        _left = None

        def select(self, *args, **kwargs):
            found = super().select(*args, **kwargs)
            if self._left is not None:
                self._left -= 1
                if self._left < 0:
                    raise KeyboardInterrupt
            return found

    Killed.__name__ = cls.__name__

    def run(name, resume=False, left=None):
        acquisition = Killed(steps=10)
        acquisition._left = left
        loop = ActiveLearningLoop(Net(), Data(), initial=6, query_size=4, rounds=3, dirpath=tmp_path / name)
        return picks(loop.run(make_trainer(tmp_path, acquisition=acquisition), resume=resume))

    whole = run("whole")
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        run("killed", left=1)
    assert run("killed", resume=True) == whole
    assert len({tuple(p) for p in whole}) == 4


class Float(Net):
    """In float32, and wide enough that batches of one round differently. It keeps its weights."""

    def __init__(self):
        super().__init__(lr=0.0)
        torch.manual_seed(7)
        self.net = nn.Sequential(nn.Linear(4, 300), nn.ReLU(), nn.Linear(300, 200), nn.ReLU(), nn.Linear(200, 3))


class Singles(Data):
    def setup(self, stage):
        self.train = TensorDataset(make_data()[0].float(), make_data()[1])
        self.held_out = TensorDataset(make_data(20, seed=1)[0].float(), make_data(20, seed=1)[1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cls", "size", "processes"),
    [
        slow(CoreGCN, 7, 2),
        (UncertainGCN, 1, 1),
        *(slow(CoreGCN, size, 1) for size in (1, 7)),
        *(slow(UncertainGCN, 7, processes) for processes in (1, 2)),
    ],
)
def test_float32_campaigns_pick_the_same_in_whatever_batches_and_processes(tmp_path, cls, size, processes):
    def run(name, size, processes=1):
        strategy, devices = fork(processes) if processes > 1 else ("auto", 1)
        loop = ActiveLearningLoop(
            Float(), Singles(), initial=6, query_size=9, rounds=1, dirpath=tmp_path / name, pool_batch_size=size
        )
        trainer = make_trainer(tmp_path, acquisition=cls(), strategy=strategy, devices=devices, max_epochs=1)
        return picks(loop.run(trainer))

    assert run("some", size, processes) == run("whole", 60)


@BOTH
def test_the_training_is_told_of_step_by_step(cls):
    told = []
    with heard(lambda *step: told.append(step)):
        cls(steps=5).select(ROWS, 2, labelled_rows=KNOWN, generator=seeded())
    assert told[:6] == [(done, 5) for done in range(6)]


@BOTH
def test_a_line_for_those_who_ask_says_how_the_training_went(caplog, cls):
    with caplog.at_level("INFO", logger="lightning_al"):
        cls(steps=5).select(ROWS, 2, labelled_rows=KNOWN, generator=seeded())
    assert re.fullmatch(r"A graph of 60 samples: loss \S+ to \S+ in 5 steps\.", caplog.messages[0])
