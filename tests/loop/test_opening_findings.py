"""All that is wrong with a project is one error, and nothing trains or is written before it."""

import lightning as L
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

from lightning_al import ActiveLearningLoop, NoisyOracle
from lightning_al.acquisition import BALD, SAAL, CoreSet, LearningLoss, TypiClust
from lightning_al.loop import initial
from lightning_al.oracle import DatasetOracle
from tests.helpers.processes import fork
from tests.helpers.projects import Data, Net, make_data, make_trainer

LAYER = "The model has no layer 'net.9'. It has, among others: "
LABELS = "6 label(s) cannot be taken. Dataset index 0, 1, 2, 3, 4, ...: `ClassificationTask` needs class indices"
PRICE = "`Negative.cost` must give a number of at least 0, got -1.0 for dataset index 0."
EPOCHS = "Nothing would train: max_epochs=0"
NO_VALIDATION = '`evaluate="validate"` needs a `val_dataloader()`, which NoVal does not have.'
EMPTY = "`val_dataloader()` of EmptyVal gives no batch"


class NeverTrains(Net):
    def training_step(self, batch, batch_idx):
        raise AssertionError("trained before the error")


class Halves(Data):
    """Labels that are no classes."""

    def setup(self, stage):
        super().setup(stage)
        x, y = make_data(self.n)
        self.train = TensorDataset(x, y + 0.5)


class NoVal(Halves):
    val_dataloader = L.LightningDataModule.val_dataloader


class EmptyVal(Halves):
    def val_dataloader(self):
        return []


class Listed(Data):
    def train_dataloader(self):
        return [1, 2]


class Negative(DatasetOracle):
    def cost(self, index):
        return -1.0


def launch(tmp_path, *, model=None, data=None, acquisition=None, trainer=None, **options):
    options = {"initial": list(range(6)), "query_size": 4, "rounds": 1, "dirpath": tmp_path / "c", **options}
    loop = ActiveLearningLoop(model or NeverTrains(), data or Data(), **options)
    loop.run(make_trainer(tmp_path, acquisition=acquisition, **(trainer or {})))


def refused(tmp_path, *words, error=ValueError, **what):
    with pytest.raises(error) as caught:
        launch(tmp_path, **what)
    first, *lines = str(caught.value).splitlines()
    assert first == f"{len(words)} things cannot be as they are:", caught.value
    for number, (line, each) in enumerate(zip(lines, words, strict=True), 1):
        assert line.startswith(f"  {number}. {each}"), line
    assert not (tmp_path / "c").exists()
    return caught.value


def test_a_layer_prices_labels_and_a_missing_loader(tmp_path):
    wrong = {"acquisition": CoreSet(features="net.9"), "oracle": Negative()}
    refused(tmp_path, NO_VALIDATION, PRICE, LABELS, LAYER, data=NoVal(), **wrong)
    refused(tmp_path, EMPTY, PRICE, LABELS, LAYER, data=EmptyVal(), **wrong)
    refused(tmp_path, EPOCHS, PRICE, LABELS, LAYER, data=Halves(), trainer={"max_epochs": 0}, **wrong)


def test_a_budget_that_the_prices_exceed_and_what_scoring_refuses(tmp_path):
    budget = "`budget=10` counts the initial labels too and does not cover the 6 of `initial`: they cost 12."
    priced = {"budget": 10, "oracle": NoisyOracle(price=2)}
    for acquisition, words in (
        (CoreSet(features="net.9"), LAYER),
        (BALD(), "Nothing in `NeverTrains` drops in its forward"),
        (LearningLoss(), "LearningLoss needs a model that learns to predict its loss"),
    ):
        refused(tmp_path, budget, LABELS, words, data=Halves(), acquisition=acquisition, **priced)
    listed = "`price` lists 2 prices, but there are 60 samples to ask for."
    refused(tmp_path, listed, LAYER, acquisition=CoreSet(features="net.9"), oracle=NoisyOracle(price=[1.0, 2.0]))


def test_labels_that_the_model_has_no_class_for(tmp_path):
    class Two(NeverTrains):
        def forward(self, x):
            return super().forward(x)[:, :2]

    third = int((make_data()[1] == 2).nonzero()[0])
    wrong = {"initial": [0, third], "oracle": Negative(), "trainer": {"max_epochs": 0}}
    labels = f"1 label(s) cannot be taken. Dataset index {third}: Class indices must be at least 0 and below 2"
    assert make_data()[1][0] < 2
    refused(tmp_path, EPOCHS, PRICE, labels, model=Two(), **wrong)


def test_frozen_models_are_named_once_beside_the_rest(tmp_path):
    frozen = "NeverTrains has no trainable parameter (of 4), so nothing would train."
    for acquisition in (None, SAAL()):
        model = NeverTrains().requires_grad_(False)
        words = frozen if acquisition is None else "The model has no trainable parameter"
        refused(tmp_path, LABELS, words, model=model, data=Halves(), acquisition=acquisition)
    model = NeverTrains().requires_grad_(False)
    refused(tmp_path, LABELS, LAYER, frozen, model=model, data=Halves(), acquisition=CoreSet(features="net.9"))


def test_an_index_out_of_range_beside_the_rest(tmp_path):
    error = refused(
        tmp_path, EPOCHS, "Dataset indices must be between 0 and 59, got [60]", LAYER,
        initial=[1, 60], acquisition=CoreSet(features="net.9"), trainer={"max_epochs": 0},
    )  # fmt: skip
    assert isinstance(error.args[1], IndexError)


def test_train_loaders_that_cannot_be_opened_beside_the_trainer(tmp_path):
    refused(tmp_path, EPOCHS, "`train_dataloader()` must return one", data=Listed(), trainer={"max_epochs": 0})


def test_errors_of_other_kinds_carry_what_was_found(tmp_path):
    class Broken(Halves):
        def setup(self, stage):
            raise OSError("no such disk")

    with pytest.raises(OSError, match="no such disk") as caught:
        launch(tmp_path, data=Broken(), trainer={"max_epochs": 0})
    assert EPOCHS in "".join(getattr(caught.value, "__notes__", [EPOCHS]))


def test_an_error_of_the_model_keeps_its_traceback(tmp_path):
    class Broken(NeverTrains):
        def forward(self, x):
            raise ValueError("not like this")

    error = refused(tmp_path, EPOCHS, "The model failed on what", model=Broken(), trainer={"max_epochs": 0})
    assert error.__cause__ is error.args[1]
    assert str(error.__cause__.__cause__) == "not like this"


def test_a_pass_for_the_initial_set_only_where_nothing_else_is_wrong(tmp_path, monkeypatch):
    passes = []
    pick = initial.pick
    monkeypatch.setattr(initial, "pick", lambda *a, **k: passes.append(1) or pick(*a, **k))
    by_scores = {"initial": 6, "initial_by": TypiClust(encoder=nn.Identity()), "data": Halves()}
    refused(tmp_path, EPOCHS, LAYER, trainer={"max_epochs": 0}, acquisition=CoreSet(features="net.9"), **by_scores)
    assert not passes
    with pytest.raises(ValueError) as caught:
        launch(tmp_path, acquisition=CoreSet(features="net.9"), **by_scores)
    assert passes
    assert "6 label(s) cannot be taken" in str(caught.value)
    assert LAYER in str(caught.value)


def test_a_campaign_of_other_data_beside_the_trainer(tmp_path):
    launch(tmp_path, model=Net())
    with pytest.raises(ValueError) as caught:
        ActiveLearningLoop(
            Net(), Data(), initial=list(range(6)), query_size=4, rounds=2, seed=3, dirpath=tmp_path / "c"
        ).run(make_trainer(tmp_path, max_epochs=0), resume=True)
    first, epochs, seed = str(caught.value).splitlines()
    assert EPOCHS in epochs
    assert "has seed 0, and cannot go on with seed 3" in seed


@pytest.mark.parametrize("trainer", [{}, {"max_epochs": 0}])
def test_on_two_processes_each_says_all_of_it_and_both_end(tmp_path, trainer):
    strategy, devices = fork(2)
    trainer = {"strategy": strategy, "devices": devices, **trainer}
    with pytest.raises(Exception, match=r"things cannot be as they are|Nothing would train") as caught:
        launch(tmp_path, data=EmptyVal(), oracle=Negative(), acquisition=CoreSet(features="net.9"), trainer=trainer)
    words = [EPOCHS] if "max_epochs" in trainer else [EMPTY, PRICE, LABELS, LAYER]
    for each in words:
        assert each in str(caught.value)
    assert not (tmp_path / "c").exists()
    assert not torch.distributed.is_initialized()
