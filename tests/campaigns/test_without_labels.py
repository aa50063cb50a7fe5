"""Datasets without labels: samples that are inputs alone, or whose target is None or -1; labels are told."""

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from lightning_al import ActiveLearningLoop, ClassificationTask
from lightning_al.acquisition import (
    BADGE,
    BALD,
    SAAL,
    SRAAL,
    VAAL,
    BatchBALD,
    CoreGCN,
    CoreSet,
    Entropy,
    EntropyGradNorm,
    ProbCover,
    QueryByCommittee,
    Random,
    TypiClust,
)
from lightning_al.oracle import AwaitTell, DatasetOracle
from tests.helpers.marks import slow
from tests.helpers.projects import Net, loop_in, make_data, make_trainer

X, Y = make_data(20)
SAMPLES = {
    "inputs": list(X),
    "tuples of one": [(x,) for x in X],
    "None": [(x, None) for x in X],
    "-1": [(x, -1) for x in X],
    "a dict": [{"x": x} for x in X],
    "a dict with None": [{"x": x, "y": None} for x in X],
}
ACQUISITIONS = {
    "Random": Random,
    "Entropy": Entropy,
    "SAAL": lambda: SAAL(selection="badge"),
    "EntropyGradNorm": EntropyGradNorm,
    "BALD": lambda: BALD(passes=2),
    "BatchBALD": lambda: BatchBALD(passes=2),
    "CoreSet": CoreSet,
    "BADGE": BADGE,
    "ProbCover": ProbCover,
    "TypiClust": TypiClust,
    "CoreGCN": lambda: CoreGCN(steps=1),
    "VAAL": lambda: VAAL(steps=1),
    "SRAAL": lambda: SRAAL(steps=1),
    "QueryByCommittee": lambda: QueryByCommittee(members=2),
}


class Learner(Net):
    def __init__(self):
        super().__init__(dropout=0.3)
        self.trained_on = []

    def training_step(self, batch, batch_idx):
        x, y = (batch["x"], batch["y"]) if isinstance(batch, dict) else batch
        self.trained_on += zip(x.tolist(), y.tolist(), strict=True)
        return torch.nn.functional.cross_entropy(self(x), y)


class OnlyTrain(L.LightningDataModule):
    def __init__(self, samples):
        super().__init__()
        self.samples = samples

    def train_dataloader(self):
        return DataLoader(self.samples, batch_size=4)


def campaign(folder, samples, acquisition):
    task = ClassificationTask(inputs="x", target="y") if isinstance(samples[0], dict) else None
    model = Learner()
    loop = ActiveLearningLoop(
        model, OnlyTrain(samples), initial=8, query_size=4, rounds=1, oracle=AwaitTell(), evaluate=None, task=task,
        dirpath=folder / "c",
    )  # fmt: skip
    trainer = make_trainer(folder, acquisition=acquisition, max_epochs=1)
    for count in (8, 4):
        loop.run(trainer)
        asked = loop.pool.pending.tolist()
        assert len(asked) == count
        loop.tell(asked, [int(Y[i]) for i in asked])
    loop.run(trainer)
    assert loop.status == "finished"
    truth = {tuple(x): y for x, y in zip(X.tolist(), Y.tolist(), strict=True)}
    assert all(truth[tuple(x)] == y for x, y in model.trained_on)
    return loop.history


@pytest.mark.few(2)
@pytest.mark.parametrize("kind", SAMPLES)
def test_labels_are_told_of_samples_without(kind, tmp_path):
    first = campaign(tmp_path, SAMPLES[kind], Entropy())
    assert first[0].picked == campaign(tmp_path / "again", SAMPLES["-1"], Entropy())[0].picked


@slow
@pytest.mark.parametrize("kind", SAMPLES)
@pytest.mark.parametrize("name", ACQUISITIONS)
def test_every_acquisition(name, kind, tmp_path):
    campaign(tmp_path, SAMPLES[kind], ACQUISITIONS[name]())


@pytest.mark.few(2)
@pytest.mark.parametrize("name", ["SAAL", "CoreSet", "SRAAL"])
def test_some_acquisitions(name, tmp_path):
    campaign(tmp_path, SAMPLES["tuples of one"], ACQUISITIONS[name]())


@pytest.mark.parametrize("kind", SAMPLES)
def test_a_simulated_campaign_needs_labels(kind, tmp_path):
    samples = SAMPLES[kind]
    task = ClassificationTask(inputs="x", target="y") if isinstance(samples[0], dict) else None
    loop = loop_in(tmp_path, Learner(), OnlyTrain(samples), oracle=DatasetOracle(), task=task, evaluate=None)
    with pytest.raises((TypeError, ValueError), match=r"`oracle=AwaitTell\(\)`") as caught:
        loop.run(make_trainer(tmp_path))
    assert len(str(caught.value)) < 700
