"""What the classes of a dataset are called."""

from types import SimpleNamespace

import numpy as np
import pytest
from torch.utils.data import ConcatDataset, Dataset, StackDataset, Subset

from lightning_al.data.classes import class_names


class Data(Dataset):
    """Ten samples with what a dataset may say of its classes."""

    def __init__(self, **attributes):
        vars(self).update(attributes)

    def __len__(self):
        return 10

    def __getitem__(self, index):
        return index


def feature(*names):
    return SimpleNamespace(names=list(names))


PETS = Data(classes=["cat", "dog"])


@pytest.mark.parametrize(
    ("dataset", "names"),
    [
        (Data(), None),
        (PETS, ["cat", "dog"]),
        (Data(classes=("cat", "dog"), class_to_idx={"cat": 1, "dog": 0}), ["dog", "cat"]),
        (Data(class_to_idx={"dog": 2, "cat": 1}), ["0", "cat", "dog"]),
        # ImageNet: synonyms, each with the index in `class_to_idx`, and names that come twice
        (Data(classes=[("tench", "Tinca"), ("crane",), ("crane",)]), ["tench, Tinca", "crane (1)", "crane (2)"]),
        (Data(class_to_idx={"tench": 0, "Tinca": 0, "crane": 1}), ["tench, Tinca", "crane"]),
        (Data(classes=np.array(["cat", "dog"])), ["cat", "dog"]),
        (Data(classes=[3, 7]), ["3", "7"]),
        # not names: how many, or the class of each sample
        (Data(classes=2), None),
        (Data(classes=["cat", "dog"] * 5), None),
        (Data(classes=[0, 1, 1]), None),
        (Data(classes=[]), None),
        (Data(class_to_idx={"cat": -1}), None),
        (Data(classes=[None, "cat"]), None),
        # Hugging Face
        (Data(features={"text": SimpleNamespace(), "label": feature("neg", "pos")}), ["neg", "pos"]),
        (Data(features={"tags": SimpleNamespace(feature=feature("a", "b"))}), ["a", "b"]),
        (Data(features={"lang": feature("en", "de"), "labels": feature("neg", "pos")}), ["neg", "pos"]),
        (Data(features={"lang": feature("en", "de"), "topic": feature("neg", "pos")}), None),
        # made of others
        (Subset(Subset(PETS, [3, 1]), [1]), ["cat", "dog"]),
        (ConcatDataset([PETS, Subset(PETS, [0])]), ["cat", "dog"]),
        (ConcatDataset([Data(), PETS]), ["cat", "dog"]),
        (ConcatDataset([PETS, Data(classes=["cat", "dog", "fox"])]), None),
        (StackDataset(Data(), PETS), ["cat", "dog"]),
        (StackDataset(image=PETS, label=Data()), ["cat", "dog"]),
    ],
)
def test_where_names_are_found(dataset, names):
    assert class_names(dataset) == names
