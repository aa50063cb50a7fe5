"""What cannot be scored, and the error that it gets before anything is."""

import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, Subset, TensorDataset

from lightning_al import ClassificationTask
from lightning_al.acquisition import (
    VAAL,
    CoreGCN,
    Entropy,
    ProbCover,
    QueryByCommittee,
)
from tests.helpers.projects import SIZE, make_trainer
from tests.helpers.scene import encoder
from tests.helpers.scored import BARE, Never, X, scored


class Stream(IterableDataset):
    def __iter__(self):
        return iter(X)


def backwards(samples):
    return [torch.stack(sorted((sample[0] for sample in samples), key=lambda x: float(x[0])))]


REFUSED = {
    "a committee": ({"acquisition": QueryByCommittee(), "labelled": [1]}, "needs further fits of the model"),
    "snapshots": ({"acquisition": QueryByCommittee(source="snapshots")}, "needs snapshots of the model's fit"),
    "nothing to learn from": ({"acquisition": VAAL()}, r"`VAAL` learns from labelled samples.*`labelled=`"),
    "an empty list to learn from": ({"acquisition": CoreGCN(), "labelled": []}, "`CoreGCN` learns from labelled"),
    "the number of classes": ({"acquisition": ProbCover(encoder=encoder()), "task": "mute"}, "the number of classes"),
    "too many": ({"k": 61}, "`k=61` is more than the 60 samples"),
    "more than is left": ({"k": 58, "labelled": [1, 2, 3]}, "`k=58` is more than the 57 samples"),
    "all are labelled": ({"labelled": list(range(SIZE))}, "there is none to score"),
    "an index outside": ({"labelled": [60]}, "between 0 and 59"),
    "none at all": ({"dataset": Subset(BARE, [])}, "no sample to score"),
    "a stream": ({"dataset": Stream()}, "each must carry a key, and this one carries none: a Tensor"),
    "a stream's loader": ({"dataset": DataLoader(Stream(), batch_size=2)}, "each must carry a key"),
    "several loaders": (
        {"dataset": [DataLoader(BARE), DataLoader(BARE)]},
        "`dataset` must be a dataset, a `DataLoader` or",
    ),
    "no dataset": ({"dataset": 3}, "`dataset` must be a dataset, a `DataLoader` or"),
    "a part by a sampler": (
        {"dataset": DataLoader(BARE, sampler=torch.utils.data.SubsetRandomSampler([1, 2]))},
        "draws 2 of 60 samples",
    ),
    "a class": ({"acquisition": Entropy}, "`acquisition` must be an acquisition"),
    "no training set": ({"labelled": True}, "`labelled=True` is the training set of a datamodule"),
    "a limit": ({"limit_predict_batches": 3}, r"`limit_predict_batches=3` would silently hide.*Subset"),
    "a quick try": ({"fast_dev_run": True}, "`fast_dev_run` hides most"),
    "several": ({"k": 0, "seed": -1, "batch_size": "4"}, "3 things cannot be as they are"),
    "another's batches": ({"dataset": DataLoader(BARE, batch_size=9, collate_fn=backwards)}, "The loader's collate"),
    "the wrong inputs": ({"dataset": TensorDataset(X[:, :3])}, "The model failed on what `ClassificationTask` takes"),
}


class Mute(ClassificationTask):
    num_classes = None


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_scored(tmp_path, name):
    options, said = REFUSED[name]
    options = dict(options)
    limits = {key: options.pop(key) for key in ("limit_predict_batches", "fast_dev_run") if key in options}
    if options.get("task") == "mute":
        options["task"] = Mute()
    options = {"acquisition": Never(), **options, "trainer": make_trainer(tmp_path, **limits)}
    if name in ("the wrong inputs", "the number of classes"):
        options["acquisition"] = options["acquisition"] if "task" in options else Entropy()
    with pytest.raises((ValueError, TypeError, IndexError), match=said):
        scored(tmp_path, options.pop("acquisition"), **options)
