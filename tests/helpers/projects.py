"""Small Lightning projects, and a Trainer, for tests."""

import os

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset, TensorDataset

from lightning_al import ActiveLearningLoop
from lightning_al.acquisition import Entropy

SIZE = 60


class Net(L.LightningModule):
    """A classifier of 4 features into 3 classes; float64, so that picks compare exactly."""

    def __init__(self, lr: float = 0.05, batch_norm: bool = False, dropout: float = 0.0) -> None:
        super().__init__()
        torch.manual_seed(7)
        layers = [nn.Linear(4, 8), nn.BatchNorm1d(8) if batch_norm else nn.Identity(), nn.ReLU()]
        self.net = nn.Sequential(*layers, nn.Dropout(dropout), nn.Linear(8, 3)).double()
        self.lr = lr

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_acc", (self(x).argmax(1) == y).double().mean(), sync_dist=True)

    def test_step(self, batch, batch_idx):
        x, y = batch
        self.log("test_acc", (self(x).argmax(1) == y).double().mean(), sync_dist=True)

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), lr=self.lr, momentum=0.9)


def make_data(n: int = SIZE, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 4, generator=g, dtype=torch.float64)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0.3).long()
    return x, y


class Data(L.LightningDataModule):
    def __init__(self, n: int = SIZE, batch_size: int = 4, **loader) -> None:
        super().__init__()
        self.n, self.batch_size, self.loader = n, batch_size, loader
        self.calls: list[str] = []

    def prepare_data(self) -> None:
        self.calls.append("prepare")

    def setup(self, stage: str) -> None:
        self.calls.append(f"setup {getattr(stage, 'value', stage)}")
        self.train = TensorDataset(*make_data(self.n))
        self.held_out = TensorDataset(*make_data(20, seed=1))

    def teardown(self, stage: str) -> None:
        self.calls.append(f"teardown {getattr(stage, 'value', stage)}")

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=self.batch_size, **{"shuffle": True, **self.loader})

    def val_dataloader(self):
        return DataLoader(self.held_out, batch_size=10)

    def test_dataloader(self):
        return DataLoader(self.held_out, batch_size=10)

    def pool_dataset(self) -> Dataset:
        return self.train


def make_trainer(tmp_path, *callbacks, acquisition=None, **options) -> L.Trainer:
    acquisition = Entropy() if acquisition is None else acquisition
    defaults = {
        "max_epochs": 2,
        "accelerator": "cpu" if "strategy" in options else os.environ.get("TEST_ACCELERATOR", "cpu"),
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
        "enable_model_summary": False,
        "num_sanity_val_steps": 0,  # `fresh_fits` asks for them
        "default_root_dir": str(tmp_path),
    }
    return L.Trainer(callbacks=[acquisition, *callbacks], **{**defaults, **options})


def picks(history) -> list[list[int]]:
    return [r.picked for r in history]


def loop_in(folder, model=None, data=None, **options) -> ActiveLearningLoop:
    """A loop over the small project, of three fits unless told otherwise, in ``folder / "c"``."""
    defaults = {"initial": 8, "query_size": 4, "rounds": 2, "pool_batch_size": 25, "dirpath": folder / "c"}
    return ActiveLearningLoop(model or Net(), data or Data(), **{**defaults, **options})


class Starts(Net):
    """Keeps the sum of its weights at the start of every fit, and counts its samples."""

    def __init__(self, **options):
        super().__init__(**options)
        self.starts, self.seen = [], []

    def on_train_start(self):
        self.starts.append(float(sum(p.sum() for p in self.parameters())))
        self.seen.append(0)

    def training_step(self, batch, batch_idx):
        self.seen[-1] += len(batch[0])
        return super().training_step(batch, batch_idx)


class NeverTrains(Net):
    """For what is refused before anything trains."""

    def training_step(self, batch, batch_idx):
        raise AssertionError("trained before the error")


def start(tmp_path, *, model=None, data=None, trainer=None, acquisition=None, **options) -> None:
    """Run the small project with a model that must not get to train."""
    options = {"initial": 6, "query_size": 4, "rounds": 2, "dirpath": tmp_path / "c", **options}
    loop = ActiveLearningLoop(model or NeverTrains(), data or Data(), **options)
    loop.run(trainer or make_trainer(tmp_path, acquisition=acquisition))
