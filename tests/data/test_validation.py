"""Checks of the user's data, each by itself."""

import random

import pytest
import torch
from torch.utils.data import DataLoader, Subset, TensorDataset

from lightning_al import ClassificationTask
from lightning_al.data import validation
from lightning_al.data.template import Epoch
from tests.helpers.maps import Maps, MapTask, flipped
from tests.helpers.projects import make_data, make_trainer

TASK = ClassificationTask()
X, Y = make_data(40)
TRAIN = TensorDataset(X, Y)
INPUTS = list(X)


@pytest.mark.parametrize("n", [0, 1, 2, 15, 16, 17, 1000])
def test_a_few_indices_from_all_over(n):
    rows = validation.spread_over(n)
    assert rows == sorted(set(rows))
    assert len(rows) == min(n, 16)
    assert set(rows) >= ({0, n - 1} if n else set())


def same_targets(pool_set, **options):
    validation.check_same_targets(pool_set, TRAIN, TASK, where="pool_dataset()", **options)


@pytest.mark.parametrize("pool_set", [TRAIN, TensorDataset(X + 1, Y)])
@pytest.mark.parametrize("may_be_hidden", [True, False])
def test_a_pool_with_the_targets_of_the_training_set(pool_set, may_be_hidden):
    same_targets(pool_set, may_be_hidden=may_be_hidden)


@pytest.mark.parametrize("may_be_hidden", [True, False])
def test_a_pool_in_another_order(may_be_hidden):
    with pytest.raises(ValueError, match=r"`pool_dataset\(\)`: sample .* in another order"):
        same_targets(TensorDataset(X.flip(0), Y.flip(0)), may_be_hidden=may_be_hidden)


@pytest.mark.parametrize(
    ("pool_set", "words"),
    [(TensorDataset(X, torch.zeros_like(Y)), "in another order"), (INPUTS, "no targets that could be compared")],
)
def test_hidden_targets_are_refused_of_a_predict_set_alone(pool_set, words):
    same_targets(pool_set)
    with pytest.raises(ValueError, match=words):
        same_targets(pool_set, may_be_hidden=False)


@pytest.mark.parametrize(
    ("now", "fixed"),
    [
        (TRAIN, True),
        (TensorDataset(X.clone(), Y.clone()), True),
        (TensorDataset(X[:30], Y[:30]), False),
        (TensorDataset(X.flip(0), Y.flip(0)), False),
    ],
)
def test_a_split_by_rows(now, fixed):
    check_split(TRAIN, now, fixed)


@pytest.mark.parametrize(("indices", "fixed"), [([1, 5, 7], True), ([1, 7, 5], False), ([1, 5], False)])
def test_a_split_by_indices_in_nested_subsets(indices, fixed):
    outer = Subset(TRAIN, list(range(20)))
    check_split(Subset(outer, [1, 5, 7]), Subset(Subset(TRAIN, list(range(20))), indices), fixed)


def check_split(before, now, fixed):
    if fixed:
        validation.check_split_is_fixed(before, now, TASK, hook="setup('validate')", owner="Mine")
        return
    with pytest.raises(ValueError, match=r"`setup\('validate'\)` of Mine drew another training set"):
        validation.check_split_is_fixed(before, now, TASK, hook="setup('validate')", owner="Mine")


OWN_DRAWS = random.Random(0)


def jittered(sample):
    """With random numbers of its own, and never the mask that there was."""
    return sample[0], sample[1] + OWN_DRAWS.randint(1, 1000)


def rarely(sample):
    return flipped(sample) if random.random() < 0.1 else sample


@pytest.mark.parametrize("transform", [None, flipped, jittered])
def test_a_split_of_augmented_samples(transform):
    """Both are drawn with the same random numbers; where a dataset has its own, there is nothing to compare."""
    for first, fixed in ((0, True), (5, False)):
        options = {"hook": "setup('validate')", "owner": "Mine"}
        if fixed or transform is jittered:
            validation.check_split_is_fixed(Maps(transform), Maps(transform, first=first), MapTask(), **options)
            continue
        with pytest.raises(ValueError, match="drew another training set"):
            validation.check_split_is_fixed(Maps(transform), Maps(transform, first=first), MapTask(), **options)


@pytest.mark.parametrize(
    ("transform", "kind"), [(None, "same"), (flipped, "augmented"), (jittered, "augmented"), (rarely, "augmented")]
)
def test_a_pool_beside_augmented_samples(transform, kind):
    options = {"where": "pool_dataset()"}
    assert validation.check_same_targets(Maps(), Maps(transform), MapTask(), **options) in (kind, "same")
    hidden = Maps(hidden=True)
    assert validation.check_same_targets(hidden, Maps(transform), MapTask(), **options) == "hidden"
    if transform is None:
        with pytest.raises(ValueError, match=r"`pool_dataset\(\)`: sample \d+ has target \[\[.*other order") as error:
            validation.check_same_targets(Maps(first=5), Maps(transform), MapTask(), **options)
        assert len(str(error.value)) < 400


def test_a_pool_that_moves_targets_is_told_from_other_data():
    with pytest.raises(ValueError, match=r"`pool_dataset\(\)` augments input and target together: .* sample \d+ is"):
        validation.check_same_targets(Maps(flipped), Maps(), MapTask(), where="pool_dataset()")


def test_a_predict_set_must_have_some_of_the_targets_of_augmented_samples():
    options = {"where": "predict_dataloader()", "may_be_hidden": False}
    assert validation.check_same_targets(Maps(), Maps(flipped), MapTask(), **options) == "augmented"
    for transform, first in ((flipped, 5), (jittered, 0)):
        with pytest.raises(ValueError, match="has none of the targets of the training set, which augments them"):
            validation.check_same_targets(Maps(first=first), Maps(transform), MapTask(), **options)


def test_missing_values_are_the_same_missing_values():
    class Many(MapTask):
        def targets(self, sample):
            return sample[1]

    y = torch.randn(40, 2)
    y[::2, 0] = torch.nan
    data = TensorDataset(torch.zeros(40, 1), y)
    assert validation.check_same_targets(data, TensorDataset(*data.tensors), Many(), where="") == "same"
    options = {"hook": "setup('validate')", "owner": "Mine"}
    validation.check_split_is_fixed(data, TensorDataset(*data.tensors), Many(), **options)


@pytest.mark.parametrize("loaders", [None, [], [DataLoader(TRAIN), None], DataLoader(TensorDataset(X[:0]))])
def test_nothing_to_evaluate(loaders):
    with pytest.raises(ValueError, match=r"`val_dataloader\(\)` of Mine gives no batch.*`evaluate=None`"):
        validation.check_evaluated(loaders, hook="val_dataloader", owner="Mine")


@pytest.mark.parametrize("loaders", [DataLoader(TRAIN), [DataLoader(TRAIN), DataLoader(INPUTS)], [[X, Y]]])
def test_something_to_evaluate(loaders):
    validation.check_evaluated(loaders, hook="val_dataloader", owner="Mine")


def epoch(labels, num_replicas=1, batch_size=4, drop_last=False):
    return Epoch(labels, num_replicas, batch_size, drop_last)


def test_all_labels_in_a_batch_that_is_dropped():
    validation.check_drop_last(epoch(8, num_replicas=2, drop_last=True))
    validation.check_drop_last(epoch(3))
    with pytest.raises(ValueError, match=r"batch size 4.*6 labels give 3 per process.*at least 8 labels"):
        validation.check_drop_last(epoch(6, num_replicas=2, drop_last=True))


def test_limits_and_intervals_beside_the_batches_of_an_epoch(tmp_path):
    trainer = make_trainer(tmp_path, limit_train_batches=0.4, val_check_interval=3)
    validation.check_train_limit(trainer, epoch(12))
    validation.check_validation_interval(trainer, epoch(12))
    with pytest.raises(ValueError, match=r"limit_train_batches=0.4` of the 2 batches that 8 labels give is none"):
        validation.check_train_limit(trainer, epoch(8))
    with pytest.raises(ValueError, match=r"val_check_interval=3` is more than the 2 batch.* that 8 labels give"):
        validation.check_validation_interval(trainer, epoch(8))


def test_one_sample_and_batch_norm():
    validation.check_batch_norm(epoch(2))
    with pytest.raises(ValueError, match=r"2 labelled sample\(s\) give one per process"):
        validation.check_batch_norm(epoch(2, num_replicas=2))
