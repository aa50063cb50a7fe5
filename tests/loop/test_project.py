"""What is refused once something trained; what is refused before is in ``reliability/test_bad_input.py``."""

import lightning as L
import pytest

from lightning_al import ClassificationTask
from lightning_al.acquisition import Random
from tests.helpers.projects import Net, make_trainer, start


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


def test_probabilities_warn_with_the_task_that_fits(tmp_path):
    class Net2(Net):
        def forward(self, x):
            return super().forward(x).softmax(1)

    with pytest.warns(UserWarning, match=r"look like probabilities.*ClassificationTask\(outputs='probabilities'\)"):
        start(tmp_path, model=Net2())
    start(tmp_path, model=Net2(), task=ClassificationTask(outputs="probabilities"), dirpath=tmp_path / "d")


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
