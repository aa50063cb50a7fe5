"""Wrong data: datasets and datamodules."""

from typing import Any

import lightning as L
import numpy as np
import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    SequentialSampler,
    SubsetRandomSampler,
    TensorDataset,
    WeightedRandomSampler,
    default_collate,
    random_split,
)

from lightning_al.acquisition import Random
from tests.helpers.projects import SIZE, Data, make_data
from tests.reliability.wrong import Row


class Rows(Dataset):
    """The samples of the project, changed by a function of sample and index; as many as are said."""

    def __init__(self, change: Any = lambda sample, index: sample, said: int = SIZE) -> None:
        self.change, self.said = change, said
        self.x, self.y = make_data()

    def __len__(self) -> int:
        return self.said

    def __getitem__(self, index: int) -> Any:
        return self.change((self.x[index], self.y[index]), index)


class Stream(IterableDataset):
    def __iter__(self):
        yield torch.zeros(4), 0


class NoLength(Dataset):
    def __getitem__(self, index: int) -> Any:
        return torch.zeros(4), 0


class TrainsOn(Data):
    """The project's datamodule with another training set."""

    def __init__(self, dataset: Any, **loader: Any) -> None:
        super().__init__(**loader)
        self.given = dataset

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self.train = self.given


class AddsNoise(TrainsOn):
    """Inputs are others each time they are read."""

    def __init__(self) -> None:
        super().__init__(Rows(lambda sample, index: (sample[0] + torch.randn(4).double(), sample[1])))


def labelled_with(make: Any) -> TrainsOn:
    """A data set whose labels are what ``make`` makes of an index."""
    return TrainsOn(Rows(lambda sample, index: (sample[0], make(index))))


DATASETS = [
    ("iterable", lambda: TrainsOn(Stream(), shuffle=False), TypeError, "iterable .Stream.*Use a map-style dataset"),
    ("no length", lambda: TrainsOn(NoLength(), shuffle=False), TypeError, "NoLength.*`__len__`"),
    ("no length, shuffled", lambda: TrainsOn(NoLength()), TypeError, "NoLength.*`__len__`|has no len"),
    ("says it is longer", lambda: TrainsOn(Rows(said=70)), IndexError, "70 samples.*sample 69"),
    ("empty", lambda: TrainsOn(Rows(said=0), shuffle=False), ValueError, "empty|has 0"),
    (
        "no labels",
        lambda: TrainsOn(TensorDataset(make_data()[0])),
        TypeError,
        "entry 1 .*got a tuple of 1.*task=",
    ),
    ("inputs only", lambda: TrainsOn(make_data()[0]), TypeError, "looks for entry 1 .*got a Tensor.*`task=`"),
    ("dicts", lambda: TrainsOn(Rows(lambda s, i: {"x": s[0], "y": s[1]})), TypeError, "got a dict.*`task=`"),
    ("None for samples", lambda: TrainsOn(Rows(lambda s, i: None)), TypeError, "got a NoneType.*`task=`"),
    ("float targets", lambda: labelled_with(lambda i: 0.5), TypeError, r"class indices .*got 0.5 \(float\).*`task=`"),
    ("float tensors", lambda: labelled_with(lambda i: torch.tensor(1.0)), TypeError, "got a torch.float32 tensor"),
    ("numpy floats", lambda: labelled_with(lambda i: np.float32(1)), TypeError, r"got .*1.0.*float32.*`task=`"),
    ("multi-hot", lambda: labelled_with(lambda i: torch.tensor([0, 1])), TypeError, r"shape \(2,\).*`task=`"),
    ("soft", lambda: labelled_with(lambda i: torch.tensor([0.5, 0.5])), TypeError, "torch.float32 tensor.*`task=`"),
    ("strings", lambda: labelled_with(lambda i: "cat"), TypeError, r"got 'cat' \(str\).*`task=`"),
    ("None", lambda: labelled_with(lambda i: None), TypeError, r"None is no label.*`oracle=AwaitTell\(\)`.*`task=`"),
    ("dict of targets", lambda: labelled_with(lambda i: {"y": 1}), TypeError, r"\(dict\).*`task=`"),
    ("boxes", lambda: labelled_with(lambda i: torch.zeros(2, 4)), TypeError, r"shape \(2, 4\).*`task=`"),
    ("negative", lambda: labelled_with(lambda i: -1), TypeError, "at least 0.*got -1"),
    ("more classes than the model", lambda: labelled_with(lambda i: 7), TypeError, "below 3, .*got 7"),
]


class Loads(Data):
    """The project's datamodule with another train loader."""

    def __init__(self, make: Any) -> None:
        super().__init__()
        self.make = make

    def train_dataloader(self) -> Any:
        return self.make(self.train)


class Pooled(Data):
    """The project's datamodule with another pool."""

    def __init__(self, pool: Any) -> None:
        super().__init__()
        self.given = pool

    def pool_dataset(self) -> Any:
        return self.given


class Predicts(Data):
    """The project's datamodule with a predict loader."""

    def __init__(self, *tensors: torch.Tensor) -> None:
        super().__init__()
        self.predicted = TensorDataset(*tensors)

    def predict_dataloader(self) -> Any:
        return DataLoader(self.predicted, batch_size=4)


class NoTrain(L.LightningDataModule):
    def val_dataloader(self) -> Any:
        return DataLoader(TensorDataset(*make_data()))


class NoVal(L.LightningDataModule):
    def train_dataloader(self) -> Any:
        return DataLoader(TensorDataset(*make_data()))


class Grows(Data):
    """Reads what is in a folder that another process writes into."""

    def setup(self, stage: str) -> None:
        super().setup(stage)
        self.train = TensorDataset(*make_data(self.n + len(self.calls)))


class Resplits(Data):
    def setup(self, stage: str) -> None:
        super().setup(stage)
        self.train, self.held_out = random_split(self.train, [40, 20])


class EmptyVal(Data):
    def val_dataloader(self) -> Any:
        return DataLoader(TensorDataset(*make_data(0)))


class MyBatches(BatchSampler):
    pass


class Weighted(DistributedSampler):
    pass


def _inputs_only(samples: Any) -> Any:
    return default_collate(samples)[0]


def _first_sample(samples: Any) -> Any:
    return default_collate(samples[:1])


X, Y = make_data()

DATAMODULES: list[tuple[str, Any, dict[str, Any], type[Exception], str]] = [
    ("no train loader", NoTrain, {}, ValueError, "NoTrain has no `train_dataloader.*Give the loop"),
    ("no val loader", NoVal, {}, ValueError, r"needs a `val_dataloader\(\)`, which NoVal .*`evaluate=None`"),
    ("an empty val loader", EmptyVal, {}, ValueError, r"`val_dataloader\(\)`.*no batch"),
    (
        "a list of train loaders",
        lambda: Loads(lambda d: [DataLoader(d)]),
        {},
        TypeError,
        r"got list.*say which has .*`pool_loader = \.\.\.`",
    ),
    ("a dict of train loaders", lambda: Loads(lambda d: {"a": DataLoader(d)}), {}, TypeError, "one .*got dict"),
    ("None for a train loader", lambda: Loads(lambda d: None), {}, TypeError, "must return one .*got NoneType"),
    ("a data set for a train loader", lambda: Loads(lambda d: d), {}, TypeError, "one .*got TensorDataset"),
    (
        "batches of its own",
        lambda: Loads(lambda d: DataLoader(d, batch_sampler=MyBatches(SequentialSampler(d), 2, False))),
        {},
        TypeError,
        r"batch sampler of its own .MyBatches.*`sampler_factory\(labelled\)`.*or use `batch_size=`",
    ),
    ("no batches", lambda: Loads(lambda d: DataLoader(d, batch_size=None)), {}, TypeError, "Use `batch_size=`"),
    (
        "weights of other samples",
        lambda: Loads(lambda d: DataLoader(d, sampler=WeightedRandomSampler([1.0] * 50, 60))),
        {},
        ValueError,
        "has 50 weights, and the training set 60 samples",
    ),
    (
        "a part of the dataset",
        lambda: Loads(lambda d: DataLoader(d, sampler=SubsetRandomSampler(range(9)))),
        {},
        TypeError,
        "Subset.dataset, indices.`, with `shuffle=True`",
    ),
    (
        "a sampler like Lightning's",
        lambda: Loads(lambda d: DataLoader(d, sampler=Weighted(d, 1, 0))),
        {},
        TypeError,
        r"sampler of its own .Weighted.*`sampler_factory\(labelled\)`.*or use `shuffle=True`",
    ),
    (
        "drop_last and few labels",
        lambda: Data(batch_size=8, drop_last=True),
        {},
        ValueError,
        "batch size 8.* 6 labels give 6 .* at least 8 labels",
    ),
    (
        "collate drops the targets",
        lambda: Data(collate_fn=_inputs_only),
        {},
        TypeError,
        "`collate_fn` makes batches .*got a Tensor",
    ),
    (
        "collate drops samples",
        lambda: Data(collate_fn=_first_sample),
        {},
        ValueError,
        "1 values? of .* for 2 samples|1 rows? of logits",
    ),
    (
        "pool of another length",
        lambda: Pooled(TensorDataset(X[:59], Y[:59])),
        {},
        ValueError,
        "has 59 samples and the training set 60. Both must hold",
    ),
    (
        "pool in another order",
        lambda: Pooled(TensorDataset(X.flip(0), Y.flip(0))),
        {},
        ValueError,
        r"`pool_dataset\(\)`: sample .* in another order. Return",
    ),
    ("pool that is no data set", lambda: Pooled(3), {}, TypeError, "must be a map-style dataset, .* got 3"),
    ("pool that is iterable", lambda: Pooled(Stream()), {}, TypeError, "must be a map-style dataset, .*Stream"),
    ("pool that is a loader", lambda: Pooled(DataLoader(TensorDataset(X, Y))), {}, TypeError, "got DataLoader"),
    (
        "predict set of other data",
        lambda: Predicts(*make_data(60, seed=5)),
        {"pool": "predict"},
        ValueError,
        r"`predict_dataloader\(\)`: sample .* has target",
    ),
    (
        "predict set without targets",
        lambda: Predicts(X),
        {"pool": "predict"},
        ValueError,
        r"no targets that could be compared.*Define `pool_dataset\(\)`",
    ),
    (
        "no predict set",
        Data,
        {"pool": "predict"},
        ValueError,
        r"needs a `predict_dataloader\(\)`.*Data has none. Define",
    ),
    (
        "no pool set",
        type("Noisy", (AddsNoise,), {"pool_dataset": None}),
        {},
        UserWarning,
        "Noisy has no `pool_dataset.*augments: sample 0 is another each time.*Return the same samples",
    ),
    ("grows between calls", Grows, {}, ValueError, "drew another training set.*Split once"),
    ("split anew", Resplits, {}, ValueError, "drew another training set.*Split once"),
]


ROWS = [
    *(
        Row(f"data set: {name}", error, words, lambda p, make=make: p.run(data=make()))
        for name, make, error, words in DATASETS
    ),
    *(
        Row(f"data set: {name}, Random", error, words, lambda p, make=make: p.run(data=make(), acquisition=Random()))
        for name, make, error, words in DATASETS
        if name != "more classes than the model"  # Random runs no model, so their number is not known
    ),
    *(
        Row(f"datamodule: {name}", error, words, lambda p, make=make, o=options: p.run(data=make(), **o))
        for name, make, options, error, words in DATAMODULES
    ),
]
