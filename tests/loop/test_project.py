"""What is refused once something trained; what is refused before is in ``reliability/test_bad_input.py``."""

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from lightning_al import ActiveLearningLoop, AwaitTell, ClassificationTask
from lightning_al.acquisition import SAAL, Entropy, Random
from tests.helpers.projects import Data, Net, make_data, make_trainer


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


def test_objects_of_pytorch_lightning(tmp_path):
    pl = pytest.importorskip("pytorch_lightning")

    class Old(pl.LightningModule):
        pass

    words = "of the `pytorch_lightning` package.*import lightning.pytorch as pl"
    refused(tmp_path, TypeError, words, model=Old())
    refused(tmp_path, TypeError, words, data=pl.LightningDataModule())
    refused(tmp_path, TypeError, words, trainer=pl.Trainer(accelerator="cpu", logger=False))


def test_validation_after_as_many_batches_as_there_are_or_over_epochs(tmp_path):
    start(tmp_path, model=Net(), trainer=make_trainer(tmp_path, val_check_interval=2))
    trainer = make_trainer(tmp_path, val_check_interval=3, check_val_every_n_epoch=None)
    start(tmp_path, model=Net(), trainer=trainer, dirpath=tmp_path / "d")


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


def test_an_optimizer_that_is_returned_again(tmp_path):
    made = []

    class Cached(Net):
        def configure_optimizers(self):
            made.append(made[0] if made else super().configure_optimizers())
            return made[0]

    with pytest.raises(RuntimeError, match="returned the same SGD object again"):
        start(tmp_path, model=Cached())


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


def test_all_that_is_wrong_with_trainer_and_model_is_said_at_once(tmp_path):
    class Lacks(Net):
        validation_step = L.LightningModule.validation_step
        configure_optimizers = L.LightningModule.configure_optimizers

    trainer = make_trainer(tmp_path, Random(), limit_predict_batches=3, max_epochs=0)
    with pytest.raises(ValueError) as caught:
        start(tmp_path, model=Lacks(), trainer=trainer)
    first, *lines = str(caught.value).splitlines()
    assert first == "5 things cannot be as they are:"
    for number, (line, words) in enumerate(
        zip(
            lines,
            [
                "The loop needs exactly one acquisition among the Trainer's callbacks, found 2: Entropy, Random.",
                "`limit_predict_batches=3` would silently hide the rest of the pool.",
                "Nothing would train: max_epochs=0",
                '`evaluate="validate"` needs a `validation_step`, which Lacks lacks.',
                "Lacks has no `configure_optimizers`, so nothing would train.",
            ],
            strict=True,
        ),
        1,
    ):
        assert line.startswith(f"  {number}. {words}"), line
    assert not (tmp_path / "c").exists()


def test_what_follows_from_fast_dev_run_is_not_said_too(tmp_path):
    with pytest.raises(ValueError, match=r"^`fast_dev_run` trains in the first round only"):
        start(tmp_path, trainer=make_trainer(tmp_path, fast_dev_run=True))


def test_all_that_is_wrong_with_the_parts_is_said_at_once(tmp_path):
    class Lazy(Net):
        def __init__(self):
            super().__init__()
            self.net = torch.nn.Sequential(torch.nn.LazyLinear(3)).double()

    class Pooled(Data):
        def pool_dataset(self):
            return torch.utils.data.TensorDataset(*make_data(59))

        def val_dataloader(self):
            return []

    with pytest.raises(ValueError) as caught:
        start(tmp_path, model=Lazy(), data=Pooled(), acquisition=SAAL(labels="true"), oracle=AwaitTell())
    first, lazy, evaluated, pool, labels = str(caught.value).splitlines()
    assert first == "4 things cannot be as they are:"
    assert "`val_dataloader()` of Pooled gives no batch" in evaluated
    assert "of a lazy layer" in lazy
    assert "has 59 samples and the training set 60" in pool
    assert "the loop's oracle is a AwaitTell" in labels
    assert not (tmp_path / "c").exists()


def test_a_query_that_is_too_large_is_said_with_what_is_wrong_with_the_data(tmp_path):
    class EmptyVal(Data):
        def val_dataloader(self):
            return []

    loop = ActiveLearningLoop(Net(), EmptyVal(), initial=6, query_size=300, dirpath=tmp_path / "c")
    with pytest.raises(ValueError) as caught:
        loop.run(make_trainer(tmp_path, acquisition=SAAL(labels="true")))
    first, query, evaluated = str(caught.value).splitlines()
    assert first == "2 things cannot be as they are:"
    assert "`query_size=300` is larger than the pool: 60 samples less 6 initial ones leave 54" in query
    assert "`val_dataloader()` of EmptyVal gives no batch" in evaluated
    assert not (tmp_path / "c").exists()
