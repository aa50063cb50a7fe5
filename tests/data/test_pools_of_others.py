"""Datasets of other libraries as pools: memory-mapped tables, and streams that give samples by index."""

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import lightning_al
from lightning_al import ActiveLearningLoop, ClassificationTask
from lightning_al.acquisition import Entropy
from tests.helpers.projects import SIZE, Data, Net, make_data, make_trainer, picks
from tests.helpers.scored import X, Y, scored

TASK = {"inputs": "x", "target": "label"}


class Pooled(Data):
    """The small project, of which another dataset has the samples."""

    def __init__(self, train, **loader):
        super().__init__()
        self.samples, self.options = train, loader

    def train_dataloader(self):
        return DataLoader(self.samples, batch_size=4, **self.options)

    def pool_dataset(self):
        return self.samples


class OfDicts(Net):
    def forward(self, x):
        return super().forward(x.double())

    def training_step(self, batch, batch_idx):
        return super().training_step((batch["x"], batch["label"]), batch_idx)


def campaign(folder, data, model=None, **options):
    trainer = make_trainer(folder, acquisition=Entropy(), max_epochs=1)
    options = {"initial": 6, "query_size": 5, "rounds": 2, "dirpath": folder / "c", **options}
    loop = ActiveLearningLoop(model or Net(), data, **options)
    return picks(loop.run(trainer)), loop


@pytest.fixture
def table(tmp_path):
    """A memory-mapped dataset of Hugging Face's."""
    datasets, arrow = pytest.importorskip("datasets"), pytest.importorskip("pyarrow")
    columns = arrow.table({"id": [f"s{i}" for i in range(SIZE)], "x": X.tolist(), "label": Y.tolist()})
    path = str(tmp_path / "table.arrow")
    with arrow.OSFile(path, "wb") as file, arrow.ipc.new_stream(file, columns.schema) as writer:
        writer.write_table(columns)
    mapped = datasets.Dataset(datasets.table.MemoryMappedTable.from_file(path), fingerprint="small")
    return mapped.with_format("torch")


def test_a_memory_mapped_table_is_a_pool(tmp_path, table):
    wanted, _ = campaign(tmp_path / "own", Data())
    data = Pooled(table, shuffle=True, num_workers=2)
    got, loop = campaign(tmp_path, data, OfDicts(), task=ClassificationTask(**TASK))
    assert got == wanted
    assert loop.campaign.labels == {i: int(Y[i]) for i in loop.campaign.labels}
    assert loop.campaign.keys == {i: f"s{i}" for i in loop.campaign.keys}


def test_an_iterable_table_is_a_stream(tmp_path, table):
    options = {"model": OfDicts(), "task": ClassificationTask(**TASK)}
    scores = scored(tmp_path, Entropy(), 5, dataset=table, **options)
    shards = DataLoader(table.to_iterable_dataset(num_shards=4), batch_size=4, num_workers=2)
    best = scored(tmp_path, Entropy(), 5, dataset=shards, **options)
    assert best.key == [scores.key[index] for index in scores.picks]


class ByIndex(IterableDataset):
    """A stream that gives samples by their index too, as LitData's; its length is that of one process's part."""

    def __init__(self, size=SIZE, shuffle=True):
        self.size, self.shuffle = size, shuffle

    def __len__(self):
        return self.size

    def __getitem__(self, index):
        if index >= SIZE:
            raise ValueError("no such sample")
        return X[index], Y[index]

    def __iter__(self):
        raise AssertionError("it is not gone through in its own order")


def test_a_stream_with_indices_is_a_pool(tmp_path):
    wanted, _ = campaign(tmp_path / "own", Data())
    assert campaign(tmp_path, Pooled(ByIndex()))[0] == wanted


@pytest.mark.slow
def test_a_stream_with_indices_in_its_own_order(tmp_path):
    in_order, _ = campaign(tmp_path / "in order", Pooled(TensorDataset(X, Y), shuffle=False))
    assert campaign(tmp_path / "unshuffled", Pooled(ByIndex(shuffle=False)))[0] == in_order
    score = lightning_al.score(Net(), ByIndex(), Entropy(), 4, trainer=make_trainer(tmp_path))
    assert score.picks == scored(tmp_path, Entropy(), 4).picks


@pytest.mark.parametrize("where", ["the training set", "without a campaign", "unlabelled"])
def test_a_part_is_not_taken_for_all(tmp_path, where):
    class Beside(L.LightningDataModule):
        def train_dataloader(self):
            return DataLoader(TensorDataset(*make_data(9)), batch_size=3)

        def val_dataloader(self):
            return self.train_dataloader()

        def unlabelled_dataset(self):
            return ByIndex(30)

    with pytest.raises(ValueError, match="says that it has 30 samples and gives a sample 30 too"):
        if where == "without a campaign":
            scored(tmp_path, Entropy(), dataset=ByIndex(30))
        else:
            campaign(tmp_path, Beside() if where == "unlabelled" else Pooled(ByIndex(30)))


def test_litdata_streams_are_pools(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # where it keeps its cache
    litdata = pytest.importorskip("litdata")
    writer = pytest.importorskip("litdata.streaming.writer").BinaryWriter(str(tmp_path / "chunks"), chunk_size=16)
    for index in range(SIZE):
        writer[index] = (X[index], int(Y[index]))
    writer.done()
    writer.merge()
    stream = litdata.StreamingDataset(str(tmp_path / "chunks"), shuffle=True)
    wanted, _ = campaign(tmp_path / "own", Data())
    assert campaign(tmp_path, Pooled(stream))[0] == wanted
    assert torch.equal(stream[59][0], X[59])
