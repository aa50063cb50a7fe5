"""Annotators with faults and prices."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import TensorDataset

from lightning_al import (
    SKIP,
    ActiveLearningLoop,
    AwaitTell,
    BinaryTask,
    Campaign,
    ClassificationTask,
    DatasetOracle,
    MultiLabelTask,
    NoisyOracle,
    RegressionTask,
)
from lightning_al.acquisition import Entropy
from lightning_al.oracle.base import Unreachable
from tests.helpers.oracles import PRICES, Answering, campaign
from tests.helpers.projects import Data, Net, make_data, make_trainer, picks

N = 2000


def own(classes=4):
    return DatasetOracle(TensorDataset(torch.zeros(N, 1), torch.arange(N) % classes), ClassificationTask())


def answers(oracle, indices=range(N)):
    oracle.request(list(indices))
    return oracle.poll()


def test_the_default_oracle_answers_what_it_was_asked_once():
    _, y = make_data()
    oracle = DatasetOracle(TensorDataset(*make_data()), ClassificationTask())
    oracle.request([3, 5])
    oracle.request([5])
    assert {i: int(a) for i, a in oracle.poll().items()} == {3: int(y[3]), 5: int(y[5])}
    assert oracle.poll() == {}
    assert AwaitTell().poll() == {}


def test_without_faults_it_is_the_other_oracle():
    assert answers(NoisyOracle(own())) == answers(own())


def test_flips_and_abstentions_have_their_shares():
    told = answers(NoisyOracle(own(), flip=0.3, abstain=0.2, classes=4))
    declined = [i for i, label in told.items() if label is SKIP]
    shifts = torch.tensor([(int(label) - i) % 4 for i, label in told.items() if label is not SKIP])
    assert abs(len(declined) / N - 0.2) < 0.03
    shares = torch.bincount(shifts, minlength=4) / len(shifts)
    torch.testing.assert_close(shares, torch.tensor([0.7, 0.1, 0.1, 0.1]), atol=0.03, rtol=0)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 40), unique=True, max_size=20), st.integers(0, 5))
def test_the_same_answer_whenever_and_however_often_asked(order, seed):
    once = answers(NoisyOracle(own(), flip=0.5, abstain=0.3, classes=4, seed=seed), range(41))
    oracle = NoisyOracle(own(), flip=0.5, abstain=0.3, classes=4, seed=seed)
    oracle.request(order)
    oracle.request(order)
    assert oracle.poll() == {i: once[i] for i in order}
    assert answers(oracle, order[::-1]) == {i: once[i] for i in order}


def test_seeds_differ():
    one, other = (answers(NoisyOracle(own(), flip=0.5, classes=4, seed=seed)) for seed in (0, 1))
    assert one != other


def test_late_answers():
    oracle = NoisyOracle(own(), delay=2)
    oracle.request([5])
    assert oracle.poll() == {}
    oracle.request([5, 6])
    assert oracle.poll() == {}
    assert list(oracle.poll()) == [5]
    assert list(oracle.poll()) == [6]
    assert oracle.poll() == {}


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"flip": 1.5}, ValueError, r"`flip` must be at least 0 and at most 1, got 1\.5"),
        ({"abstain": -1}, ValueError, "`abstain` must be at least 0 and at most 1, got -1"),
        ({"delay": -1}, ValueError, "`delay` must be at least 0, got -1"),
        ({"flip": 0.1}, ValueError, r"`flip=0\.1` needs to know how many classes"),
        ({"flip": 0.1, "classes": 1}, ValueError, "`classes` must be at least 2, got 1"),
        ({"price": "2"}, TypeError, "`price` must be a number, .* got '2'"),
        ({"price": [1.0, None]}, TypeError, "`price` must be a number, .* got None"),
        ({"price": {"3": 5.0}}, TypeError, "Dataset indices must be integers, got '3'"),
        ({"oracle": "people"}, TypeError, "`oracle` must be an `Oracle`, got str"),
    ],
)
def test_bad_options(options, error, message):
    with pytest.raises(error, match=message):
        NoisyOracle(**options)


# --------------------------------------------------------------------------------------------- what it wraps is kept


class Office(Answering):
    """People with prices of their own, who may change their minds, and are not always there."""

    annotator = "office"
    corrects = True
    wants_predictions = True

    def __init__(self):
        super().__init__(lambda i: i % 3)
        self.is_there = True
        self.calls = []

    def check(self):
        self.calls.append("check")

    def acknowledge(self):
        self.calls.append("acknowledge")

    def annotator_of(self, index):
        return "anna" if index % 2 else "ben"

    def cost(self, index):
        return 3.0 if index % 2 else 0.5

    def request(self, indices):
        if not self.is_there:
            raise Unreachable("Nobody is there.")
        super().request(indices)


def test_what_the_other_oracle_says_of_itself_holds():
    office = Office()
    oracle = NoisyOracle(office, abstain=0.1)
    assert [oracle.cost(i) for i in (4, 5)] == [0.5, 3.0]
    assert (oracle.corrects, oracle.wants_predictions, oracle.simulated) == (True, True, False)
    assert [oracle.annotator, oracle.annotator_of(4), oracle.annotator_of(5)] == ["office", "ben", "anna"]
    oracle.check()
    oracle.acknowledge()
    assert office.calls == ["check", "acknowledge"]
    flips = NoisyOracle(office, flip=0.1, classes=3)
    assert (flips.annotator, flips.annotator_of(4)) == ("noisy", "noisy")
    plain = NoisyOracle(Answering(int))
    assert (plain.cost(0), plain.corrects, plain.wants_predictions) == (1.0, False, False)


def test_prices_of_its_own_go_before_those_of_the_other_oracle():
    assert [NoisyOracle(Office(), price={4: 9.0}).cost(i) for i in (4, 5, 6)] == [9.0, 3.0, 0.5]
    assert [NoisyOracle(Office(), price=[7.0, 8.0]).cost(i) for i in (0, 1)] == [7.0, 8.0]
    assert NoisyOracle(Office(), price=0).cost(5) == 0.0


def test_answers_that_are_held_back_are_not_acknowledged():
    office = Office()
    oracle = NoisyOracle(office, delay=1)
    oracle.request([4])
    assert oracle.poll() == {}
    oracle.acknowledge()
    assert office.calls == []
    assert oracle.poll() == {4: 1}
    oracle.acknowledge()
    assert office.calls == ["acknowledge"]


def test_the_other_oracle_is_asked_for_all_that_is_pending_each_time():
    office = Office()
    oracle = NoisyOracle(office)
    office.is_there = False
    with pytest.raises(Unreachable):
        oracle.request([4])
    office.is_there = True
    for pending in ([4], [4, 5]):
        oracle.request(pending)
        assert office.asked == pending
    assert oracle.poll() == {4: 1, 5: 2}


class Segments(ClassificationTask):
    """Classes of pixels."""

    def encode_label(self, label):
        return label.tolist() if isinstance(label, torch.Tensor) else label


class Detection(ClassificationTask):
    """Boxes of an image and their classes."""

    annotation_kind = "boxes"

    def encode_label(self, label):
        return {name: part.tolist() for name, part in label.items()}


BOXES = {"boxes": torch.zeros(1, 4), "labels": torch.ones(1, dtype=torch.long)}


@pytest.mark.parametrize(
    ("task", "target", "classes", "message"),
    [
        (MultiLabelTask(), torch.tensor([0.0, 1.0]), 2, r"labels of `MultiLabelTask` are others, such as \[0, 1\]"),
        (MultiLabelTask(), None, 2, r"labels of `MultiLabelTask` are others\. Leave `flip` out"),
        (RegressionTask(), torch.tensor(2.0), 3, r"labels of `RegressionTask` are others, such as 2\.0"),
        (RegressionTask(), torch.tensor([2.0, 3.0]), 3, r"such as \[2\.0, 3\.0\]"),
        (Segments(), torch.zeros(2, 2, dtype=torch.long), 3, r"labels of `Segments` are others"),
        (Detection(), BOXES, 3, r"labels of `Detection` are others.*an `Oracle` of your own"),
        (BinaryTask(), torch.tensor(1.0), 3, r"`NoisyOracle\(classes=3\)` .* `BinaryTask` has 2"),
    ],
)
def test_labels_that_cannot_be_flipped_are_refused_at_once(task, target, classes, message):
    oracle = NoisyOracle(flip=0.5, classes=classes)
    oracle.bind([(torch.zeros(1), target)], task)
    with pytest.raises(ValueError, match=message):
        oracle.check()
    others = NoisyOracle(abstain=0.5)
    others.bind([(torch.zeros(1), target)], task)
    others.check()


@pytest.mark.parametrize(
    ("task", "target", "flipped"),
    [
        (BinaryTask(), torch.tensor([1.0]), 0),
        (BinaryTask(), True, 0),
        (ClassificationTask(), torch.tensor(0), 1),
        (ClassificationTask(), np.int64(1), 0),
        (ClassificationTask(), 0, 1),
    ],
)
def test_classes_are_flipped_in_any_type(task, target, flipped):
    oracle = NoisyOracle(flip=1.0, classes=2)
    oracle.bind([(torch.zeros(1), target)], task)
    oracle.check()
    assert answers(oracle, [0]) == {0: flipped}


@pytest.mark.parametrize("label", ["cat", [0, 1], torch.zeros(3), None])
def test_a_label_that_cannot_be_flipped_is_named(label):
    oracle = NoisyOracle(Answering(lambda i: label), flip=1.0, classes=3)
    with pytest.raises(TypeError, match="the label of dataset index 6 is none"):
        answers(oracle, [6])


class MultiHot(Data):
    def setup(self, stage):
        super().setup(stage)
        x, y = self.train.tensors
        self.train = TensorDataset(x, torch.eye(3)[y])


def test_nothing_is_written_where_labels_cannot_be_flipped(tmp_path):
    loop = ActiveLearningLoop(
        Net(),
        MultiHot(),
        initial=6,
        query_size=4,
        task=MultiLabelTask(),
        oracle=NoisyOracle(flip=0.5, classes=3),
        dirpath=tmp_path,
    )
    with pytest.raises(ValueError, match=r"`NoisyOracle\(flip=0\.5\)` makes one class index another, .* such as \["):
        loop.run(make_trainer(tmp_path, acquisition=Entropy()))
    assert not Campaign.exists(tmp_path)


def test_labels_cost_what_the_other_oracle_says(tmp_path):
    _, history = campaign(tmp_path, NoisyOracle(Office(), abstain=0.0), rounds=0, initial=[0, 1, 2, 3])
    assert history[-1].spent == 7.0


# ------------------------------------------------------------------------------------------------------- in a campaign


def test_noise_reaches_training_and_the_ledger(tmp_path):
    loop, _ = campaign(tmp_path, NoisyOracle(flip=1.0, classes=3), rounds=2)
    _, y = make_data()
    told = Campaign.load(tmp_path).labels
    assert len(told) == 16
    assert all(label != int(y[i]) for i, label in told.items())
    [(_, targets)] = [(torch.cat(x), torch.cat(t)) for x, t in [zip(*loop.datamodule.train_dataloader(), strict=True)]]
    assert sorted(targets.tolist()) == sorted(told.values())


def test_abstentions_are_skipped_and_cost_nothing(tmp_path):
    loop, history = campaign(tmp_path, NoisyOracle(abstain=0.4), budget=30)
    assert len(loop.pool.skipped) > 0
    assert history[-1].labelled == history[-1].spent == 30


def test_late_answers_keep_the_campaign_waiting(tmp_path):
    oracle = NoisyOracle(delay=1)
    loop, history = campaign(tmp_path, oracle, rounds=1)
    assert (loop.status, history) == ("waiting", [])
    trainer = make_trainer(tmp_path, acquisition=Entropy(), max_epochs=1)
    seen = []
    while loop.status == "waiting":
        seen.append(len(loop.run(trainer, resume=True)))
    assert loop.status == "finished"
    assert picks(loop.history) == picks(campaign(tmp_path / "prompt", None, rounds=1)[1])
    assert len(seen) > 1


def test_what_labels_cost_is_there_after_a_resume(tmp_path):
    whole = campaign(tmp_path / "whole", NoisyOracle(price=PRICES), budget=70, initial=[0, 1, 2, 3])[1]
    options = {"budget": 70, "initial": [0, 1, 2, 3]}
    campaign(tmp_path / "part", NoisyOracle(price=PRICES), rounds=1, **options)
    loop, resumed = campaign(tmp_path / "part", NoisyOracle(price=PRICES), resume=True, **options)
    assert picks(resumed) == picks(whole)
    assert [r.spent for r in resumed] == [r.spent for r in whole]
    assert Campaign.load(tmp_path / "part").pool.spent == loop.pool.spent


def test_a_list_of_prices_has_one_for_each_sample(tmp_path):
    with pytest.raises(ValueError, match="`price` lists 20 prices, but there are 60 samples to ask for"):
        campaign(tmp_path, NoisyOracle(price=[1.0] * 20))
    assert not Campaign.exists(tmp_path)


def test_late_answers_would_never_come_from_copies(tmp_path):
    loop = ActiveLearningLoop(
        Net(), Data(), initial=6, query_size=4, oracle=NoisyOracle(delay=1), dirpath=tmp_path / "campaign"
    )
    with pytest.raises(ValueError, match=r"`NoisyOracle\(delay=1\)` counts in memory"):
        loop.run(make_trainer(tmp_path, devices=2, strategy=DDPStrategy(start_method="fork")))


def test_whose_labels_they_are():
    own, other = TensorDataset(*make_data()), TensorDataset(*make_data())
    task = ClassificationTask()
    of_each = [
        (DatasetOracle(), "dataset"),
        (DatasetOracle(own, task), "dataset"),
        (DatasetOracle(other, task), "another dataset"),
        (NoisyOracle(abstain=0.5, price=2.0), "dataset"),
        (NoisyOracle(DatasetOracle(other, task)), "another dataset"),
        (NoisyOracle(flip=0.1, classes=3), "noisy"),
    ]
    for oracle, annotator in of_each:
        oracle.bind(own, task)
        assert oracle.annotator == annotator


def test_the_loops_dataset_and_task_of_each_launch():
    oracle, last = DatasetOracle(), ClassificationTask(target=-1)
    for data, task, label in (([("a", 1)], ClassificationTask(), 1), ([("a", 2)], last, 2), ([("a", 2, 3)], last, 3)):
        oracle.bind(data, task)
        oracle.request([0])
        assert oracle.poll() == {0: label}
        assert (oracle.annotator, oracle.truth) == ("dataset", None)
