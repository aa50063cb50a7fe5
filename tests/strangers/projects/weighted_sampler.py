"""Rare classes drawn more often."""

import lightning as L
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler


class Imbalanced(L.LightningDataModule):
    def setup(self, stage=None):
        x, y = load_digits(n_class=3, return_X_y=True)
        x, y = torch.tensor(x / 16).float(), torch.tensor(y)
        keep = torch.cat([(y == 0).nonzero()[:80], (y == 1).nonzero()[:20], (y == 2).nonzero()[:20]]).flatten()
        self.train = TensorDataset(x[keep], y[keep])
        self.val = TensorDataset(x[-100:], y[-100:])
        self.weights = (1.0 / y[keep].bincount())[y[keep]]

    def train_dataloader(self):
        sampler = WeightedRandomSampler(self.weights, num_samples=len(self.train), replacement=True)
        return DataLoader(self.train, batch_size=10, sampler=sampler)

    def val_dataloader(self):
        return DataLoader(self.val, batch_size=50)


class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 3))

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, batch_idx):
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("val_acc", (self(x).argmax(1) == y).float().mean())

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), 0.01)


if __name__ == "__main__":
    L.seed_everything(0)
    model, data = Net(), Imbalanced()
    trainer = L.Trainer(max_epochs=1, logger=False, enable_checkpointing=False)
    trainer.fit(model, data)
