"""Validation on two sets: clean pictures and noisy ones."""

import lightning as L
import torch
import torchmetrics
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class Data(L.LightningDataModule):
    def setup(self, stage=None):
        x, y = load_digits(n_class=4, return_X_y=True)
        x, y = torch.tensor(x / 16).float(), torch.tensor(y)
        noise = torch.randn(60, 64, generator=torch.Generator().manual_seed(0))
        self.train = TensorDataset(x[:120], y[:120])
        self.clean, self.noisy = TensorDataset(x[120:180], y[120:180]), TensorDataset(x[120:180] + noise, y[120:180])

    def train_dataloader(self):
        return DataLoader(self.train, batch_size=10, shuffle=False)

    def val_dataloader(self):
        return [DataLoader(self.clean, batch_size=30), DataLoader(self.noisy, batch_size=20)]


class Net(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 4))
        self.acc = nn.ModuleList([torchmetrics.Accuracy("multiclass", num_classes=4) for _ in range(2)])

    def forward(self, x):
        return self.net(x)

    def training_step(self, batch, _):
        x, y = batch
        return nn.functional.cross_entropy(self(x), y)

    def validation_step(self, batch, _, dataloader_idx=0):
        x, y = batch
        logits = self(x)
        self.acc[dataloader_idx](logits, y)
        self.log("val_acc", self.acc[dataloader_idx])
        name = ["clean_loss", "noisy_loss"][dataloader_idx]
        self.log(name, nn.functional.cross_entropy(logits, y), add_dataloader_idx=False)

    def configure_optimizers(self):
        return torch.optim.Adam(self.parameters(), lr=0.01)


if __name__ == "__main__":
    L.seed_everything(0)
    model, data = Net(), Data()
    trainer = L.Trainer(max_epochs=3, logger=False, enable_checkpointing=False)
    trainer.fit(model, data)
