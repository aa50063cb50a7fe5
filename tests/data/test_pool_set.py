"""The training samples as they are scored: where they come from, and what cannot be they."""

import warnings
from unittest.mock import ANY

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_al import ClassificationTask
from lightning_al.data.pool_set import find_training_samples
from tests.helpers.maps import Maps, MapTask, flipped, mask

TRAIN = TensorDataset(torch.arange(6.0), torch.tensor([0, 1, 2, 0, 1, 2]))
PLAIN = TensorDataset(-torch.arange(6.0), TRAIN.tensors[1])  # inputs may differ: training ones are augmented
OTHER_ORDER = TensorDataset(*(t.flip(0) for t in TRAIN.tensors))

POOL, HIDDEN = Maps(), Maps(hidden=True)


def with_hooks(**hooks):
    data = L.LightningDataModule()
    for name, given in hooks.items():
        setattr(data, name, lambda given=given: given)
    return data


def found(source, **hooks):
    return find_training_samples(with_hooks(**hooks), TRAIN, ClassificationTask(), source=source).pool_set


def test_it_comes_from_where_the_source_says():
    hooks = {"pool_dataset": TRAIN, "predict_dataloader": DataLoader(PLAIN)}
    assert found("auto", **hooks) is TRAIN
    assert found("predict", **hooks) is PLAIN


def test_without_a_hook_it_is_the_training_set():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert found("auto", predict_dataloader=DataLoader(PLAIN)) is TRAIN


@pytest.mark.parametrize(
    ("source", "hooks", "kind", "words"),
    [
        (
            "predict",
            {"pool_dataset": TRAIN},
            ValueError,
            r"needs a `predict_dataloader\(\)`.*LightningDataModule has none",
        ),
        ("predict", {"predict_dataloader": DataLoader(OTHER_ORDER)}, ValueError, "sample 0 has target 0 .* and 2 in"),
        ("predict", {"predict_dataloader": [DataLoader(TRAIN)]}, TypeError, "must be a map-style dataset, .* got None"),
        ("auto", {"pool_dataset": OTHER_ORDER}, ValueError, "other data, or in another order"),
        ("auto", {"pool_dataset": TensorDataset(torch.zeros(5))}, ValueError, "has 5 samples and the training set 6"),
    ],
)
def test_what_is_refused(source, hooks, kind, words):
    with pytest.raises(kind, match=words):
        found(source, **hooks)


@pytest.mark.parametrize(
    ("train", "hooks", "read_from", "trained_on"),
    [
        (Maps(), {"pool_dataset": POOL}, "train", "train"),
        (Maps(flipped), {"pool_dataset": POOL}, "pool", "train"),
        (Maps(flipped), {"pool_dataset": HIDDEN}, "train", "train"),
        (Maps(), {"pool_dataset": POOL, "augment": 1}, "pool", "pool"),
        (Maps(flipped), {"pool_dataset": HIDDEN, "augment": 1}, "train", "pool"),
        (Maps(), {"augment": 1}, "train", "train"),
    ],
)
def test_where_labels_are_read_and_training_begins(train, hooks, read_from, trained_on):
    samples = find_training_samples(with_hooks(**hooks), train, MapTask(), source="auto")
    named = {"train": train, "pool": samples.pool_set}
    assert samples.label_set is named[read_from]
    assert samples.trained_on is named[trained_on]
    assert samples.own_label(3) == (mask(3).tolist() if train.transform is None or read_from == "pool" else ANY)
    assert samples.keeps_target(3) == (read_from == "pool" or train.transform is None)
    renewed = samples.renewed(Maps())
    assert renewed.label_set is (renewed.train_set if read_from == "train" else samples.pool_set)


@pytest.mark.parametrize(
    ("hooks", "dataset", "put_in"),
    [
        ({"pool_dataset": POOL}, "train_set", {1: "told"}),
        ({"pool_dataset": POOL}, "pool_set", {0: "own", 1: "told"}),  # whose targets may be hidden
        ({"pool_dataset": POOL, "augment": 1}, "pool_set", {1: "told"}),
        ({"pool_dataset": HIDDEN, "augment": 1}, "pool_set", {0: "own", 1: "told"}),
        ({"augment": 1}, "pool_set", {1: "told"}),
    ],
)
def test_which_labels_are_put_in(hooks, dataset, put_in):
    samples = find_training_samples(with_hooks(**hooks), Maps(), MapTask(), source="auto")
    assert samples.to_put_in(getattr(samples, dataset), {0: "own", 1: "told"}, {0}) == put_in
