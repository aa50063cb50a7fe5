"""A project on LightningCLI: everything is said in `cli.yaml`."""

import lightning as L
import torch
from lightning.pytorch.cli import LightningCLI
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Net(L.LightningModule):
    """A multi-layer perceptron.

    Args:
        hidden: Its width.
        dropout: Between the layers.
    """

    def __init__(self, hidden: int = 16, dropout: float = 0.0):
        super().__init__()
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(64, hidden), nn.ReLU(), nn.Dropout(dropout), nn.Linear(hidden, 4))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_acc", (self(x).argmax(1) == y).float().mean())


class Data(L.LightningDataModule):
    """Digits.

    Args:
        batch_size: Of all loaders.
    """

    def __init__(self, batch_size: int = 32):
        super().__init__()
        self.batch_size = batch_size

    def setup(self, stage):
        x, y = load_digits(n_class=4, return_X_y=True)
        x, y = torch.tensor(x / 16).float(), torch.tensor(y)
        self.train, self.val = TensorDataset(x[:200], y[:200]), TensorDataset(x[200:300], y[200:300])

    def train_dataloader(self):
        return DataLoader(self.train, self.batch_size, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, self.batch_size)


def cli_main():
    LightningCLI(Net, Data, args=["fit", "--config", "cli.yaml"])


if __name__ == "__main__":
    cli_main()
