"""Somebody else's project: own datamodule and metrics, early stopping, checkpoints, OneCycle, clipping."""

import lightning as L
import pytest
import torch
import torchmetrics
from lightning.pytorch.callbacks import (
    EarlyStopping,
    GradientAccumulationScheduler,
    LearningRateMonitor,
    ModelCheckpoint,
    StochasticWeightAveraging,
)
from lightning.pytorch.demos.boring_classes import BoringModel
from lightning.pytorch.loggers import CSVLogger
from torch import nn
from torch.utils.data import DataLoader, Dataset

from lightning_al import ActiveLearningLoop
from lightning_al.acquisition import SAAL, Entropy, Margin
from tests.helpers.projects import Data, Net, make_trainer


class Shapes(Dataset):
    """Small pictures of three kinds."""

    def __init__(self, n, train):
        self.n, self.train = n, train

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        g = torch.Generator().manual_seed(i)
        kind = i % 3
        image = 0.3 * torch.randn(1, 8, 8, generator=g)
        image[0, 2 * kind : 2 * kind + 3] += 1.0
        if self.train:
            image = image + 0.05 * torch.randn(1, 8, 8)  # augmentation
        return image, kind


class ShapesData(L.LightningDataModule):
    def __init__(self):
        super().__init__()
        self.save_hyperparameters()

    def setup(self, stage=None):
        self.train = Shapes(90, train=True)

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=8, shuffle=True, drop_last=False)

    def val_dataloader(self):
        return DataLoader(Shapes(30, train=False), batch_size=16)

    def pool_dataset(self):
        return Shapes(90, train=False)


class ShapesNet(L.LightningModule):
    def __init__(self, lr=0.05):
        super().__init__()
        self.save_hyperparameters()
        self.body = nn.Sequential(
            nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.AdaptiveAvgPool2d(4), nn.Flatten()
        )
        self.head = nn.Linear(128, 3)
        self.train_acc = torchmetrics.classification.MulticlassAccuracy(3)
        self.val_acc = torchmetrics.classification.MulticlassAccuracy(3)

    def forward(self, x):
        return self.head(self.body(x))

    def training_step(self, batch, batch_idx):
        x, y = batch
        z = self(x)
        self.train_acc(z, y)
        self.log("train_acc", self.train_acc, on_epoch=True, on_step=False)
        return nn.functional.cross_entropy(z, y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        z = self(x)
        self.val_acc(z, y)
        self.log("val_acc", self.val_acc)
        self.log("val_loss", nn.functional.cross_entropy(z, y))

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters(), lr=self.hparams.lr)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, max_lr=self.hparams.lr, total_steps=int(self.trainer.estimated_stepping_batches)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Watch(L.Callback):
    def __init__(self):
        self.moved, self.lrs, self.norms, self.epochs = [], [], [], []

    def on_round_start(self, trainer, pl_module, loop):
        pass  # takes part in the campaign, so its lists are kept

    def on_train_start(self, trainer, pl_module):
        self.start = pl_module.head.weight.detach().clone()

    def on_before_optimizer_step(self, trainer, pl_module, optimizer):
        self.lr = optimizer.param_groups[0]["lr"]

    def on_before_zero_grad(self, trainer, pl_module, optimizer):
        grads = [p.grad for p in pl_module.parameters() if p.grad is not None]
        if grads:
            self.norms.append(float(torch.linalg.vector_norm(torch.stack([g.norm() for g in grads]))))

    def on_train_end(self, trainer, pl_module):
        self.moved.append(not torch.equal(self.start, pl_module.head.weight))
        self.lrs.append(self.lr)  # of the last step
        self.epochs.append(trainer.current_epoch)


def test_a_strangers_project_trains_in_every_round(tmp_path):
    watch = Watch()
    best = ModelCheckpoint(monitor="val_loss", filename="best")
    trainer = L.Trainer(
        max_epochs=4,
        callbacks=[
            SAAL(rho=0.05),
            EarlyStopping("val_loss", patience=10),
            best,
            LearningRateMonitor("step"),
            watch,
        ],
        gradient_clip_val=0.1,
        logger=CSVLogger(tmp_path),
        default_root_dir=tmp_path,
        accelerator="cpu",
        enable_progress_bar=False,
        log_every_n_steps=1,
    )
    torch.manual_seed(0)
    loop = ActiveLearningLoop(
        ShapesNet(), ShapesData(), initial=12, initial_by="balanced", query_size=9, rounds=2, subpool_size=40
    )
    history = loop.run(trainer)
    assert [r.labelled for r in history] == [12, 21, 30]
    assert watch.moved == [True] * 3
    assert watch.epochs == [4, 4, 4]
    assert all(lr < 1e-6 for lr in watch.lrs)  # OneCycle came to its end in every round
    assert max(watch.norms) <= 0.1 + 1e-5
    for number in range(3):
        checkpoint = loop.dirpath / f"round_{number}" / "checkpoints" / "best.ckpt"
        assert torch.load(checkpoint, weights_only=True)["hyper_parameters"] == {"lr": 0.05}
    assert (trainer.global_step, loop.campaign_step) == (4 * 4, 4 * (2 + 3 + 4))
    assert history[-1].metrics["val_acc"] > 0.6


def test_early_stopping_stops_each_round_by_itself(tmp_path):
    watch = Watch()
    trainer = L.Trainer(
        max_epochs=9, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        callbacks=[Entropy(), EarlyStopping("val_loss", patience=1, min_delta=99.0), watch], default_root_dir=tmp_path,
    )  # fmt: skip
    ActiveLearningLoop(ShapesNet(), ShapesData(), initial=12, query_size=9, rounds=2).run(trainer)
    assert watch.epochs == [2, 2, 2]


class BoringPairs(Dataset):
    def __init__(self, n=64):
        g = torch.Generator().manual_seed(0)
        self.x = torch.randn(n, 32, generator=g)

    def __len__(self):
        return len(self.x)

    def __getitem__(self, i):
        return self.x[i], int(self.x[i, 0] > 0)


class BoringData(L.LightningDataModule):
    def train_dataloader(self):
        return DataLoader(BoringPairs(), batch_size=4)

    def val_dataloader(self):
        return DataLoader(BoringPairs(16), batch_size=4)


class Boring(BoringModel):
    """Lightning's own demo module, on pairs."""

    def training_step(self, batch, batch_idx):
        x, y = batch
        return {"loss": nn.functional.cross_entropy(self(x), y)}

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("x", nn.functional.cross_entropy(self(x), y))


@pytest.mark.few(1)
@pytest.mark.parametrize("acquisition", [Entropy, Margin, SAAL])
def test_a_boring_project(tmp_path, acquisition):
    watch = []

    class Weights(L.Callback):
        def on_train_end(self, trainer, pl_module):
            watch.append(pl_module.layer.weight.detach().clone())

    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", callbacks=[acquisition(), Weights()], default_root_dir=tmp_path, logger=False,
        enable_checkpointing=False, enable_progress_bar=False,
    )  # fmt: skip
    model = Boring()
    start = model.layer.weight.detach().clone()
    history = ActiveLearningLoop(model, BoringData(), initial=8, query_size=8, rounds=2).run(trainer)
    assert [r.labelled for r in history] == [8, 16, 24]
    assert len({float(w.norm()) for w in [start, *watch]}) == 4


@pytest.mark.few(1)
@pytest.mark.parametrize(
    "callbacks",
    [
        lambda: [StochasticWeightAveraging(0.05), EarlyStopping("val_acc", mode="max", min_delta=2.0, patience=1)],
        lambda: [GradientAccumulationScheduler({0: 1, 2: 2})],
    ],
    ids=["averaging that is stopped early", "accumulation"],
)
def test_callbacks_that_change_the_trainer_s_schedule(tmp_path, callbacks):
    """Each round is as long as the first, whatever the fit before left in the Trainer."""

    steps = []

    class Counted(Net):
        def on_train_start(self):
            steps.append(-self.trainer.global_step)

        def on_train_end(self):
            steps[-1] += self.trainer.global_step

    model = Counted(batch_norm=True)
    trainer = make_trainer(tmp_path, *callbacks(), max_epochs=4)
    loop = ActiveLearningLoop(model, Data(batch_size=2), initial=8, query_size=8, rounds=2)
    loop.run(trainer)
    assert steps == [steps[0] * n for n in (1, 2, 3)]
    assert (trainer.max_epochs, trainer.accumulate_grad_batches) == (4, 1)
