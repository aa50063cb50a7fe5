"""The training samples as they are scored: where they come from, and what cannot be they."""

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from lightning_al import ClassificationTask
from lightning_al.data.pool_set import find_pool_set

TRAIN = TensorDataset(torch.arange(6.0), torch.tensor([0, 1, 2, 0, 1, 2]))
PLAIN = TensorDataset(-torch.arange(6.0), TRAIN.tensors[1])  # inputs may differ: training ones are augmented
OTHER_ORDER = TensorDataset(*(t.flip(0) for t in TRAIN.tensors))


def with_hooks(**hooks):
    data = L.LightningDataModule()
    for name, given in hooks.items():
        setattr(data, name, lambda given=given: given)
    return data


def found(source, **hooks):
    return find_pool_set(with_hooks(**hooks), TRAIN, ClassificationTask(), source=source)


def test_it_comes_from_where_the_source_says():
    hooks = {"pool_dataset": TRAIN, "predict_dataloader": DataLoader(PLAIN)}
    assert found("auto", **hooks) is TRAIN
    assert found("predict", **hooks) is PLAIN


def test_without_a_hook_it_is_the_training_set_with_a_warning():
    with pytest.warns(UserWarning, match=r"LightningDataModule has no `pool_dataset\(\)`.*random augmentation"):
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
        ("predict", {"predict_dataloader": [DataLoader(TRAIN)]}, TypeError, "one map-style dataset, got NoneType"),
        ("auto", {"pool_dataset": OTHER_ORDER}, ValueError, "other data, or in another order"),
        ("auto", {"pool_dataset": TensorDataset(torch.zeros(5))}, ValueError, "has 5 samples and the training set 6"),
    ],
)
def test_what_is_refused(source, hooks, kind, words):
    with pytest.raises(kind, match=words):
        found(source, **hooks)
