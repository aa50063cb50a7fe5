"""What a project finds at ``trainer.datamodule``: its own datamodule."""

import copy
import pickle

import lightning as L
import pytest
import torch
from lightning.pytorch.callbacks import BatchSizeFinder
from torch.utils.data import DataLoader, TensorDataset

from lightning_al import ActiveDataModule, ActiveLearningLoop, ClassificationTask
from lightning_al.data.for_trainer import ForTrainer
from tests.helpers.projects import Data, Net, make_data, make_trainer


class Rich(Data):
    """Has names that the loop's own datamodule has too."""

    name = "rich"

    def __init__(self, width=3, **options):
        super().__init__(**options)
        self.save_hyperparameters("width")
        self.labels, self.pool, self.seed, self.task, self.round, self._private = "l", "p", "s", "t", "r", "_"

    def collate(self):
        return self.labels

    def key(self):
        return "its own"

    def state_dict(self):
        return {"batch_size": self.batch_size}


NAMES = ("labels", "pool", "seed", "task", "round", "_private", "batch_size", "name")


def test_every_attribute_is_the_users_in_every_stage(tmp_path):
    seen = []

    class Looks(L.Callback):
        def look(self, trainer):
            found = trainer.datamodule
            assert isinstance(found, Rich)
            assert isinstance(found, L.LightningDataModule)
            seen.append([getattr(found, name) for name in NAMES] + [found.collate(), found.key(), found.hparams.width])

        def on_fit_start(self, trainer, module):
            self.look(trainer)

        def on_validation_start(self, trainer, module):
            self.look(trainer)

        def on_query_start(self, trainer, module, loop):
            self.look(trainer)

    data = Rich()
    loop = ActiveLearningLoop(Net(), data, initial=8, query_size=4, rounds=1)
    loop.run(make_trainer(tmp_path, Looks()))
    assert len(seen) > 4
    assert seen == [["l", "p", "s", "t", "r", "_", 4, "rich", "l", "its own", 3]] * len(seen)


@pytest.mark.parametrize("name", ["level", "_level", "labels", "pool", "batch_size", "trainer"])
def test_what_is_set_there_reaches_the_users(name):
    data = Rich()
    seen = ForTrainer(ActiveDataModule(data, task=ClassificationTask()))
    setattr(seen, name, 8)
    assert getattr(data, name) == getattr(seen, name) == 8
    delattr(seen, name)
    assert name not in vars(data)


def test_a_batch_size_that_is_set_in_between_is_trained_with(tmp_path):
    class Grows(L.Callback):
        def on_train_epoch_start(self, trainer, module):
            trainer.datamodule.batch_size = 4 * 2**trainer.current_epoch

    class Sees(Net):
        def __init__(self):
            super().__init__()
            self.sizes = []

        def training_step(self, batch, batch_idx):
            if batch_idx == 0:
                self.sizes.append(len(batch[0]))
            return super().training_step(batch, batch_idx)

    data, model, plain = Data(), Sees(), Sees()
    options = {"max_epochs": 3, "reload_dataloaders_every_n_epochs": 1}
    loop = ActiveLearningLoop(model, data, initial=20, query_size=4, rounds=0)
    loop.run(make_trainer(tmp_path, Grows(), **options))
    L.Trainer(**_quiet(tmp_path), callbacks=[Grows()], **options).fit(plain, Data())
    assert model.sizes == plain.sizes
    assert data.batch_size == 16


def _quiet(tmp_path):
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    return {"accelerator": "cpu", "default_root_dir": str(tmp_path), **dict.fromkeys(off, False)}


@pytest.mark.slow
def test_the_batch_size_finder_finds_what_it_finds_in_a_plain_fit(tmp_path):
    plain, data = Data(), Data()
    options = {"max_trials": 3, "steps_per_trial": 1}
    L.Trainer(**_quiet(tmp_path), callbacks=[BatchSizeFinder(**options)], max_epochs=1).fit(Net(), plain)
    loop = ActiveLearningLoop(Net(), data, initial=24, query_size=4, rounds=0)
    loop.run(make_trainer(tmp_path, BatchSizeFinder(**options), max_epochs=1))
    assert data.batch_size == plain.batch_size == 8


def test_a_train_loader_that_gives_other_samples_later_is_refused(tmp_path):
    class Shifts(Data):
        asked = 0

        def train_dataloader(self):
            self.asked += 1
            x, y = make_data(seed=0 if self.asked < 3 else 5)
            return DataLoader(TensorDataset(x, y), self.batch_size)

    loop = ActiveLearningLoop(Net(), Shifts(), initial=8, query_size=4, rounds=1)
    with pytest.raises(ValueError, match=r"`train_dataloader\(\)` of Shifts drew another training set"):
        loop.run(make_trainer(tmp_path))


def test_copies_and_other_processes_get_one_too():
    seen = ForTrainer(ActiveDataModule(Rich(), task=ClassificationTask()))
    for copied in (copy.deepcopy(seen), pickle.loads(pickle.dumps(seen))):
        assert type(copied) is ForTrainer
        copied.labels = "other"
        assert seen.labels == "l"


def test_checkpoints_carry_the_state_under_the_users_name(tmp_path):
    class Saves(L.Callback):
        def on_train_end(self, trainer, module):
            trainer.save_checkpoint(tmp_path / "x.ckpt")

    ActiveLearningLoop(Net(), Rich(), initial=8, query_size=4, rounds=0).run(make_trainer(tmp_path, Saves()))
    saved = torch.load(tmp_path / "x.ckpt", weights_only=True)
    assert saved["Rich"] == {"batch_size": 4}
    assert saved["datamodule_hyper_parameters"] == {"width": 3}
