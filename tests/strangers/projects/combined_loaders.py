"""Semi-supervised: a labelled loader and, beside it, one without labels (consistency under noise)."""

import lightning as L
import torch
import torch.nn.functional as F
from lightning.pytorch.utilities import CombinedLoader
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Data(L.LightningDataModule):
    def setup(self, stage=None):
        x, y = load_digits(n_class=4, return_X_y=True)
        x, y = torch.tensor(x / 16).float(), torch.tensor(y)
        self.labelled, self.unlabelled = TensorDataset(x[:80], y[:80]), TensorDataset(x[80:400])
        self.val = TensorDataset(x[400:], y[400:])

    def train_dataloader(self):
        loaders = {
            "labelled": DataLoader(self.labelled, batch_size=8, shuffle=True),
            "unlabelled": DataLoader(self.unlabelled, batch_size=32, shuffle=True),
        }
        return CombinedLoader(loaders, mode="max_size_cycle")

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=64)


class Consistent(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch["labelled"]
        (u,) = batch["unlabelled"]
        consistency = F.mse_loss(self(u + 0.1 * torch.randn_like(u)).softmax(1), self(u).softmax(1).detach())
        return F.cross_entropy(self(x), y) + consistency

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_acc", (self(x).argmax(1) == y).float().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


if __name__ == "__main__":
    L.seed_everything(0)
    model, data = Consistent(), Data()
    trainer = L.Trainer(max_epochs=1, logger=False, enable_checkpointing=False)
    trainer.fit(model, data)
