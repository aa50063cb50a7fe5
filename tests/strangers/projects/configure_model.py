"""Layers that are made in `configure_model`, as wide as the data say, and weights drawn in `setup`."""

import lightning as L
import torch
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import scale
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, random_split


class Cells(L.LightningDataModule):
    def setup(self, stage):
        if stage != "fit":
            return
        x, y = load_breast_cancer(return_X_y=True)
        x, y = torch.tensor(scale(x)).float(), torch.tensor(y)
        self.num_features, self.num_classes = x.shape[1], int(y.max()) + 1
        self.train, self.val, _ = random_split(TensorDataset(x, y), [100, 60, len(y) - 160])

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=6, shuffle=True, drop_last=True)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=30)


class Lazy(L.LightningModule):
    def __init__(self, width=16):
        super().__init__()
        self.width = width
        self.net = None

    def configure_model(self):
        if self.net is not None:
            return
        data = self.trainer.datamodule
        self.net = nn.Sequential(
            nn.Linear(data.num_features, self.width), nn.Tanh(), nn.Linear(self.width, data.num_classes)
        )

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_acc", (self(x).argmax(1) == y).float().mean())

    def configure_optimizers(self):
        return torch.optim.RMSprop(self.parameters(), lr=0.01)


if __name__ == "__main__":
    L.seed_everything(0)
    model, data = Lazy(), Cells()
    trainer = L.Trainer(max_epochs=2, logger=False, enable_checkpointing=False)
    trainer.fit(model, data)
