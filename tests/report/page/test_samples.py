import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lightning_al import Campaign, ClassificationTask, DatasetOracle, RegressionTask
from lightning_al.oracle.truth import Truth
from lightning_al.report import write_html
from lightning_al.report.page.samples import PoolSamples, open_samples
from tests.helpers.ledger import begin, fitted, record
from tests.helpers.pages import page_of


class Images(Dataset):
    """Four files, each of one brightness, listed in an order that may change."""

    classes = ["dark", "light"]

    def __init__(self, names=("a.png", "b.png", "c.png", "d.png"), broken=()):
        self.paths, self.broken = list(names), broken

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        name = self.paths[index]
        if name in self.broken:
            raise OSError("truncated")
        return torch.full((1, 8, 8), "abcd".index(name[0]) / 4), int(name > "b.png")


class Data(pl.LightningDataModule):
    def __init__(self, dataset):
        super().__init__()
        self.dataset = dataset

    def train_dataloader(self):
        return DataLoader(self.dataset, batch_size=2)

    def pool_dataset(self):
        return self.dataset


def a_campaign(folder, keys, kind="class", annotator="dataset"):
    campaign = begin(folder, size=4)
    campaign.apply(campaign.write("named", annotations={"kind": kind, "classes": ["dark", "light"]}))
    indices = list(range(len(keys)))
    record(campaign, "asked", round=-1, indices=indices, keys=keys, scores=[], seconds={})
    record(campaign, "answered", indices=indices, keys=keys, labels=[0] * len(keys), annotator=annotator)
    fitted(campaign, 0, 0.5)
    return folder


def test_samples_are_found_by_their_names_wherever_they_are_now(tmp_path):
    a_campaign(tmp_path / "x", ["a.png", "d.png"])
    page = page_of(write_html(tmp_path / "x", datamodule=Data(Images(("d.png", "b.png", "a.png", "c.png")))))
    assert [image["alt"] for image in page.images] == ["a.png: dark", "d.png: dark"]
    assert page.images[0]["src"] != page.images[1]["src"]
    again = page_of(write_html(tmp_path / "x", datamodule=Data(Images())))
    assert [image["src"] for image in again.images] == [image["src"] for image in page.images]
    rows = page.tables["class-table"]
    assert rows == [["class", "x", "in the pool"], ["dark", "2", "50.0%"], ["light", "0", "50.0%"]]
    assert "cluster-table" not in page.tables  # a single question has no curve


def test_what_is_no_oracle_is_refused():
    for wrong in (DatasetOracle, "DatasetOracle"):
        with pytest.raises(TypeError, match="`oracle` must be an `Oracle`, as the loop's, got"):
            open_samples(Data(Images()), oracle=wrong).__enter__()


@pytest.mark.parametrize("annotator", ["another dataset", "noisy", "dataset"])
def test_classes_of_the_pool_are_those_that_the_oracle_would_say(tmp_path, annotator):
    a_campaign(tmp_path / "x", ["a.png", "d.png"], annotator=annotator)
    lights = DatasetOracle([(0, 1)] * 3 + [(0, 0)])  # of the samples in their order, while the data say half and half
    data = Data(Images())
    rows = page_of(write_html(tmp_path / "x", datamodule=data, oracle=lights)).tables["class-table"]
    assert rows == [["class", "x", "in the pool"], ["dark", "2", "25.0%"], ["light", "0", "75.0%"]]
    rows = page_of(write_html(tmp_path / "x", datamodule=data)).tables["class-table"]
    assert (rows[0][-1] == "in the pool") == (annotator == "dataset")  # else nobody knows where the labels are


def test_what_people_would_say_is_not_known(tmp_path):
    a_campaign(tmp_path / "x", ["a.png", "d.png"], annotator="ann")
    page = page_of(write_html(tmp_path / "x", datamodule=Data(Images()), oracle=DatasetOracle()))
    assert page.tables["class-table"][0] == ["class", "x"]


def test_groups_with_a_label_are_counted_after_each_question(tmp_path):
    folder = a_campaign(tmp_path / "x", ["a.png", "b.png"])
    campaign = Campaign.load(folder)
    record(campaign, "asked", round=0, indices=[3], keys=["d.png"], scores=[], seconds={})
    record(campaign, "answered", indices=[3], keys=["d.png"], labels=[1], annotator="dataset")
    page = page_of(write_html(folder, datamodule=Data(Images())))
    # Two groups of the four brightnesses, the dark ones and the light ones.
    assert page.tables["cluster-table"] == [
        ["labelled samples", "x, seed 0", "at random, expected"],
        ["2", "50%", "75%"],
        ["3", "100%", "88%"],
    ]


def test_what_is_gone_or_broken_leaves_its_key_and_that_is_said(tmp_path):
    a_campaign(tmp_path / "x", ["a.png", "gone.png", "b.png"])
    page = page_of(write_html(tmp_path / "x", datamodule=Data(Images(broken=["b.png"]))))
    assert [image["alt"] for image in page.images] == ["a.png: dark"]
    assert "2 samples were not found in the data or cannot be read" in page.text
    assert "gone.png" in page.text


def test_data_that_cannot_be_opened_are_no_reason_to_fail(tmp_path):
    class Broken(Data):
        def setup(self, stage):
            raise RuntimeError("no such <disk>. And more.")

    a_campaign(tmp_path / "x", ["a.png"])
    page = page_of(write_html(tmp_path / "x", datamodule=Broken(Images())))
    assert (
        "The data could not be opened: RuntimeError: no such <disk>; keys stand in place of the samples." in page.text
    )
    assert page.images == []


@pytest.mark.parametrize(
    ("sample", "look"),
    [
        (("a fine film", 1), "text"),
        ((torch.rand(5), 1), "values"),
        ((torch.rand(3, 4, 4), 1), "image"),
        (({"pixel_values": torch.rand(3, 4, 4)}, 1), "image"),
        ((torch.rand(1, 2, 64), 1), "image"),  # a signal, drawn
        ((torch.rand(3, 2, 64), 1), "values"),
    ],
)
def test_what_there_is_to_see(sample, look):
    class One(Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            return sample

    with open_samples(Data(One())) as samples:
        seen = samples.look(0)
        assert [name for name in ("text", "values", "image") if getattr(seen, name)] == [look]
        features = samples.features(0)
        assert features is None or np.isfinite(features).all()
        assert samples.own_label(0, ["x", "y"]) == "y"
        elsewhere = PoolSamples(samples._data, ClassificationTask(), Truth([("", 0)], ClassificationTask()))
        assert elsewhere.own_label(0, ["x", "y"]) == "x"


class Bearings(Dataset):
    """Signals of two kinds, in samples that begin with a string: every unit is called otherwise."""

    def __init__(self, **more):
        self.more = more

    def __len__(self):
        return 4

    def sample_key(self, index):
        return f"bearing-{index}"

    def __getitem__(self, index):
        signal = torch.full((2, 64), float(index > 1))
        signal[:, index] += 0.1
        conditions = torch.tensor([0.25, index / 1000])
        return {"unit": f"bearing-{index}", "signal": signal, "conditions": conditions, "rul": 1.0 * index, **self.more}


RUL = RegressionTask(inputs=["signal", "conditions"], target="rul")


@pytest.mark.parametrize("more", [{}, {"note": "a text to read"}])
def test_what_the_model_sees_goes_before_other_entries_of_a_sample(tmp_path, more):
    campaign = begin(tmp_path / "x", size=4)
    campaign.apply(campaign.write("named", annotations={"kind": "number"}))
    for number, index in enumerate((0, 1, 3)):
        key = f"bearing-{index}"
        record(campaign, "asked", round=number - 1, indices=[index], keys=[key], scores=[], seconds={})
        record(campaign, "answered", indices=[index], keys=[key], labels=[1.0 * index], annotator="dataset")
    page = page_of(write_html(tmp_path / "x", datamodule=Data(Bearings(**more)), task=RUL))
    assert [image["alt"] for image in page.images] == ["bearing-0: 0", "bearing-1: 1", "bearing-3: 3"]
    assert page.captions == ["0bearing-0", "1bearing-1", "3bearing-3"]  # and no card says a name twice
    assert [row[1] for row in page.tables["cluster-table"][1:]] == ["50%", "50%", "100%"]
    assert "into 2 groups by k-means, by the numbers of signal , conditions , and not by" in page.text


@pytest.mark.parametrize(
    ("sample", "task", "looks", "words"),
    [
        # Tokens are no sight: the text that they were made of is, but no name of the sample.
        ({"id": "key-0", "text": "a b", "ids": torch.tensor([3, 4]), "y": 1}, "ids", "text", "the words of `text`"),
        ({"id": "key-0", "ids": torch.tensor([3, 4]), "y": 1}, "ids", "values", "the numbers of `ids`"),
        ({"id": "key-0", "ids": [3, 4], "y": 1}, "ids", "values", "the numbers of `ids`"),
        ({"site": "north", "x": torch.tensor([0.5, 4.0]), "y": 1}, "x", "values", "the numbers of `x`"),
        ({"site": "north", "x": 0.5, "z": 2, "y": 1}, ["x", "z"], "values", "the numbers of `x`, `z`"),
        ({"title": "no", "body": "yes", "y": 1}, "body", "text", "the words of `body`"),
        (
            {"x": torch.rand(2), "i": torch.rand(3, 9, 9), "y": 1},
            ["x", "i"],
            "image",
            "the pixels of tiny pictures of `i`",
        ),
    ],
)
def test_how_samples_are_compared_is_said(sample, task, looks, words):
    class Ones(Dataset):
        def __len__(self):
            return 4

        def sample_key(self, index):
            return f"key-{index}"

        def __getitem__(self, index):
            return sample

    with open_samples(Data(Ones()), task=ClassificationTask(inputs=task, target="y")) as samples:
        seen = samples.look(0)
        assert [name for name in ("text", "values", "image") if getattr(seen, name)] == [looks]
        assert samples.features(0) is not None
        assert samples.compared_by == {words}
        assert "key-0" not in (seen.text or "")


def test_several_numbers_are_called_by_their_entries():
    sample = {"speed": 2.5, "load": torch.tensor([1.0, 0.5]), "y": 1}
    with open_samples(Data([sample] * 4), task=ClassificationTask(inputs=["speed", "load"], target="y")) as samples:
        assert samples.look(0).values == [("speed", "2.5"), ("load 0", "1"), ("load 1", "0.5")]
        assert samples.features(0).tolist() == [2.5, 1.0, 0.5]


def test_samples_without_a_name_are_found_by_what_is_in_them():
    rows = torch.arange(4.0)[:, None]
    with open_samples(Data(TensorDataset(rows, torch.zeros(4, dtype=torch.long)))) as samples:
        key = samples._data.key(2)
        assert key.startswith("sha256:")
        assert samples.place(2, key) == 2
        assert samples.place(1, key) is None
        assert samples.place(9, None) is None
        assert samples.place(1, None) == 1
