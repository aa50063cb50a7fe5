"""Layers that are made in `setup`, whatever the stage, as wide as the data say."""

import lightning as L
import torch
from sklearn.datasets import load_iris
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Iris(L.LightningDataModule):
    def setup(self, stage):
        x, y = load_iris(return_X_y=True)
        x, y = torch.tensor(x).float(), torch.tensor(y)
        self.train, self.val = TensorDataset(x[::2], y[::2]), TensorDataset(x[1::2], y[1::2])
        self.dims = (x.shape[1], len(y.unique()))

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=5, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=25)


class Perceptron(L.LightningModule):
    def __init__(self, hidden=16):
        super().__init__()
        self.hidden = hidden

    def setup(self, stage):
        features, classes = self.trainer.datamodule.dims
        self.net = nn.Sequential(nn.Linear(features, self.hidden), nn.ReLU(), nn.Linear(self.hidden, classes))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self(x), y)
        self.log("loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_acc", (self(x).argmax(1) == y).float().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.05)


if __name__ == "__main__":
    L.seed_everything(0)
    model, data = Perceptron(), Iris()
    trainer = L.Trainer(max_epochs=4, logger=False, enable_checkpointing=False)
    trainer.fit(model, data)
