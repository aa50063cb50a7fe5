"""Bad input: an error before the first epoch, with the value, the limit and the way out, and nothing written."""

import functools
from types import MethodType

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from lightning.pytorch.strategies import FSDPStrategy
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    WeightedRandomSampler,
)

from lightning_al import ActiveLearningLoop, ClassificationTask
from lightning_al.acquisition import SAAL, Acquisition, Entropy, Margin, Random
from lightning_al.oracle import Oracle
from tests.projects import Data, Net, make_data, make_trainer


class NeverTrains(Net):
    def training_step(self, batch, batch_idx):
        raise AssertionError("trained before the error")


def start(tmp_path, *, model=None, data=None, trainer=None, acquisition=None, **options):
    options = {"initial": 6, "query_size": 4, "rounds": 2, "dirpath": tmp_path / "c", **options}
    loop = ActiveLearningLoop(model or NeverTrains(), data or Data(), **options)
    loop.run(trainer or make_trainer(tmp_path, acquisition=acquisition))


def refused(tmp_path, error, words, **what):
    with pytest.raises(error, match=words):
        start(tmp_path, **what)
    assert not (tmp_path / "c").exists()


OPTIONS = [
    ({"query_size": 0}, ValueError, "`query_size` must be at least 1, got 0"),
    ({"query_size": 1.5}, TypeError, "`query_size` must be an integer, got 1.5"),
    ({"query_size": True}, TypeError, "`query_size` must be an integer, got True"),
    ({"query_size": 55}, ValueError, "`query_size=55` is larger than the pool: 60 samples less 6 .* leave 54"),
    ({"query_size": 9, "subpool_size": 8}, ValueError, "`query_size=9` is larger than the sub-pool.*subpool_size=8"),
    ({"initial": 0}, ValueError, "`initial` must be at least 1, got 0"),
    ({"initial": 61}, ValueError, "`initial` asks for 61 samples, but the training set has 60"),
    ({"initial": []}, ValueError, "empty list"),
    ({"initial": "all"}, TypeError, "'all'"),
    ({"initial": [1, 1]}, ValueError, r"\[1\] more than once"),
    ({"initial": [1, 60]}, IndexError, r"between 0 and 59, got \[60\]"),
    ({"initial_by": "entropy"}, ValueError, "'random', 'balanced' or an acquisition, got 'entropy'"),
    ({"rounds": -1}, ValueError, "`rounds` must be at least 0, got -1"),
    ({"budget": 5}, ValueError, "`budget=5` counts the initial labels too and does not cover the 6"),
    ({"subpool_size": 0}, ValueError, "`subpool_size` must be at least 1"),
    (
        {"reset": "never"},
        ValueError,
        "'initial', 'warm', 'continue', 'fresh' or a function of the model .*, got 'never'",
    ),
    ({"reset": "continue", "weights": "best"}, ValueError, 'Use `reset="warm"`'),
    ({"evaluate": "train"}, ValueError, "'validate', 'test', got 'train'"),
    ({"weights": "mean"}, ValueError, "'last', 'best', got 'mean'"),
    ({"weights": "best"}, ValueError, r"ModelCheckpoint\(monitor=...\)"),
    ({"pool": "train"}, ValueError, "`pool` must be"),
    ({"pool_batch_size": 0}, ValueError, "`pool_batch_size` must be at least 1, got 0"),
    ({"seed": -1}, ValueError, "`seed` must be at least 0, got -1"),
    ({"oracle": object()}, TypeError, "`oracle` must be an `Oracle`"),
    ({"task": object()}, TypeError, "`task` must be a `Task`"),
    ({"model": nn.Linear(2, 2)}, TypeError, "`model` must be a `lightning.LightningModule`, got Linear"),
    ({"data": make_data()}, TypeError, "`datamodule` must be a `lightning.LightningDataModule`, got tuple"),
]


@pytest.mark.parametrize(("options", "error", "words"), OPTIONS)
def test_options(tmp_path, options, error, words):
    refused(tmp_path, error, words, **options)


TRAINERS = [
    ({"limit_predict_batches": 3}, "`limit_predict_batches=3` would silently hide"),
    ({"fast_dev_run": True}, "`fast_dev_run` trains in the first round only"),
    ({"overfit_batches": 2}, "`overfit_batches=2"),
    ({"limit_train_batches": 0}, "Nothing would train.*limit_train_batches=0"),
    ({"max_epochs": 0}, "Nothing would train: max_epochs=0"),
]


@pytest.mark.parametrize(("options", "words"), TRAINERS)
def test_trainers(tmp_path, options, words):
    refused(tmp_path, ValueError, words, trainer=make_trainer(tmp_path, **options))


def test_no_acquisition_or_two(tmp_path):
    trainer = make_trainer(tmp_path, Random())
    refused(tmp_path, ValueError, "exactly one acquisition .* found 2: Entropy, Random", trainer=trainer)
    trainer.callbacks = []
    refused(tmp_path, ValueError, r"found 0: none.*callbacks=\[SAAL", trainer=trainer)


def test_fsdp1(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer._accelerator_connector.strategy = FSDPStrategy()  # Lightning's own guard wants a GPU first
    refused(tmp_path, ValueError, "`FSDPStrategy` .*ModelParallelStrategy", trainer=trainer)


def test_objects_of_pytorch_lightning(tmp_path):
    pl = pytest.importorskip("pytorch_lightning")

    class Old(pl.LightningModule):
        pass

    words = "of the `pytorch_lightning` package.*import lightning.pytorch as pl"
    refused(tmp_path, TypeError, words, model=Old())
    refused(tmp_path, TypeError, words, data=pl.LightningDataModule())
    refused(tmp_path, TypeError, words, trainer=pl.Trainer(accelerator="cpu", logger=False))


class Loader(Data):
    def __init__(self, make):
        super().__init__()
        self.make = make

    def train_dataloader(self):
        return self.make(self.train)


class Stream(IterableDataset):
    def __iter__(self):
        yield torch.zeros(4), 0


LOADERS = [
    (lambda d: DataLoader(Stream()), "training set is iterable .Stream.*map-style"),
    (lambda d: DataLoader(d, batch_sampler=MyBatches(SequentialSampler(d), 2, False)), "batch sampler of its own .MyB"),
    (lambda d: DataLoader(d, batch_size=None), "batch sampler of its own"),
    (lambda d: DataLoader(d, sampler=WeightedRandomSampler([1.0] * 60, 60)), "sampler of its own .WeightedRandom"),
    (lambda d: [DataLoader(d)], "must return one `torch.utils.data.DataLoader`, got list"),
]


class MyBatches(BatchSampler):
    pass


@pytest.mark.parametrize(("make", "words"), LOADERS)
def test_train_loaders(tmp_path, make, words):
    refused(tmp_path, TypeError, words, data=Loader(make))


def test_fewer_labels_than_a_batch_with_drop_last(tmp_path):
    words = "drops its last batch .*batch size 8.* 6 labels give 6 .* at least 8 labels"
    refused(tmp_path, ValueError, words, data=Data(batch_size=8, drop_last=True))


def test_validation_after_more_batches_than_there_are(tmp_path):
    """Lightning's own error came in the first fit, with a campaign that was begun."""
    trainer = make_trainer(tmp_path, val_check_interval=3)
    refused(tmp_path, ValueError, "`val_check_interval=3` is more than the 2 batch.es. that 6 labels", trainer=trainer)
    start(tmp_path, model=Net(), trainer=make_trainer(tmp_path, val_check_interval=2))
    trainer = make_trainer(tmp_path, val_check_interval=3, check_val_every_n_epoch=None)
    start(tmp_path, model=Net(), trainer=trainer, dirpath=tmp_path / "d")


def test_one_label_with_batch_norm(tmp_path):
    refused(tmp_path, ValueError, "a batch of one", model=NeverTrains(batch_norm=True), initial=1)


class Pooled(Data):
    def __init__(self, pool):
        super().__init__()
        self.pool = pool

    def pool_dataset(self):
        return self.pool


def test_pool_and_training_set_of_different_lengths(tmp_path):
    other = torch.utils.data.TensorDataset(*make_data(59))
    refused(tmp_path, ValueError, "has 59 samples and the training set 60", data=Pooled(other))
    refused(tmp_path, TypeError, "must give one map-style data set, got int", data=Pooled(3))
    refused(tmp_path, TypeError, "iterable data set", data=Pooled(Stream()))


def test_pool_predict_must_be_the_same_data(tmp_path):
    class Predicts(Data):
        def predict_dataloader(self):
            return DataLoader(torch.utils.data.TensorDataset(*make_data(60, seed=self.other)), batch_size=4)

    data = Predicts()
    data.other = 5
    refused(tmp_path, ValueError, "sample .* has target .* in the training set and", data=data, pool="predict")
    refused(tmp_path, ValueError, r"needs a `predict_dataloader\(\)`.*Data has none", pool="predict")

    class NoTargets(Data):
        def predict_dataloader(self):
            return DataLoader(torch.utils.data.TensorDataset(make_data()[0]), batch_size=4)

    refused(tmp_path, ValueError, "no targets that could be compared", data=NoTargets(), pool="predict")


class Outputs(NeverTrains):
    def __init__(self, change):
        super().__init__()
        self.change = change

    def forward(self, x):
        return self.change(super().forward(x))


MODELS = [
    (lambda z: z[:, 0], ValueError, r"shape \(B, C\) with C >= 2 classes, got \(\d+,\)"),
    (lambda z: z[:, :1], ValueError, r"got \(\d+, 1\)"),
    (lambda z: z[:, :, None, None], ValueError, r"expects logits of shape \(B, C\), got \(\d+, 3, 1, 1\).*task"),
    (lambda z: z.argmax(1), TypeError, "must be floating point, got torch.int64"),
    (lambda z: {"scores": z}, TypeError, "must be a tensor .* got dict.*task="),
    (lambda z: z * float("nan"), ValueError, "NaN or infinite scores for .* dataset indices"),
]


@pytest.mark.parametrize(("change", "error", "words"), MODELS)
@pytest.mark.parametrize("acquisition", [Entropy, SAAL])
def test_outputs(tmp_path, change, error, words, acquisition):
    refused(tmp_path, error, words, model=Outputs(change), acquisition=acquisition())


def test_which_scores_are_not_finite(tmp_path):
    x, _ = make_data()
    poison = tuple(x[17].tolist())

    class Net2(Net):
        def forward(self, x):
            bad = torch.tensor([tuple(row.tolist()) == poison for row in x])
            return torch.where(bad[:, None], torch.nan, super().forward(x))

    with pytest.raises(ValueError, match=r"for 1 of 54 samples, dataset indices \[17\]"):
        start(tmp_path, model=Net2(), initial=[i for i in range(7) if i != 17][:6])


def test_probabilities_warn_with_the_task_that_fits(tmp_path):
    class Net2(Net):
        def forward(self, x):
            return super().forward(x).softmax(1)

    with pytest.warns(UserWarning, match=r"look like probabilities.*ClassificationTask\(outputs='probabilities'\)"):
        start(tmp_path, model=Net2())
    start(tmp_path, model=Net2(), task=ClassificationTask(outputs="probabilities"), dirpath=tmp_path / "d")


def test_no_pool_dataset_warns(tmp_path):
    class Plain(Data):
        pool_dataset = None

    with pytest.warns(UserWarning, match="Plain has no `pool_dataset.*random augmentation included"):
        start(tmp_path, model=Net(), data=Plain())


@pytest.mark.parametrize("label", [0.5, torch.tensor([0.0, 1.0]), torch.tensor([0, 1]), "cat"])
def test_targets_that_are_no_classes(tmp_path, label):
    class Targets(Dataset):
        def __len__(self):
            return 60

        def __getitem__(self, i):
            return make_data()[0][i], label

    class Data2(Data):
        def setup(self, stage):
            super().setup(stage)
            self.train = Targets()

    with pytest.raises(TypeError, match=r"needs class indices .*task="):
        start(tmp_path, data=Data2(), acquisition=Random())


def test_batches_the_default_task_does_not_know(tmp_path):
    class Dicts(Dataset):
        def __len__(self):
            return 60

        def __getitem__(self, i):
            return {"x": make_data()[0][i], "y": 0}

    class Data2(Data):
        def setup(self, stage):
            super().setup(stage)
            self.train = Dicts()

    refused(tmp_path, TypeError, "got a dict.*`task=`", data=Data2())


def test_evaluation_that_is_not_there(tmp_path):
    class NoVal(L.LightningDataModule):
        def train_dataloader(self):
            return DataLoader(torch.utils.data.TensorDataset(*make_data()))

    refused(tmp_path, ValueError, r'needs a `val_dataloader\(\)`, which NoVal .* use `evaluate="test"`', data=NoVal())

    class NoStep(NeverTrains):
        test_step = L.LightningModule.test_step

    refused(tmp_path, ValueError, "needs a `test_step`, which NoStep lacks", model=NoStep(), evaluate="test")

    class NoTraining(Net):
        training_step = L.LightningModule.training_step

    refused(tmp_path, ValueError, "has no `training_step`", model=NoTraining())


def test_optimizers_made_once(tmp_path):
    class Kept(NeverTrains):
        def __init__(self):
            super().__init__()
            self.optimizer = torch.optim.SGD(self.parameters(), 0.1)

        def configure_optimizers(self):
            return self.optimizer

    refused(tmp_path, ValueError, "made once, as `self.optimizer`.*OptimizerCallable", model=Kept())

    model = NeverTrains()  # what a stock LightningCLI leaves
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    model.configure_optimizers = MethodType(
        functools.partial(lambda m, optimizer: optimizer, optimizer=optimizer), model
    )
    refused(tmp_path, ValueError, "made once, by `LightningCLI`.*`lightning-al run`", model=model)

    made = []

    class Cached(Net):
        def configure_optimizers(self):
            made.append(made[0] if made else super().configure_optimizers())
            return made[0]

    with pytest.raises(RuntimeError, match="returned the same SGD object again"):
        start(tmp_path, model=Cached())

    class Strange(NeverTrains):
        def configure_optimizers(self):
            return torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)

    with pytest.raises(RuntimeError, match="holds none of the model's parameters"):
        start(tmp_path, model=Strange(), dirpath=tmp_path / "d")


def test_weights_best_without_a_best(tmp_path):
    checkpoint = ModelCheckpoint(monitor="val_acc", every_n_epochs=99)
    trainer = make_trainer(tmp_path, checkpoint, enable_checkpointing=True)
    with pytest.raises(RuntimeError, match="no `ModelCheckpoint` saved a best checkpoint"):
        start(tmp_path, model=Net(), trainer=trainer, weights="best")


class Selects(Entropy):
    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def select(self, rows, k, *, labelled_rows, generator):
        return self.answer


@pytest.mark.parametrize(
    ("answer", "error"),
    [([0, 1, 2], ValueError), ([0, 0, 1, 2], ValueError), ([0, 1, 2, 54], ValueError), ([-1, 0, 1, 2], ValueError),
     ([0.0, 1.0, 2.0, 3.0], TypeError)],
)  # fmt: skip
def test_selections_that_are_none(tmp_path, answer, error):
    with pytest.raises(error, match=r"`Selects\.select` must return"):
        start(tmp_path, model=Net(), acquisition=Selects(answer))


def test_rows_of_the_wrong_number(tmp_path):
    class Sums(Acquisition):
        def score_batch(self, model, batch):
            return self.task.logits(model, self.task.inputs(batch)).sum().reshape(1)

    refused(tmp_path, ValueError, "`Sums.rows` returned 1 values of 'score' for 2 samples", acquisition=Sums())

    class Reserved(Acquisition):
        def rows(self, model, batch):
            return {"index": torch.zeros(len(batch[0]))}

    refused(tmp_path, ValueError, 'the key "index", which is reserved', acquisition=Reserved())

    class Wide(Acquisition):
        def score_batch(self, model, batch):
            return self.task.logits(model, self.task.inputs(batch))

    refused(tmp_path, ValueError, r"one score per sample, \(B,\)", acquisition=Wide())

    class Nothing(Acquisition):
        pass

    refused(tmp_path, NotImplementedError, "Nothing must define `score_batch`", acquisition=Nothing())


def test_true_labels_need_a_simulated_campaign(tmp_path):
    class Person(Oracle):
        def request(self, indices):
            pass

        def poll(self):
            return {}

    refused(tmp_path, ValueError, "the loop's oracle is a Person", acquisition=SAAL(labels="true"), oracle=Person())


def test_resuming_another_campaign(tmp_path):
    start(tmp_path, model=Net(), rounds=1, acquisition=Margin())

    def resume(**options):
        defaults = {"initial": 6, "query_size": 4, "rounds": 1, "dirpath": tmp_path / "c"}
        data = options.pop("data", None) or Data()
        ActiveLearningLoop(Net(), data, **{**defaults, **options}).run(make_trainer(tmp_path), resume=True)

    with pytest.raises(ValueError, match="has seed 0, and cannot go on with seed 1"):
        resume(seed=1)
    with pytest.raises(ValueError, match="of a data set of 60 samples; this one has 50"):
        resume(data=Data(50))
    with pytest.warns(UserWarning, match=r"options that changed: query_size: 4 -> 5; acquisition: .*Margin.*Entropy"):
        resume(query_size=5)
    with pytest.raises(FileExistsError, match="holds a campaign already"):
        start(tmp_path)
