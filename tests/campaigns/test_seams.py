"""The six seams of the design, each with a second, small implementation behind it."""

import json

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lightning_al import SKIP, ActiveLearningLoop, Campaign, ClassificationTask, Oracle, Pool, Task
from lightning_al.acquisition import Acquisition, Entropy
from lightning_al.distributed.randomness import derive_seed
from lightning_al.scoring.pool_pass import score_pool
from tests.helpers.projects import Data, Net, make_data, make_trainer, picks


def run(tmp_path, *, model=None, data=None, acquisition=None, resume=False, **options):
    options = {"initial": 6, "query_size": 4, "rounds": 2, "dirpath": tmp_path / "c", **options}
    loop = ActiveLearningLoop(model or Net(), data or Data(), **options)
    return loop, loop.run(make_trainer(tmp_path, acquisition=acquisition), resume=resume)


# 1. Acquisition: own rows, own select, labelled rows


class FarFromLabelled(Acquisition):
    """The candidates farthest from every labelled sample, in logit space."""

    requires = frozenset({"logits", "features"})
    uses_labelled = True

    def rows(self, model, batch):
        inputs = self.task.inputs(batch)
        return {"logits": self.task.logits(model, inputs), "features": self.task.features(model, inputs)}

    def select(self, rows, k, *, labelled_rows, generator):
        assert rows["features"].shape == (len(rows["index"]), 8)
        assert set(labelled_rows) == {"logits", "features", "index"}
        self.seen = (rows["index"].tolist(), labelled_rows["index"].tolist())
        nearest = torch.cdist(rows["logits"], labelled_rows["logits"]).amin(1)
        return nearest.topk(k).indices


def test_an_acquisition_with_its_own_rows_and_select(tmp_path):
    acquisition = FarFromLabelled()
    loop, history = run(tmp_path, acquisition=acquisition)
    assert [len(r.picked) for r in history] == [4, 4, 0]
    assert all(r.scores == [] for r in history)
    candidates, labelled = acquisition.seen
    assert labelled == loop.pool.labelled.tolist()[: len(labelled)]
    assert not set(candidates) & set(labelled)


def test_several_acquisitions_share_one_pass(tmp_path):
    batches = []

    class Counting(Net):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            batches.append(len(batch[0]))
            return batch

    loop, _ = run(tmp_path, rounds=0)
    trainer, model = make_trainer(tmp_path), Counting()
    loop.datamodule.trainer = trainer
    indices = torch.tensor([9, 3, 40, 7, 12])
    sampler = loop.datamodule.pool_pass(indices, 1)
    both = [Entropy(), FarFromLabelled()]
    for acquisition in both:
        acquisition.bind(ClassificationTask(), loop.oracle)
    one, two = score_pool(trainer, model, loop.datamodule, indices, acquisitions=both, sampler=sampler, seed=0)
    assert batches == [4, 1]  # each seen once
    x = make_data()[0][indices]
    torch.testing.assert_close(two["logits"], model.eval()(x).detach())
    assert one["index"].tolist() == two["index"].tolist() == indices.tolist()
    assert len(one["score"]) == 5


# 2. Task: other batches, other targets


class Multilabel(Dataset):
    """Dicts with a file name, an image and two yes-or-no tags."""

    def __init__(self, n=60):
        self.x, y = make_data(n)
        self.tags = torch.stack([y == 0, y == 2], 1).double()
        self.samples = [(f"photo_{i}.jpg", 0) for i in range(n)]

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return {"image": self.x[i], "tags": self.tags[i]}


class TagTask(Task):
    def inputs(self, batch):
        return batch["image"]

    def targets(self, batch):
        return batch["tags"]

    def with_label(self, sample, label):
        return {**sample, "tags": label}

    def logits(self, model, inputs):
        z = model(inputs)
        return torch.stack([torch.zeros_like(z), z], 1)  # (B, 2 classes, tags)

    def decode_label(self, value):
        return torch.tensor(value, dtype=torch.double)


class TagNet(L.LightningModule):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(4, 2).double()

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        return nn.functional.binary_cross_entropy_with_logits(self(batch["image"]), batch["tags"])

    def validation_step(self, batch, batch_idx):
        self.log("val_loss", self.training_step(batch, batch_idx))

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


class TagData(L.LightningDataModule):
    def train_dataloader(self):
        return DataLoader(Multilabel(), batch_size=4, shuffle=True)

    def val_dataloader(self):
        return DataLoader(Multilabel(10), batch_size=4)

    def pool_dataset(self):
        return Multilabel()


def test_a_task_with_other_targets(tmp_path):
    loop, history = run(tmp_path, model=TagNet(), data=TagData(), task=TagTask())
    assert [r.labelled for r in history] == [6, 10, 14]
    ledger = Campaign.load(tmp_path / "c")
    index = history[0].picked[0]
    assert ledger.keys[index] == f"photo_{index}.jpg"
    assert ledger.labels[index] == Multilabel().tags[index].tolist()
    batch = next(iter(loop.datamodule.train_dataloader()))
    assert batch["tags"].dtype == torch.double


def test_a_reordered_data_set_is_known_by_its_keys(tmp_path):
    _, history = run(tmp_path, model=TagNet(), data=TagData(), task=TagTask())

    class Reordered(TagData):
        def train_dataloader(self):
            return DataLoader(self.pool_dataset(), batch_size=4)

        def pool_dataset(self):
            dataset = Multilabel()
            dataset.x, dataset.tags, dataset.samples = dataset.x.flip(0), dataset.tags.flip(0), dataset.samples[::-1]
            return dataset

    loop, same = run(tmp_path, model=TagNet(), data=Reordered(), task=TagTask(), resume=True)
    assert [r.picked for r in same] == [[59 - i for i in r.picked] for r in history]
    assert all(loop.campaign.keys[i] == f"photo_{59 - i}.jpg" for i in loop.pool.labelled.tolist())


# 3. Oracle: answers tomorrow, in part, and may decline


class Tomorrow(Oracle):
    """Writes questions to a file; another day somebody has answered some of them."""

    annotator = "anna"

    def __init__(self, path):
        self.path = path

    def request(self, indices):
        known = json.loads(self.path.read_text()) if self.path.exists() else {}
        self.path.write_text(json.dumps({**{str(i): None for i in indices}, **known}))

    def answer(self, share=1.0, declined=()):
        known = json.loads(self.path.read_text())
        for i in list(known)[: round(len(known) * share)]:
            known[i] = "skip" if int(i) in declined else int(make_data()[1][int(i)])
        self.path.write_text(json.dumps(known))

    def poll(self):
        known = json.loads(self.path.read_text())
        return {int(i): SKIP if a == "skip" else a for i, a in known.items() if a is not None}


def test_an_oracle_that_answers_tomorrow(tmp_path):
    _, expected = run(tmp_path / "plain")
    oracle = Tomorrow(tmp_path / "questions.json")

    def day():
        return run(tmp_path, oracle=Tomorrow(oracle.path), resume=True)

    loop, history = day()
    assert (loop.status, history) == ("waiting", [])
    oracle.answer(0.5)
    loop, history = day()  # partial answers are kept, and not enough
    assert (loop.status, len(loop.pool.labelled), len(loop.pool.pending)) == ("waiting", 3, 3)
    for _ in range(3):
        oracle.answer()
        loop, history = day()
    assert loop.status == "finished"
    assert picks(history) == picks(expected)
    assert "anna" in (tmp_path / "c" / "ledger" / "000002-answered.json").read_text()


def test_what_is_declined_is_not_asked_again(tmp_path):
    class Declines(Oracle):
        def request(self, indices):
            self.asked = list(indices)
            everything.extend(indices)

        def poll(self):
            return {i: SKIP if i % 3 == 0 else int(make_data()[1][i]) for i in self.asked}

    everything = []
    loop, history = run(tmp_path, oracle=Declines(), rounds=4)
    assert len(set(everything)) == len(everything) == 6 + 4 * 4
    assert sorted(loop.pool.skipped.tolist()) == sorted(i for i in everything if i % 3 == 0)
    assert history[-1].labelled == len([i for i in everything if i % 3])


# 4. Pool: units and their cost


def test_a_pool_with_prices():
    class Priced(Pool):
        def cost(self, unit):
            return float(unit)

    pool = Priced(4)
    pool.label([1, 3])
    assert sum(pool.cost(u) for u in pool.labelled.tolist()) == 4.0


# A model that makes a part of itself of the first samples it sees


# 5. Campaign: readable without the project


def test_the_ledger_is_readable_without_the_project(tmp_path):
    _, history = run(tmp_path)
    files = sorted((tmp_path / "c" / "ledger").iterdir())
    kinds = [json.loads(f.read_text())["kind"] for f in files]
    assert kinds == [
        "started",
        "asked",
        "answered",
        *["fitted", "asked", "reported", "answered"] * 2,
        "fitted",
        "reported",
    ]
    picked = [json.loads(f.read_text())["indices"] for f in files if f.name.endswith("asked.json")][1:]
    assert picked == picks(history)[:-1]


# 6. Randomness: from what it is for, not from a running generator


def test_global_randomness_does_not_move_the_picks(tmp_path):
    torch.manual_seed(1)
    _, one = run(tmp_path / "a", subpool_size=20, model=Net(dropout=0.5))
    torch.manual_seed(2)
    torch.rand(17)
    _, two = run(tmp_path / "b", subpool_size=20, model=Net(dropout=0.5))
    assert picks(one) == picks(two)
    assert one[-1].metrics == two[-1].metrics
    assert derive_seed(0, 1, "candidates") != derive_seed(0, 2, "candidates")
